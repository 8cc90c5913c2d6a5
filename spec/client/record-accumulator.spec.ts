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

describe('with lingerMs 0', () => {
  it('all sends of one tick share a batch', async () => {
    const { producer, partition, clock } = setUp()
    sendAll(producer, 'a', 'b', 'c')
    expect(partition.appends).toEqual([])
    await clock.advance(0)
    expect(await partition.written()).toEqual([[['a', 'b', 'c']]])
  })

  it('sends that stand behind some awaits of the same tick share it too', async () => {
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

  it('what is sent during a write gathers and goes out with the next', async () => {
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

  it('who awaited the write before still joins the next one', async () => {
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

  it('partitions are written independently of each other', async () => {
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

describe('a batch is full', () => {
  it('when one more record would take it past batchSize', async () => {
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

  it('when it holds batchRecords records', async () => {
    const { producer, partition, clock } = setUp({ batchRecords: 2 })
    sendAll(producer, 'a', 'b', 'c', 'd', 'e')
    await clock.advance(0)
    expect(await partition.written()).toEqual([[['a', 'b'], ['c', 'd'], ['e']]])
  })

  it('after each record when batchSize is 0', async () => {
    const { producer, partition, clock } = setUp({ batchSize: 0 })
    sendAll(producer, 'a', 'b')
    await clock.advance(0)
    expect(await partition.written()).toEqual([[['a'], ['b']]])
  })

  it('before the topic would refuse it for its size', async () => {
    const { producer, partition } = setUp({}, { config: { maxMessageBytes: 200 } })
    partition.isAutomatic = true
    const records = Array.from({ length: 50 }, () => ({ topic: 't', value: 'x'.repeat(20) }))
    await producer.sendBatch(records)
    const sizes = partition.log.map(({ sizeBytes }) => sizeBytes)
    expect(Math.max(...sizes)).toBeLessThanOrEqual(200)
    expect(await partition.records()).toHaveLength(50)
  })

  it('with a record larger than batchSize, which has a batch of its own', async () => {
    const { producer, partition, clock } = setUp({ batchSize: 100 })
    sendAll(producer, 'a', 'x'.repeat(500), 'b')
    await clock.advance(0)
    expect(await partition.written()).toEqual([[['a'], ['x'.repeat(500)], ['b']]])
  })

  it('and batches go out together up to about 1 MiB', async () => {
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

describe('with lingerMs above 0', () => {
  it('a batch waits that long from its first record, not from its last', async () => {
    const { producer, partition, clock } = setUp({ lingerMs: 10 })
    sendAll(producer, 'a')
    await clock.advance(6)
    sendAll(producer, 'b')
    await clock.advance(3)
    expect(partition.appends).toEqual([])
    await clock.advance(1)
    expect(await partition.written()).toEqual([[['a', 'b']]])
  })

  it('a full batch goes at once, and the one behind it lingers', async () => {
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

  it('a batch that is cut short by a larger record goes at once', async () => {
    const { producer, partition, clock } = setUp({ lingerMs: 10, batchSize: 200 })
    sendAll(producer, 'a', 'x'.repeat(100))
    await clock.advance(0)
    expect(partition.appends).toEqual([])
    sendAll(producer, 'y'.repeat(100))
    await clock.advance(0)
    expect(await partition.written()).toEqual([[['a', 'x'.repeat(100)]]])
  })

  it('a batch whose time is over during a write follows it at once', async () => {
    const { producer, partition, clock } = setUp({ lingerMs: 10, batchRecords: 2 })
    sendAll(producer, 'a', 'b', 'c')
    await clock.advance(15)
    expect(partition.appends).toHaveLength(1)
    partition.append(0).succeed()
    await clock.advance(0)
    expect(await partition.written()).toEqual([[['a', 'b']], [['c']]])
  })

  it('a record larger than batchSize goes at once', async () => {
    const { producer, partition, clock } = setUp({ lingerMs: 10, batchSize: 100 })
    sendAll(producer, 'x'.repeat(100))
    await clock.advance(0)
    expect(partition.appends).toHaveLength(1)
  })

  it('the next batch lingers as well when the time of one is over', async () => {
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

  it('the time of one batch does not shorten that of the next', async () => {
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

describe('order', () => {
  it('is kept when an append fails: what was sent behind it fails too, what comes later is tried', async () => {
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

  it('holds for the offsets of batches that are written together', async () => {
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

  it("is the producer's choice where the topic leaves it, otherwise the topic's", async () => {
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

  it('keeps the order, however long each batch takes', async () => {
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

  it('that is still under way when the time is over leaves the batch unwritten', async () => {
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

  it('that fails for one batch fails that one only', async () => {
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

  it('that makes a batch larger does not make it too large for the topic', async () => {
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

  it('that leaves a single record too large fails that one, not those written with it', async () => {
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

  it('that the topic asks for and nobody has fails the send', async () => {
    withoutZstd()
    const { producer, partition, clock } = setUp({}, { config: { compressionType: 'zstd' } })
    const [sent] = sendAll(producer, 'a')
    await clock.advance(0)
    expect(sent?.error).toMatchObject({ code: 'UNSUPPORTED_COMPRESSION_TYPE' })
    expect([partition.appends.length, producer.usedBytes]).toEqual([0, 0])
    await producer.close()
  })
})
