import { describe, expect, it } from 'vitest'
import { Broker } from '../lib/broker.ts'
import type { Partition } from '../lib/broker/partition.ts'
import type { TopicConfig } from '../lib/config.ts'
import { CorruptRecordError, RecordTooLargeError } from '../lib/errors.ts'
import { COMPRESSION_TYPES, type CompressionType } from '../lib/record/compression.ts'
import { RecordBatch } from '../lib/record/record-batch.ts'
import { RecordBatchBuilder } from '../lib/record/record-batch-builder.ts'
import { decodeRecords } from '../lib/record/decode.ts'
import { ManualClock } from '../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../lib/testing/simulated-file-system.ts'
import { batchesIn } from './record/raw-batch.ts'

const CODECS = COMPRESSION_TYPES.filter((type) => type !== 'none')
const VALUES = Array.from({ length: 300 }, (_, id) => `{"id":${id},"action":"update"}`)
const RECORDS = VALUES.map((value, id) => ({ key: `k${id % 7}`, value, headers: { n: `${id}` } }))
const LOG = '/data/orders-0/00000000000000000000.log'

const open = (fileSystem: SimulatedFileSystem): Promise<Broker> =>
  Broker.open('/data', { fileSystem, clock: new ManualClock() })

async function setUp(config: TopicConfig = {}) {
  const fileSystem = new SimulatedFileSystem()
  const broker = await open(fileSystem)
  const partition = (await broker.createTopic('orders', config)).partition(0)
  return { fileSystem, broker, partition }
}

async function valuesFrom(partition: Partition, from: number): Promise<(string | undefined)[]> {
  const values = []
  for await (const { value } of partition.records({ from, until: 'end' }))
    values.push(value?.toString())
  return values
}

/** The batches on the disk. */
function stored(fileSystem: SimulatedFileSystem): RecordBatch[] {
  return [...batchesIn(fileSystem.readFile(LOG))]
}

const codecsOf = (fileSystem: SimulatedFileSystem): CompressionType[] => [
  ...new Set(stored(fileSystem).map((batch) => batch.compressionType)),
]

describe.each(CODECS)('compression with %s', (compressionType) => {
  it('keeps appended records readable from any offset, after a close and after a power loss', async () => {
    const { fileSystem, broker, partition } = await setUp({ compressionType })
    await partition.append(RECORDS)
    expect(codecsOf(fileSystem)).toEqual([compressionType])
    const plain = VALUES.join('').length
    expect(fileSystem.readFile(LOG).length).toBeLessThan(plain / 2)
    await partition.append({ value: 'last' })
    const all = [...VALUES, 'last']
    for (const from of [0, 1, 150, 299, 300]) {
      expect(await valuesFrom(partition, from)).toEqual(all.slice(from))
      const [first] = await partition.read(from, { maxRecords: 1 })
      expect(first).toMatchObject({ offset: from, value: Buffer.from(all[from] ?? '') })
    }
    await broker.close()
    const again = await open(fileSystem)
    expect(await valuesFrom(again.topic('orders').partition(0), 0)).toEqual(all)
    await again.topic('orders').partition(0).append({ value: 'crashed' })
    const recovered = await open(fileSystem.restart('power', { unsynced: 'lost', seed: 1 }))
    const after = recovered.topic('orders').partition(0)
    expect(await valuesFrom(after, 290)).toEqual([...all, 'crashed'].slice(290))
    expect(await after.log.verify()).toEqual([])
    await recovered.close()
  })

  it('delivers the records of a producer to a consumer with offset, key, value, headers and timestamp', async () => {
    const { fileSystem, broker } = await setUp()
    const producer = broker.producer({ compressionType, lingerMs: 5 })
    const sends = RECORDS.map((record, id) =>
      producer.send({ topic: 'orders', partition: 0, timestamp: 1000 + id, ...record }),
    )
    await producer.flush()
    expect((await Promise.all(sends)).map(({ offset }) => offset)).toEqual(
      VALUES.map((_, id) => id),
    )
    expect(codecsOf(fileSystem)).toEqual([compressionType])
    const consumer = broker.consumer()
    consumer.assign([{ topic: 'orders', partition: 0 }])
    consumer.seek({ topic: 'orders', partition: 0 }, 120)
    const polled = await consumer.poll({ maxWaitMs: 0 })
    expect(polled.map(({ offset }) => offset)).toEqual(VALUES.map((_, id) => id).slice(120))
    expect(polled[0]).toMatchObject({
      key: Buffer.from('k1'),
      value: Buffer.from(VALUES[120] ?? ''),
      timestamp: 1120,
    })
    expect(polled.map(({ headers }) => headers)).toEqual(
      VALUES.map((_, id) => [{ key: 'n', value: Buffer.from(`${id}`) }]).slice(120),
    )
    await broker.close()
  })

  it('follows the configuration of the topic, whatever the producer chooses', async () => {
    const { fileSystem, broker } = await setUp({ compressionType })
    for (const choice of COMPRESSION_TYPES) {
      const producer = broker.producer({ compressionType: choice })
      await Promise.all(VALUES.map((value) => producer.send({ topic: 'orders', value })))
    }
    expect(codecsOf(fileSystem)).toEqual([compressionType])
    await broker.topic('orders').alter({ compressionType: 'uncompressed' })
    const producer = broker.producer({ compressionType })
    await producer.send({ topic: 'orders', value: 'plain' })
    expect(stored(fileSystem).at(-1)?.compressionType).toBe('none')
    await broker.close()
  })

  it('counts the compressed size of a record towards maxMessageBytes', async () => {
    const { broker, partition } = await setUp({ compressionType, maxMessageBytes: 2000 })
    const large = 'a'.repeat(20_000)
    await partition.append({ value: large })
    const producer = broker.producer()
    await producer.send({ topic: 'orders', value: large })
    let state = 1
    const noise = Buffer.from(
      Array.from({ length: 3000 }, () => {
        state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
        return state >>> 24
      }),
    )
    await expect(partition.append({ value: noise })).rejects.toThrow(RecordTooLargeError)
    const sent = producer.send({ topic: 'orders', value: noise })
    await expect(sent).rejects.toThrow(RecordTooLargeError)
    expect(await valuesFrom(partition, 0)).toEqual([large, large])
    await broker.close()
  })

  it('fills batches to 64 KiB before it compresses them', async () => {
    const { fileSystem, broker, partition } = await setUp({ compressionType })
    await partition.append(Array.from({ length: 100 }, () => ({ value: 'b'.repeat(3000) })))
    const counts = stored(fileSystem).map((batch) => batch.recordCount)
    expect(counts.slice(0, -1).every((count) => count === 21)).toBe(true)
    expect(stored(fileSystem)[0]?.sizeBytes).toBeLessThan(16 * 1024)
    await broker.close()
  })

  it('allows a batch to be rebuilt without some of its records', async () => {
    const builder = new RecordBatchBuilder({ compressionType, baseOffset: 10 })
    for (const { value } of RECORDS) builder.append(5, null, Buffer.from(value))
    const place = { topic: 'orders', partition: 0 }
    const kept = (await decodeRecords(new RecordBatch(await builder.build()), place)).filter(
      ({ offset }) => offset % 3 === 0,
    )
    const rebuilt = new RecordBatchBuilder({ compressionType, baseOffset: 10 })
    for (const { offset, key, value } of kept) rebuilt.appendWithOffset(offset, 5, key, value)
    rebuilt.overrideLastOffset(309)
    const batch = new RecordBatch(await rebuilt.build())
    batch.ensureValid()
    expect(batch).toMatchObject({ baseOffset: 10, lastOffset: 309, recordCount: kept.length })
    const back = await decodeRecords(batch, place)
    expect(back.map(({ offset, value }) => [offset, value?.toString()])).toEqual(
      kept.map(({ offset, value }) => [offset, value?.toString()]),
    )
  })

  it('turns a flipped bit into a CorruptRecordError, and keeps the records before it readable', async () => {
    const { fileSystem, broker, partition } = await setUp({ compressionType })
    await partition.append({ value: 'sound' })
    await partition.append(RECORDS)
    const bytes = fileSystem.readFile(LOG)
    const place = bytes.length - 40
    bytes[place] = (bytes[place] ?? 0) ^ 1
    await broker.close()
    fileSystem.writeFile(LOG, bytes)
    const again = await open(fileSystem)
    const rotten = again.topic('orders').partition(0)
    expect(await rotten.read(0, { maxRecords: 1 })).toHaveLength(1)
    await expect(rotten.read(1)).rejects.toThrow(CorruptRecordError)
    await again.close()
  })
})

