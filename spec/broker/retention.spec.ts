import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { Broker, type CreateTopicOptions, type Partition } from '../../lib/index.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { tempBroker } from '../../lib/testing/temp-broker.ts'
import { openPartition } from '../helpers/partitions.ts'

const DAY_MS = 86_400_000
const SMALL = { segmentBytes: 200, indexIntervalBytes: 32 }
/** Two batches with this value fill a segment. */
const VALUE = 'x'.repeat(20)

interface Opened {
  readonly fileSystem: SimulatedFileSystem
  readonly clock: ManualClock
  readonly broker: Broker
}

async function open(options: { fileSystem?: SimulatedFileSystem } = {}): Promise<Opened> {
  const clock = new ManualClock()
  const fileSystem = options.fileSystem ?? new SimulatedFileSystem({ clock })
  const broker = await Broker.open('/data', { fileSystem, clock, random: new SeededRandom(1) })
  return { fileSystem, clock, broker }
}

async function partitionOf(broker: Broker, options: CreateTopicOptions = {}): Promise<Partition> {
  const topic = await broker.createTopic('orders', { ...SMALL, ...options })
  return topic.partition(0)
}

async function fill(partition: Partition, count: number): Promise<void> {
  for (let each = 0; each < count; each += 1) await partition.append({ value: VALUE })
}

async function commit(
  broker: Broker,
  groupId: string,
  offset: number,
  partition = 0,
): Promise<void> {
  const consumer = broker.consumer({ groupId, enableAutoCommit: false })
  consumer.assign([{ topic: 'orders', partition }])
  await consumer.commit([{ topic: 'orders', partition, offset }])
  await consumer.close()
}

async function keepConsumed(broker: Broker): Promise<void> {
  await broker.topic('orders').alter({ retention: 'limits' })
}

/** Holds a checkpoint of the partition until it is released; deletions wait for its end. */
async function holdCheckpoint(
  fileSystem: SimulatedFileSystem,
  partition: Partition,
): Promise<{ readonly checkpoint: Promise<void>; readonly release: () => void }> {
  const open = fileSystem.open.bind(fileSystem)
  let release = (): void => undefined
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  const begun = new Promise<void>((resolve) => {
    fileSystem.open = async (path, mode) => {
      if (path.includes('/orders-0/') && mode === 'create') {
        fileSystem.open = open
        resolve()
        await released
      }
      return open(path, mode)
    }
  })
  const checkpoint = partition.log.checkpoint()
  await begun
  return { checkpoint, release }
}

