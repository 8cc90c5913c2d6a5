import { gzipSync } from 'node:zlib'
import { afterEach, describe, expect, it } from 'vitest'
import { codecFor, registerCodec, type Codec } from '../../lib/record/compression.ts'
import { CorruptRecordError, StorageError } from '../../lib/errors.ts'
import type { Producer } from '../../lib/client/producer.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { withoutZstd } from '../helpers/missing-codec.ts'
import { observe, setUp, type Outcome } from './fake-topic.ts'

const writeError = new StorageError('the disk is full', { path: '/d', outcome: 'not-written' })

/** Sends values to topic 't' and observes their outcomes. */
function sendAll(producer: Producer, ...values: string[]): Outcome[] {
  return values.map((value) => observe(producer.send({ topic: 't', value })))
}

/** The size of a batch of records with one-byte values, all sent at the same time. */
function sizeOfBatch(recordCount: number): number {
  return 61 + 9 * recordCount - recordCount
}

describe('a producer with lingerMs 0', () => {
  it('puts all sends of one tick into one batch', async () => {
    const { producer, partition, clock } = setUp()
    sendAll(producer, 'a', 'b', 'c')
    expect(partition.appends).toEqual([])
    await clock.advance(0)
    expect(await partition.written()).toEqual([[['a', 'b', 'c']]])
  })

  it('puts sends that follow some awaits in the same tick into the same batch', async () => {
    const { producer, partition, clock } = setUp()
    for (const value of ['a', 'b', 'c']) {
      void (async () => {
        await Promise.resolve()
        if (value !== 'a') await Promise.resolve()
        await producer.send({ topic: 't', value })
      })()
    }
    await clock.advance(0)
    expect(await partition.written()).toEqual([[['a', 'b', 'c']]])
  })

  it('collects what is sent during a write and writes it in the next append', async () => {
    const { producer, partition, clock } = setUp()
    sendAll(producer, 'a')
    await clock.advance(0)
    sendAll(producer, 'b')
    await clock.advance(0)
    sendAll(producer, 'c')
    await clock.advance(1000)
    expect(await partition.written()).toEqual([[['a']]])
    partition.append(0).succeed()
    await clock.advance(0)
    expect(await partition.written()).toEqual([[['a']], [['b', 'c']]])
  })

  it('includes sends of callers that awaited a write in the append after it', async () => {
    const { producer, partition, clock } = setUp()
    const loop = async (name: string): Promise<void> => {
      for (const turn of [1, 2]) await producer.send({ topic: 't', value: `${name}${turn}` })
    }
    void loop('a')
    void loop('b')
    await clock.advance(0)
    sendAll(producer, 'c1')
    partition.append(0).succeed()
    await clock.advance(0)
    expect(await partition.written()).toEqual([[['a1', 'b1']], [['c1', 'a2', 'b2']]])
  })

  it('writes partitions independently of each other', async () => {
    const { producer, topic, clock } = setUp({}, { partitions: 2 })
    const send = (partition: number) => producer.send({ topic: 't', partition, value: 'v' })
    const first = observe(send(0))
    const other = observe(send(1))
    await clock.advance(0)
    topic.partition(1).append(0).succeed()
    void send(1)
    await clock.advance(0)
    expect([first.isSettled, other.isSettled]).toEqual([false, true])
    expect(topic.partition(1).appends).toHaveLength(2)
  })
})

