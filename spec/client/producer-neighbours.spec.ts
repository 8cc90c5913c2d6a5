import { randomBytes } from 'node:crypto'
import { describe, expect, it, vi } from 'vitest'
import { Producer } from '../../lib/client/producer.ts'
import { resolveTopicConfig } from '../../lib/config.ts'
import { InvalidRecordError, StorageError } from '../../lib/errors.ts'
import { tempBroker } from '../../lib/testing/index.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { openPartition } from '../helpers/partitions.ts'
import { observe, setUp } from './fake-topic.ts'

const MIB = 1024 * 1024

/** Callbacks that log their calls. */
function hearing(): {
  readonly heard: string[]
  readonly hear: (name: string) => (error: Error | null) => void
} {
  const heard: string[] = []
  const hear = (name: string) => (error: Error | null) => {
    heard.push(`${name} ${error === null ? 'written' : 'failed'}`)
  }
  return { heard, hear }
}

describe('a send that the topic would accept on its own', () => {
  it.each(['none', 'snappy'] as const)(
    'is not rejected because its group of batches exceeds maxBytes, with compression %s',
    async (compressionType) => {
      await using broker = await tempBroker()
      const config = { maxBytes: 20_000, segmentBytes: 6_000, whenFull: 'dropOldest' } as const
      await broker.createTopic('t', config)
      const producer = broker.producer({ batchRecords: 1, compressionType })
      // Four batches of 4990 bytes, which grow slightly when compressed, as they are
      // incompressible.
      const values = Array.from({ length: 4 }, () => randomBytes(4990 - 71))
      const sent = values.map((value) => observe(producer.send({ topic: 't', value })))
      await producer.flush()
      expect(sent.map(({ metadata, error }) => error ?? metadata?.offset)).toEqual([0, 1, 2, 3])
      await producer.close()
    },
  )

  it('is not rejected because the records in its batch have many headers', async () => {
    const config = { maxMessageBytes: 16 * MIB }
    const { producer, partition, clock } = setUp({ batchSize: 16 * MIB }, { config })
    partition.isAutomatic = true
    const headers = Array.from({ length: 50_000 }, () => ['', null] as const)
    const sent = Array.from({ length: 22 }, () =>
      observe(producer.send({ topic: 't', value: null, headers })),
    )
    await clock.advance(0)
    expect(sent.map(({ metadata, error }) => error ?? metadata?.offset)).toEqual(
      sent.map((_, n) => n),
    )
    expect(partition.log.map(({ recordCount }) => recordCount)).toEqual([20, 2])
  })
})

describe('a send from the callback of a failed send', () => {
  const diskError = new StorageError('the disk is full', { path: '/d', outcome: 'not-written' })

  it('does not fail with the batch that was open at the failure', async () => {
    const { producer, partition, clock } = setUp()
    const { heard, hear } = hearing()
    producer.send({ topic: 't', value: 'a' }, (error) => {
      hear('a')(error)
      producer.send({ topic: 't', value: 'again' }, hear('again'))
    })
    await clock.advance(0)
    producer.send({ topic: 't', value: 'b' }, hear('b'))
    partition.append(0).fail(diskError)
    await clock.advance(0)
    expect(heard).toEqual(['a failed', 'b failed'])
    expect(partition.appends).toHaveLength(2)
    partition.append(1).succeed()
    await clock.advance(0)
    expect(heard).toEqual(['a failed', 'b failed', 'again written'])
    expect(await partition.append(1).values()).toEqual([['again']])
  })

  it('does not fail with the batch that expires at the same time', async () => {
    const { producer, partition, clock } = setUp({ deliveryTimeoutMs: 100 })
    const { heard, hear } = hearing()
    producer.send({ topic: 't', value: 'a' }, (error) => {
      hear('a')(error)
      producer.send({ topic: 't', value: 'again' }, hear('again'))
    })
    await clock.advance(0)
    producer.send({ topic: 't', value: 'b' }, hear('b'))
    await clock.advance(100)
    expect(heard).toEqual(['a failed', 'b failed'])
    partition.append(0).succeed()
    await clock.advance(0)
    expect(partition.appends).toHaveLength(2)
    partition.append(1).succeed()
    await clock.advance(0)
    expect(heard).toEqual(['a failed', 'b failed', 'again written'])
    expect(await partition.append(1).values()).toEqual([['again']])
  })
})

describe('a topic that is altered while sends are in progress', () => {
  it('stores and reports the original timestamps of records already being written', async () => {
    const clock = new ManualClock(1_700_000_000_000)
    const fileSystem = new SimulatedFileSystem({ completion: 'random', seed: 5, clock })
    const partition = await openPartition({ fileSystem, clock })
    const topic = {
      name: 't',
      partitions: [partition],
      get config() {
        return partition.log.config
      },
    }
    const producer = new Producer(
      { clock, random: new SeededRandom(1), topic: () => topic, onClosed: () => undefined },
      {},
    )
    const timestamps = [1_700_000_000_001, 1_700_000_000_002]
    const sent = timestamps.map((timestamp) => producer.send({ topic: 't', value: 'v', timestamp }))
    for (let turn = 0; turn < 8; turn += 1) await Promise.resolve()
    partition.log.config = { ...partition.log.config, messageTimestampType: 'LogAppendTime' }
    const told = (await Promise.all(sent)).map(({ timestamp }) => timestamp)
    expect(told).toEqual((await partition.read(0)).map(({ timestamp }) => timestamp))
    expect(told).toEqual(timestamps)
  })

  it('reports the time that each record is stored with if its write needs a new segment', async () => {
    const clock = new ManualClock()
    // Each look at the clock, and so each of its batches, has its own time.
    let nowMs = clock.now()
    vi.spyOn(clock, 'now').mockImplementation(() => (nowMs += 1))
    await using broker = await tempBroker({ fileSystem: new SimulatedFileSystem(), clock })
    const config = { messageTimestampType: 'LogAppendTime', segmentBytes: 70_000 } as const
    const partition = (await broker.createTopic('t', config)).partition(0)
    const records = Array.from({ length: 30 }, () => ({ topic: 't', value: Buffer.alloc(8_000) }))
    const told = (await broker.producer().sendBatch(records)).map(({ timestamp }) => timestamp)
    expect(partition.log.segments.length).toBeGreaterThan(2)
    const stored = await partition.read(0, { maxBytes: MIB })
    expect(told).toEqual(stored.map(({ timestamp }) => timestamp))
  })

  it('rejects a record without a key that waited for memory until the topic was compacted', async () => {
    const { producer, partition, topic, clock } = setUp({ bufferMemory: 200 })
    const first = observe(producer.send({ topic: 't', value: 'x'.repeat(100) }))
    await clock.advance(0)
    const waits = observe(producer.send({ topic: 't', value: 'y'.repeat(100) }))
    topic.config = resolveTopicConfig({ cleanupPolicy: 'compact' })
    partition.append(0).succeed()
    await clock.advance(0)
    expect(first.metadata?.offset).toBe(0)
    expect(waits.error).toBeInstanceOf(InvalidRecordError)
    expect(partition.appends).toHaveLength(1)
    expect(producer.usedBytes).toBe(0)
  })
})