describe('the retention of a broker', () => {
  it('deletes expired records on a timer, even if nothing more is appended', async () => {
    const { broker, clock } = await open()
    const partition = await partitionOf(broker, { retentionMs: DAY_MS })
    await fill(partition, 3)
    await clock.advance(DAY_MS)
    expect(partition.logStartOffset).toBe(0)
    await clock.advance(300_001)
    await broker.topic('orders').partition(0).log.flush()
    expect([partition.logStartOffset, partition.logEndOffset]).toEqual([3, 3])
    expect(partition.diskUsage()).toEqual({ segments: 1, bytes: 0 })
    await broker.close()
  })

  it('returns what an explicit call has freed, for a partition, a topic and all topics', async () => {
    const { broker } = await open()
    const partition = await partitionOf(broker, { retentionBytes: 0, partitions: 2 })
    const other = broker.topic('orders').partition(1)
    await fill(partition, 3)
    await fill(other, 1)
    const used = broker.topic('orders').diskUsage()
    expect(used).toEqual({
      segments: 3,
      bytes: partition.diskUsage().bytes + other.diskUsage().bytes,
    })
    const { bytes } = await partition.enforceRetention()
    const rest = await broker.topic('orders').enforceRetention()
    expect(bytes + rest.bytes).toBe(used.bytes)
    expect(await broker.enforceRetention()).toEqual({ segments: 0, bytes: 0 })
    await broker.close()
  })

  it('continues with the other partitions when one fails, and reports the failure until a pass succeeds', async () => {
    const { broker, clock, fileSystem } = await open()
    const partition = await partitionOf(broker, { retentionMs: 1, partitions: 2 })
    const other = broker.topic('orders').partition(1)
    await fill(partition, 3)
    await fill(other, 3)
    await clock.advance(1000)
    const fault = { path: /orders-0/, persistent: true }
    fileSystem.failNext('unlink', 'EIO', fault)
    await expect(broker.enforceRetention()).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    expect(other.logStartOffset).toBe(3)
    const failures = (): (Error | null)[] =>
      broker
        .describe()
        .topics.flatMap(({ name, partitions }) =>
          name === 'orders' ? partitions.map(({ retentionFailure }) => retentionFailure) : [],
        )
    expect(failures()).toEqual([expect.objectContaining({ code: 'STORAGE_ERROR' }), null])
    // The timer's pass fails as well, and nobody has to handle that failure.
    await clock.advance(300_000)
    fileSystem.clearFaults()
    expect(await broker.enforceRetention()).toMatchObject({ segments: 2 })
    expect(failures()).toEqual([null, null])
    await broker.close()
  })

  it('rejects a waiting fetch whose offset is below the new log start offset', async () => {
    const { broker, clock } = await open()
    const partition = await partitionOf(broker, { retentionMs: 1 })
    await fill(partition, 2)
    const waiting = partition.fetch(1, { minBytes: 1e6, maxWaitMs: 1e9 })
    waiting.catch(() => undefined)
    await clock.advance(1000)
    await partition.enforceRetention()
    await expect(waiting).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE', logStartOffset: 2 })
    await broker.close()
  })

  it.each(['on the disk', 'in memory'])(
    'keeps records that were just appended with a timestamp of tomorrow, %s',
    async (where) => {
      const fileSystem = where === 'in memory' ? new SimulatedFileSystem() : undefined
      await using broker = await tempBroker(fileSystem === undefined ? {} : { fileSystem })
      const { partitions } = await broker.createTopic('orders', SMALL)
      const timestamp = Date.now() + DAY_MS
      for (let each = 0; each < 4; each += 1) {
        await partitions[0]?.append({ value: VALUE, timestamp })
      }
      expect(await broker.enforceRetention()).toEqual({ segments: 0, bytes: 0 })
      expect(partitions[0]?.logStartOffset).toBe(0)
    },
  )

  it('rejects with READ_ONLY in a read-only process', async () => {
    const { broker, fileSystem, clock } = await open()
    await partitionOf(broker)
    const reader = await Broker.open('/data', { fileSystem, clock, readOnly: true })
    const topic = reader.topic('orders')
    for (const each of [reader, topic, topic.partition(0)]) {
      await expect(each.enforceRetention()).rejects.toMatchObject({ code: 'READ_ONLY' })
    }
    await reader.close()
    await broker.close()
  })

  it('lets concurrent readers get the records of their offsets or reject with OFFSET_OUT_OF_RANGE', async () => {
    const clock = new ManualClock()
    const fileSystem = new SimulatedFileSystem({ clock, completion: 'random', seed: 7 })
    const config = { ...SMALL, retentionBytes: 400 }
    const setup = { fileSystem, clock, config, recentBytes: 0, readCacheBytes: 0 }
    const partition = await openPartition(setup)
    let isOver = false
    let [read, missed] = [0, 0]
    const readers = Array.from({ length: 12 }, async (_, seed) => {
      const random = new SeededRandom(seed)
      while (!isOver) {
        const offset = random.integer(partition.logEndOffset + 1)
        try {
          const records = await partition.read(offset, { maxRecords: 1 + random.integer(9) })
          for (const [slot, record] of records.entries()) {
            expect([record.offset, String(record.value)]).toEqual([
              offset + slot,
              `v${offset + slot}`,
            ])
            read += 1
          }
        } catch (error) {
          expect(error).toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' })
          missed += 1
        }
        // On a fast machine it may take long until the event loop turns.
        if (random.chance(0.5)) await nextTurn()
      }
    })
    const random = new SeededRandom(7)
    for (let each = 0; each < 200; each += 1) {
      await partition.append({ value: `v${each}` })
      if (each % 5 === 0) await partition.enforceRetention()
      // A slow machine may complete only one read per turn.
      for (let turns = random.integer(10); turns >= 0; turns -= 1) await nextTurn()
    }
    isOver = true
    await Promise.all(readers)
    expect([read > 0, missed > 0]).toEqual([true, true])
    await partition.log.close()
  })
})