describe('the compression level', () => {
  it('is that of the topic if the topic has a codec, otherwise that of the producer', async () => {
    const sizes: number[] = []
    const one = { compressionType: 'gzip', compressionGzipLevel: 1 } as const
    const nine = { compressionType: 'gzip', compressionGzipLevel: 9 } as const
    for (const [topic, producer] of [
      [one, nine],
      [nine, one],
      [{}, one],
      [{}, nine],
    ] as const) {
      const { fileSystem, broker } = await setUp(topic)
      const sending = broker.producer({ ...producer, lingerMs: 5 })
      for (const { key, value } of RECORDS) void sending.send({ topic: 'orders', key, value })
      await sending.flush()
      sizes.push(fileSystem.readFile(LOG).length)
      await broker.close()
    }
    const [ofTopicOne, ofTopicNine, ofProducerOne, ofProducerNine] = sizes
    expect(ofTopicOne).toBeGreaterThan(ofTopicNine ?? Infinity)
    expect([ofProducerOne, ofProducerNine]).toEqual([ofTopicOne, ofTopicNine])
  })

  it('applies to appends without a producer as well, and is kept across a restart', async () => {
    const { fileSystem, broker, partition } = await setUp({
      compressionType: 'zstd',
      compressionZstdLevel: -50,
    })
    await partition.append(RECORDS)
    const fast = fileSystem.readFile(LOG).length
    await broker.topic('orders').alter({ compressionZstdLevel: 19 })
    await broker.close()
    const again = await open(fileSystem)
    expect(again.topic('orders').config).toMatchObject({ compressionZstdLevel: 19 })
    await again.topic('orders').partition(0).append(RECORDS)
    expect(fileSystem.readFile(LOG).length - fast).toBeLessThan(fast)
    await again.close()
  })

  it('is refused outside its range', async () => {
    const { broker, partition } = await setUp()
    expect(() => broker.producer({ compressionLz4Level: 0 })).toThrow('from 1 to 17, got 0')
    await expect(broker.createTopic('b', { compressionZstdLevel: 23 })).rejects.toThrow(RangeError)
    expect(partition.logEndOffset).toBe(0)
    await broker.close()
  })
})