describe('a batch of the accumulator', () => {
  it('is full when one more record would exceed batchSize', async () => {
    const { producer, partition, clock } = setUp({ batchSize: sizeOfBatch(3) })
    sendAll(producer, 'a', 'b', 'c', 'd')
    await clock.advance(0)
    const [values] = await partition.written()
    expect(values?.flat()).toEqual(['a', 'b', 'c', 'd'])
    expect(values?.length).toBeGreaterThan(1)
    for (const batch of partition.append(0).batches) {
      expect(batch.sizeBytes).toBeLessThanOrEqual(sizeOfBatch(3))
    }
  })

  it('is full when it holds batchRecords records', async () => {
    const { producer, partition, clock } = setUp({ batchRecords: 2 })
    sendAll(producer, 'a', 'b', 'c', 'd', 'e')
    await clock.advance(0)
    expect(await partition.written()).toEqual([[['a', 'b'], ['c', 'd'], ['e']]])
  })

  it('is full after each record if batchSize is 0', async () => {
    const { producer, partition, clock } = setUp({ batchSize: 0 })
    sendAll(producer, 'a', 'b')
    await clock.advance(0)
    expect(await partition.written()).toEqual([[['a'], ['b']]])
  })

  it('is full before it would exceed maxMessageBytes of the topic', async () => {
    const { producer, partition } = setUp({}, { config: { maxMessageBytes: 200 } })
    partition.isAutomatic = true
    const records = Array.from({ length: 50 }, () => ({ topic: 't', value: 'x'.repeat(20) }))
    await producer.sendBatch(records)
    const sizes = partition.log.map(({ sizeBytes }) => sizeBytes)
    expect(Math.max(...sizes)).toBeLessThanOrEqual(200)
    expect(await partition.records()).toHaveLength(50)
  })

  it('holds only one record if that is larger than batchSize', async () => {
    const { producer, partition, clock } = setUp({ batchSize: 100 })
    sendAll(producer, 'a', 'x'.repeat(500), 'b')
    await clock.advance(0)
    expect(await partition.written()).toEqual([[['a'], ['x'.repeat(500)], ['b']]])
  })

  it('is written together with others in appends of up to about 1 MiB', async () => {
    const { producer, partition, clock } = setUp({ batchSize: 0 })
    const value = 'x'.repeat(300_000)
    sendAll(producer, value, value, value, value, value)
    await clock.advance(0)
    expect(partition.append(0).batches).toHaveLength(3)
    partition.append(0).succeed()
    await clock.advance(0)
    expect(partition.append(1).batches).toHaveLength(2)
  })
})

describe('a producer with lingerMs above 0', () => {
  it('waits lingerMs from the first record of a batch, not from its last', async () => {
    const { producer, partition, clock } = setUp({ lingerMs: 10 })
    sendAll(producer, 'a')
    await clock.advance(6)
    sendAll(producer, 'b')
    await clock.advance(3)
    expect(partition.appends).toEqual([])
    await clock.advance(1)
    expect(await partition.written()).toEqual([[['a', 'b']]])
  })

  it.each([0, 'all'] as const)(
    'writes a batch even if lingerMs is above the usual deliveryTimeoutMs, with acks %s',
    async (acks) => {
      const { producer, partition, clock } = setUp({ lingerMs: 200_000, acks })
      const [sent] = sendAll(producer, 'a')
      await clock.advance(200_000)
      expect(await partition.written()).toEqual([[['a']]])
      partition.append(0).succeed()
      await clock.advance(0)
      expect(sent).toMatchObject({ isSettled: true, error: null })
    },
  )

  it('sends a full batch at once and lets the one behind it linger', async () => {
    const { producer, partition, clock } = setUp({ lingerMs: 10, batchRecords: 2 })
    sendAll(producer, 'a', 'b', 'c')
    await clock.advance(0)
    expect(await partition.written()).toEqual([[['a', 'b']]])
    partition.append(0).succeed()
    await clock.advance(9)
    expect(partition.appends).toHaveLength(1)
    await clock.advance(1)
    expect(await partition.written()).toEqual([[['a', 'b']], [['c']]])
  })

  it('sends a batch at once if the next record does not fit into it', async () => {
    const { producer, partition, clock } = setUp({ lingerMs: 10, batchSize: 200 })
    sendAll(producer, 'a', 'x'.repeat(100))
    await clock.advance(0)
    expect(partition.appends).toEqual([])
    sendAll(producer, 'y'.repeat(100))
    await clock.advance(0)
    expect(await partition.written()).toEqual([[['a', 'x'.repeat(100)]]])
  })

  it('sends a batch whose linger time has ended during a write right after the write', async () => {
    const { producer, partition, clock } = setUp({ lingerMs: 10, batchRecords: 2 })
    sendAll(producer, 'a', 'b', 'c')
    await clock.advance(15)
    expect(partition.appends).toHaveLength(1)
    partition.append(0).succeed()
    await clock.advance(0)
    expect(await partition.written()).toEqual([[['a', 'b']], [['c']]])
  })

  it('sends a record larger than batchSize at once', async () => {
    const { producer, partition, clock } = setUp({ lingerMs: 10, batchSize: 100 })
    sendAll(producer, 'x'.repeat(100))
    await clock.advance(0)
    expect(partition.appends).toHaveLength(1)
  })

  it('lets the next batch linger as well after one whose linger time has ended', async () => {
    const { producer, partition, clock } = setUp({ lingerMs: 10 })
    partition.isAutomatic = true
    sendAll(producer, 'a')
    await clock.advance(10)
    sendAll(producer, 'b')
    await clock.advance(9)
    expect(partition.appends).toHaveLength(1)
    await clock.advance(1)
    expect(await partition.written()).toEqual([[['a']], [['b']]])
  })

  it('starts a new linger time for the batch after one that was full early', async () => {
    const { producer, partition, clock } = setUp({ lingerMs: 10, batchRecords: 2 })
    partition.isAutomatic = true
    sendAll(producer, 'a')
    await clock.advance(8)
    sendAll(producer, 'b', 'c')
    await clock.advance(2)
    expect(partition.appends).toHaveLength(1)
    await clock.advance(8)
    expect(partition.appends).toHaveLength(2)
  })
})