describe("a topic with retention: 'consumed'", () => {
  it('keeps all records as long as no group has committed an offset', async () => {
    const { broker } = await open()
    const partition = await partitionOf(broker, { retention: 'consumed' })
    await fill(partition, 5)
    expect(await partition.enforceRetention()).toEqual({ segments: 0, bytes: 0 })
    expect(partition.logStartOffset).toBe(0)
    await broker.close()
  })

  it('deletes the records that every group has consumed according to its commits, and no others', async () => {
    const { broker } = await open()
    const partition = await partitionOf(broker, { retention: 'consumed' })
    await fill(partition, 6)
    await commit(broker, 'mail', 3)
    await commit(broker, 'billing', 5)
    await partition.enforceRetention()
    expect(partition.logStartOffset).toBe(3)
    expect(partition.log.segments[0]?.baseOffset).toBe(2)
    await expect(partition.read(2)).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' })
    await commit(broker, 'mail', 6)
    await commit(broker, 'billing', 6)
    await partition.enforceRetention()
    expect([partition.logStartOffset, partition.diskUsage().bytes]).toEqual([6, 0])
    await broker.close()
  })

  it('keeps a partition for which a group of the topic has not committed yet', async () => {
    const { broker } = await open()
    await partitionOf(broker, { retention: 'consumed', partitions: 2 })
    const [first, second] = broker.topic('orders').partitions
    for (const each of [first, second]) if (each !== undefined) await fill(each, 4)
    await commit(broker, 'billing', 4, 1)
    await broker.topic('orders').enforceRetention()
    expect([first?.logStartOffset, second?.logStartOffset]).toEqual([0, 4])
    await broker.close()
  })

  it('deletes no records because they were consumed if it is compacted', async () => {
    const { broker } = await open()
    const options = { cleanupPolicy: 'compact', retention: 'consumed' } as const
    const partition = await partitionOf(broker, options)
    for (let each = 0; each < 4; each += 1) await partition.append({ key: `${each}`, value: VALUE })
    await commit(broker, 'workers', 4)
    expect(await broker.enforceRetention()).toMatchObject({ segments: 0 })
    expect(partition.logStartOffset).toBe(0)
    await broker.close()
  })

  it.each<[string, (broker: Broker) => Promise<unknown>]>([
    ['a group has gone back', (broker) => commit(broker, 'mail', 2)],
    ['the topic keeps what is consumed', (broker) => keepConsumed(broker)],
  ])(
    'keeps records that may no longer be deleted when the deletion starts: %s',
    async (_, change) => {
      const { broker, fileSystem } = await open()
      const partition = await partitionOf(broker, { retention: 'consumed' })
      await fill(partition, 6)
      await commit(broker, 'mail', 6)
      const { checkpoint, release } = await holdCheckpoint(fileSystem, partition)
      const deletion = partition.enforceRetention()
      await change(broker)
      release()
      await checkpoint
      await deletion
      expect(partition.logStartOffset).toBeLessThanOrEqual(2)
      await broker.close()
    },
  )

  it('deletes nothing if the committed offsets are damaged', async () => {
    const { broker, fileSystem } = await open()
    const partition = await partitionOf(broker, { retention: 'consumed' })
    await fill(partition, 4)
    await commit(broker, 'billing', 4)
    await broker.close()
    fileSystem.flipBit('/data/__consumer_offsets-0/00000000000000000000.log', 70, 3)
    const next = await open({ fileSystem })
    expect(next.broker.recovery.damaged).toHaveLength(1)
    await next.broker.topic('orders').enforceRetention()
    expect(next.broker.topic('orders').partition(0).logStartOffset).toBe(0)
    await next.broker.close()
  })

  it.each([
    ['retentionBytes', { retentionBytes: 0 }],
    ['retentionMs', { retentionMs: 1000 }],
  ])('also deletes by %s, even records that a group has not consumed', async (_, limit) => {
    const { broker, clock } = await open()
    const partition = await partitionOf(broker, { retention: 'consumed', ...limit })
    await fill(partition, 4)
    await commit(broker, 'billing', 1)
    await clock.advance(1001)
    await partition.enforceRetention()
    expect(partition.logStartOffset).toBe(4)
    await broker.close()
  })
})

describe('deleteRecords', () => {
  it('returns what it has freed and the log start offset', async () => {
    const { broker } = await open()
    const partition = await partitionOf(broker)
    await fill(partition, 6)
    const bytes = partition.log.segments[0]?.sizeBytes
    expect(await partition.deleteRecords(3)).toEqual({ segments: 1, bytes, logStartOffset: 3 })
    const nothing = { segments: 0, bytes: 0, logStartOffset: 3 }
    expect(await partition.deleteRecords(1)).toEqual(nothing)
    await expect(partition.deleteRecords(7)).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' })
    await broker.close()
  })
})