describe('the order of the sends', () => {
  it('is kept when an append fails: records queued behind it fail too, later ones are sent', async () => {
    const { producer, partition, clock } = setUp({ batchRecords: 1 })
    const first = sendAll(producer, 'a')
    await clock.advance(0)
    const rest = sendAll(producer, 'b', 'c')
    await clock.advance(0)
    expect(partition.appends).toHaveLength(1)
    partition.append(0).fail(writeError)
    await clock.advance(0)
    const later = sendAll(producer, 'd')
    await clock.advance(0)
    partition.append(1).succeed()
    await clock.advance(0)
    expect(first[0]?.error).toBe(writeError)
    for (const { error } of rest) {
      expect(error).toMatchObject({ outcome: 'not-written', cause: writeError })
    }
    expect(later[0]?.metadata?.offset).toBe(0)
  })

  it('is also the order of the offsets of batches that are written together', async () => {
    const { producer, partition, clock } = setUp({ batchRecords: 2 })
    sendAll(producer, 'x', 'x', 'x')
    await clock.advance(0)
    partition.append(0).succeed()
    const sent = sendAll(producer, 'a', 'b', 'c', 'd', 'e')
    await clock.advance(0)
    partition.append(1).succeed()
    await clock.advance(0)
    expect(sent.map(({ metadata }) => metadata?.offset)).toEqual([3, 4, 5, 6, 7])
  })
})

describe('compression', () => {
  const gzip = codecFor('gzip')
  afterEach(() => {
    registerCodec(gzip)
  })

  function replaceGzip(compress: Codec['compress']): void {
    registerCodec({ ...gzip, compress })
  }

  it("uses the producer's codec if the topic allows any, otherwise the topic's", async () => {
    for (const [choice, config, stored] of [
      ['gzip', 'producer', 'gzip'],
      ['none', 'gzip', 'gzip'],
      ['gzip', 'uncompressed', 'none'],
    ] as const) {
      const bench = setUp({ compressionType: choice }, { config: { compressionType: config } })
      bench.partition.isAutomatic = true
      await bench.producer.send({ topic: 't', value: 'a' })
      expect(bench.partition.log[0]?.compressionType).toBe(stored)
      expect(await bench.partition.written()).toEqual([[['a']]])
    }
  })

  it('keeps the order of the batches, however long each takes', async () => {
    const pending: (() => void)[] = []
    replaceGzip(
      (bytes, level) =>
        new Promise((resolve, reject) => {
          pending.push(() => {
            gzip.compress(bytes, level).then(resolve, reject)
          })
        }),
    )
    const { producer, partition, clock } = setUp({ compressionType: 'gzip', batchRecords: 1 })
    partition.isAutomatic = true
    const sent = ['a', 'b', 'c'].map((value) => producer.send({ topic: 't', value }))
    await clock.advance(0)
    expect(pending).toHaveLength(3)
    for (const start of pending.reverse()) {
      start()
      await clock.advance(0)
    }
    const places = await Promise.all(sent)
    expect(places.map(({ offset }) => offset)).toEqual([0, 1, 2])
    expect(await partition.written()).toEqual([[['a'], ['b'], ['c']]])
  })

  it('leaves a batch unwritten if it is still under way at the delivery timeout', async () => {
    let finish: () => void = () => undefined
    replaceGzip(async (bytes, level) => {
      await new Promise<void>((resolve) => {
        finish = resolve
      })
      return gzip.compress(bytes, level)
    })
    const { producer, partition, clock } = setUp({
      compressionType: 'gzip',
      deliveryTimeoutMs: 100,
    })
    const [expired] = sendAll(producer, 'a')
    await clock.advance(100)
    expect(expired?.error).toMatchObject({ code: 'TIMEOUT', outcome: 'not-written' })
    finish()
    await clock.advance(0)
    replaceGzip((bytes) => Promise.resolve(gzipSync(bytes)))
    partition.isAutomatic = true
    await producer.send({ topic: 't', value: 'b' })
    expect(await partition.written()).toEqual([[['b']]])
  })

  it('fails only the batch for which it fails', async () => {
    const broken = new CorruptRecordError('out of memory', { path: null, position: 0 })
    let calls = 0
    replaceGzip((bytes, level) => {
      calls += 1
      return calls === 2 ? Promise.reject(broken) : gzip.compress(bytes, level)
    })
    const { producer, partition } = setUp({ compressionType: 'gzip', batchRecords: 1 })
    partition.isAutomatic = true
    const sent = ['a', 'b', 'c'].map((value) => producer.send({ topic: 't', value }))
    const outcomes = await Promise.allSettled(sent)
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect(outcomes[1]).toMatchObject({ reason: broken })
    expect(await partition.written()).toEqual([[['a'], ['c']]])
    expect(producer.usedBytes).toBe(0)
  })

  it('does not make a batch that grows by it too large for the topic', async () => {
    const { producer, partition } = setUp(
      { compressionType: 'gzip' },
      { config: { maxMessageBytes: 1000 } },
    )
    partition.isAutomatic = true
    const random = new SeededRandom(1)
    const values = Array.from({ length: 10 }, () => random.bytes(452))
    await producer.sendBatch(values.map((value) => ({ topic: 't', value })))
    expect(partition.log.length).toBeGreaterThan(1)
    expect(Math.max(...partition.log.map(({ sizeBytes }) => sizeBytes))).toBeLessThanOrEqual(1000)
  })

  it('fails only the record that it makes too large, not those written with it', async () => {
    replaceGzip((bytes) =>
      Promise.resolve(Buffer.alloc(bytes.length < 50 ? bytes.length : 10 * bytes.length)),
    )
    const { producer, partition, clock } = setUp(
      { compressionType: 'gzip', batchRecords: 1 },
      { config: { maxMessageBytes: 400 } },
    )
    partition.isAutomatic = true
    const [first, large, last] = sendAll(producer, 'a', 'x'.repeat(100), 'b')
    await clock.advance(0)
    expect(large?.error).toMatchObject({ code: 'MESSAGE_TOO_LARGE', maxBytes: 400 })
    expect([first?.metadata?.offset, last?.metadata?.offset]).toEqual([0, 1])
  })

  it('fails the send if the topic requires a codec that is not available', async () => {
    withoutZstd()
    const { producer, partition, clock } = setUp({}, { config: { compressionType: 'zstd' } })
    const [sent] = sendAll(producer, 'a')
    await clock.advance(0)
    expect(sent?.error).toMatchObject({ code: 'UNSUPPORTED_COMPRESSION_TYPE' })
    expect([partition.appends.length, producer.usedBytes]).toEqual([0, 0])
    await producer.close()
  })
})
