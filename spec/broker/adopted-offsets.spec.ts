import { describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import {
  CorruptRecordError,
  TopicExistsError,
  UnknownTopicOrPartitionError,
} from '../../lib/errors.ts'
import type { Consumer } from '../../lib/client/consumer.ts'
import {
  encodeOffsetCommitKey,
  encodeOffsetCommitValue,
  partitionForGroup,
} from '../../lib/broker/offset-commit-codec.ts'
import { RecordBatchBuilder } from '../../lib/record/record-batch-builder.ts'
import { stampBatch } from '../../lib/record/record-batch.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { bytesOf, NOW } from '../storage/log-fixtures.ts'

const ORDERS = { topic: 'orders', partition: 0 }
const PAYMENTS = { topic: 'payments', partition: 0 }
/** Kafka's number of partitions. */
const COUNT = 50

interface Commit {
  readonly groupId: string
  readonly topic: string
  readonly partition: number
  readonly offset: number
}

function logOf(partition: number, topic = '__consumer_offsets'): string {
  return `/data/${topic}-${partition}/00000000000000000000.log`
}

/** The log of a partition in which groups have committed. */
function bytesOfCommits(commits: readonly Commit[]): Buffer {
  const batches = commits.map(({ offset, ...key }, baseOffset) => {
    const builder = new RecordBatchBuilder()
    const value = { offset, metadata: '', leaderEpoch: null, commitTimestamp: NOW }
    builder.append(NOW, encodeOffsetCommitKey(key), encodeOffsetCommitValue(value))
    const bytes = builder.buildUncompressed()
    stampBatch(bytes, { baseOffset, partitionLeaderEpoch: 0, groupStart: false })
    return bytes
  })
  return Buffer.concat(batches)
}

/**
 * A directory of Kafka's brokers: `orders` with ten records, and these partitions of the offsets.
 */
function leftByBroker(
  commits: readonly Commit[],
  partitions: readonly number[] = Array.from({ length: COUNT }, (_, each) => each),
  count: number = COUNT,
): SimulatedFileSystem {
  const fs = new SimulatedFileSystem({ seed: 1 })
  const records = Array.from({ length: 10 }, (_, baseOffset) => bytesOf({ baseOffset }))
  fs.writeFile(logOf(0, 'orders'), Buffer.concat(records))
  for (const partition of partitions) {
    const own = commits.filter(({ groupId }) => partitionForGroup(groupId, count) === partition)
    fs.writeFile(logOf(partition), bytesOfCommits(own))
  }
  return fs
}

function open(fileSystem: SimulatedFileSystem, options = {}): Promise<Broker> {
  return Broker.open('/data', { fileSystem, clock: new ManualClock(NOW), ...options })
}

/** All that groups have committed, as `group topic-partition offset`. */
function committedIn(broker: Broker): string[] {
  return broker
    .describe()
    .groups.flatMap(({ groupId, offsets }) =>
      offsets.map(({ topic, partition, offset }) => `${groupId} ${topic}-${partition} ${offset}`),
    )
}

describe('committed offsets of topics that were left on a Kafka broker', () => {
  const COMMITS = [
    { groupId: 'billing', ...ORDERS, offset: 4 },
    { groupId: 'billing', ...PAYMENTS, offset: 70 },
  ]
  const LOG = logOf(partitionForGroup('billing', COUNT))
  const ALL = ['billing orders-0 4', 'billing payments-0 70']

  it('are kept byte for byte, so that Kafka can take the directory back', async () => {
    const fs = leftByBroker(COMMITS)
    for (let each = 0; each < 3; each += 1) {
      const broker = await open(fs)
      expect(committedIn(broker)).toEqual(ALL)
      await broker.createTopic(`t${each}`)
      await broker.deleteTopic(`t${each}`)
      await broker.close()
      expect(fs.readFile(LOG)).toEqual(bytesOfCommits(COMMITS))
    }
  })

  it('are kept wherever a crash interrupts the takeover of the directory', async () => {
    const start = leftByBroker(COMMITS, [0], 1)
    for (let at = 1; ; at += 3) {
      const fs = start.fork({ seed: at })
      fs.crashAt(at, { when: at % 2 === 0 ? 'before' : 'torn' })
      await open(fs).catch(() => undefined)
      if (!fs.crashed) {
        expect(at).toBeGreaterThan(20)
        return
      }
      const next = fs.restart(at % 3 === 0 ? 'process' : 'power', { seed: at })
      const broker = await open(next)
      expect(committedIn(broker), `operation ${at}`).toEqual(ALL)
      await broker.close()
      expect(next.readFile(logOf(0))).toEqual(bytesOfCommits(COMMITS))
    }
  })

  it('are forgotten once a new topic of that name is created', async () => {
    const fs = leftByBroker(COMMITS)
    const broker = await open(fs)
    await broker.createTopic('payments')
    await broker.close()
    const again = await open(fs)
    expect(committedIn(again)).toEqual(['billing orders-0 4'])
    await again.close()
  })
})

describe('committed offsets of partitions that were left on a Kafka broker', () => {
  const ADDED = { topic: 'orders', partition: 1 }
  const COMMITS = [
    { groupId: 'billing', ...ORDERS, offset: 4 },
    { groupId: 'billing', ...ADDED, offset: 5_000 },
  ]

  it('are forgotten once partitions are added in their place, so that groups skip none of the records', async () => {
    const fs = leftByBroker(COMMITS)
    const broker = await open(fs)
    const topic = broker.topic('orders')
    await topic.addPartitions(2)
    expect(committedIn(broker)).toEqual(['billing orders-0 4'])
    for (let each = 0; each < 10; each += 1) await topic.partition(1).append({ value: 'v' })
    const consumer = broker.consumer({ groupId: 'billing', enableAutoCommit: false })
    consumer.assign([ADDED])
    expect(await consumer.poll({ maxWaitMs: 0 })).toHaveLength(10)
    await broker.close()
    const again = await open(fs)
    expect(committedIn(again)).toEqual(['billing orders-0 4'])
    await again.close()
  })

  it('are kept if the partitions are not added, because another broker has their logs', async () => {
    const fs = leftByBroker(COMMITS)
    await (await open(fs)).close()
    fs.writeFile(logOf(1, 'orders'), bytesOf())
    const broker = await open(fs)
    await expect(broker.topic('orders').addPartitions(2)).rejects.toThrow(TopicExistsError)
    expect(committedIn(broker)).toEqual(['billing orders-0 4', 'billing orders-1 5000'])
    await broker.close()
  })

  it('are forgotten by a reader before it has the added partitions', async () => {
    const fs = leftByBroker(COMMITS)
    const owner = await open(fs)
    const { partitions } = await owner.createTopic('other', { segmentBytes: 200 })
    for (let each = 0; each < 10; each += 1) await partitions[0]?.append({ value: 'v' })
    const reading = await open(fs, { readOnly: true })
    const other = reading.topic('other').partition(0)
    await owner.topic('orders').addPartitions(2)
    await owner.deleteTopic('other')
    // The reader looks at the list of topics to find out why files are missing.
    await expect(other.read(3)).rejects.toThrow(UnknownTopicOrPartitionError)
    expect(reading.topic('orders').partitions).toHaveLength(2)
    expect(committedIn(reading)).toEqual(['billing orders-0 4'])
    await reading.close()
    await owner.close()
  })
})

/** Returns a group whose hash has these remainders. */
function groupWith(remainders: Readonly<Record<number, number>>): string {
  for (let each = 0; ; each += 1) {
    const groupId = `group-${each}`
    const isFound = Object.entries(remainders).every(
      ([count, partition]) => partitionForGroup(groupId, Number(count)) === partition,
    )
    if (isFound) return groupId
  }
}

const range = (count: number): number[] => Array.from({ length: count }, (_, each) => each)
const THERE = groupWith({ [COUNT]: 12 })
const AWAY = groupWith({ [COUNT]: 3 })
const LEFT = '/data/__consumer_offsets-3'

function reader(broker: Broker, groupId: string): Consumer {
  const consumer = broker.consumer({ groupId, autoOffsetReset: 'latest', enableAutoCommit: false })
  consumer.assign([ORDERS])
  return consumer
}

/** The offset at which a group continues in `orders`. */
async function nextOffset(broker: Broker, groupId: string): Promise<number> {
  const consumer = reader(broker, groupId)
  const [first] = await consumer.poll({ maxWaitMs: 0 })
  await consumer.close()
  return first?.offset ?? -1
}

async function ensureRefused(broker: Broker, groupId: string): Promise<void> {
  const consumer = reader(broker, groupId)
  for (const call of [
    () => consumer.poll({ maxWaitMs: 0 }),
    () => consumer.committed(ORDERS),
    () => consumer.commit([{ ...ORDERS, offset: 1 }]),
    () => broker.deleteGroup(groupId),
  ]) {
    await expect(call()).rejects.toThrow(CorruptRecordError)
    await expect(call()).rejects.toThrow(
      /__consumer_offsets-3, .* is missing, .* Copy it from the broker/,
    )
  }
  await consumer.close()
}

describe('committed offsets copied from one of several brokers', () => {
  const COMMITS = [
    { groupId: THERE, ...ORDERS, offset: 4 },
    { groupId: AWAY, ...ORDERS, offset: 7 },
  ]

  it('serve the groups in the copied partitions, and reject calls of the other groups', async () => {
    const fs = leftByBroker(COMMITS, [12, 30])
    for (let each = 0; each < 2; each += 1) {
      const broker = await open(fs)
      const { damaged } = broker.recovery
      expect(damaged.map(({ partition }) => partition)).toEqual(
        range(COUNT).filter((partition) => partition !== 12 && partition !== 30),
      )
      expect(await nextOffset(broker, THERE)).toBe(4)
      expect(committedIn(broker)).toEqual([`${THERE} orders-0 4`])
      await ensureRefused(broker, AWAY)
      const consumer = reader(broker, groupWith({ [COUNT]: 30 }))
      expect(await consumer.poll({ maxWaitMs: 0 })).toEqual([])
      await broker.close()
    }
  })

  it('allow topics to be created, and to be deleted with the offsets committed for them', async () => {
    const fs = leftByBroker(COMMITS, [12])
    const broker = await open(fs)
    await broker.createTopic('new')
    await broker.deleteTopic('new')
    await broker.deleteTopic('orders')
    await broker.createTopic('orders')
    expect(committedIn(broker)).toEqual([])
    await broker.close()
    const again = await open(fs)
    expect(committedIn(again)).toEqual([])
    await again.close()
  })

  it('are visible in a read-only broker before and after the takeover', async () => {
    const fs = leftByBroker(COMMITS, [12])
    for (let each = 0; each < 2; each += 1) {
      const before = await open(fs, { readOnly: true })
      expect(await nextOffset(before, THERE)).toBe(4)
      await expect(reader(before, AWAY).poll({ maxWaitMs: 0 })).rejects.toThrow('is missing')
      await before.close()
      await (await open(fs)).close()
    }
  })

  it('are known to a reader even if those of other groups can no longer be read', async () => {
    const fs = leftByBroker(COMMITS)
    const clock = new ManualClock(NOW)
    const owner = await open(fs, { clock })
    const reading = await open(fs, { readOnly: true, clock })
    const [here, away] = [reader(reading, THERE), reader(reading, AWAY)]
    fs.failNext('list', 'EIO', { persistent: true, path: LEFT })
    await reader(owner, THERE).commit([{ ...ORDERS, offset: 9 }])
    await clock.advance(1_000)
    expect(await here.committed(ORDERS)).toMatchObject({ offset: 9 })
    await expect(away.committed(ORDERS)).rejects.toThrow(CorruptRecordError)
    await expect(away.committed(ORDERS)).rejects.toMatchObject({ cause: { code: 'EIO' } })
    fs.clearFaults()
    await reader(owner, AWAY).commit([{ ...ORDERS, offset: 10 }])
    await clock.advance(1_000)
    expect(await here.committed(ORDERS)).toMatchObject({ offset: 9 })
    expect(await away.committed(ORDERS)).toMatchObject({ offset: 10 })
    await reading.close()
    await owner.close()
  })

  it('are completed by those of the other brokers if these are copied later', async () => {
    const fs = leftByBroker(COMMITS, [12])
    await (await open(fs)).close()
    const all = leftByBroker(COMMITS)
    for (const partition of range(COUNT)) {
      if (partition !== 12) fs.writeFile(logOf(partition), all.readFile(logOf(partition)))
    }
    const broker = await open(fs)
    expect(broker.recovery.damaged).toEqual([])
    expect([await nextOffset(broker, THERE), await nextOffset(broker, AWAY)]).toEqual([4, 7])
    await broker.close()
    const again = await open(fs)
    expect(again.recovery.cleanShutdown).toBe(true)
    expect([await nextOffset(again, THERE), await nextOffset(again, AWAY)]).toEqual([4, 7])
    await again.close()
  })

  it.each(['before', 'after'])(
    'let a group start anew if an empty directory is created for its partition %s the takeover',
    async (when) => {
      const fs = leftByBroker(COMMITS, [12])
      const point = Buffer.from('0\n2\n__consumer_offsets 3 9\n__consumer_offsets 12 1\n')
      fs.writeFile('/data/recovery-point-offset-checkpoint', point)
      if (when === 'after') {
        const broker = await open(fs)
        await ensureRefused(broker, AWAY)
        await broker.createTopic('new')
        await broker.close()
      }
      await fs.createDirectory(LEFT)
      const broker = await open(fs)
      const consumer = reader(broker, AWAY)
      expect(await consumer.committed(ORDERS)).toBeNull()
      await consumer.commit([{ ...ORDERS, offset: 2 }])
      await broker.close()
      const again = await open(fs)
      expect(committedIn(again).sort()).toEqual(
        [`${AWAY} orders-0 2`, `${THERE} orders-0 4`].sort(),
      )
      await again.close()
    },
  )

  it('are the same wherever a crash interrupts the takeover of the directory', async () => {
    const start = leftByBroker(COMMITS, [12])
    const point = Buffer.from('0\n2\n__consumer_offsets 3 9\n__consumer_offsets 12 1\n')
    start.writeFile('/data/recovery-point-offset-checkpoint', point)
    for (let at = 1; ; at += 7) {
      const fs = start.fork({ seed: at })
      fs.crashAt(at, { when: at % 2 === 0 ? 'before' : 'torn' })
      await open(fs).catch(() => undefined)
      if (!fs.crashed) {
        expect(at).toBeGreaterThan(20)
        return
      }
      const broker = await open(fs.restart(at % 4 === 0 ? 'process' : 'power', { seed: at }))
      expect(committedIn(broker), `operation ${at}`).toEqual([`${THERE} orders-0 4`])
      expect(broker.recovery.damaged).toHaveLength(COUNT - 1)
      await ensureRefused(broker, AWAY)
      await broker.createTopic('new')
      await broker.close()
    }
  })

  it('prevent the deletion of records that a group on another broker may not have consumed', async () => {
    const fs = leftByBroker(COMMITS, [12])
    const broker = await open(fs)
    const topic = broker.topic('orders')
    await topic.alter({ retention: 'consumed', segmentBytes: 100 })
    await topic.partition(0).append({ value: 'v' })
    await reader(broker, THERE).commit([{ ...ORDERS, offset: 11 }])
    await topic.enforceRetention()
    expect(topic.partition(0).logStartOffset).toBe(0)
    await broker.close()
  })
})

describe('the offsets topic of a directory taken over from Kafka brokers', () => {
  it.each([
    ['50, as the groups in the first three tell', 50, range(3), 50],
    ['50 where the last one was copied alone', 50, [49], 50],
    ['as many as there are, where groups tell that it has not 50', 10, range(10), 10],
    ['as many as there are, if only one', 1, [0], 1],
    ['as many as there are, of more than 50', 60, range(60), 60],
  ])('has this number of partitions: %s', async (_, count, partitions, expected) => {
    const groups = [2, 3, 5, 7, 11, 13].map((each) => `group-${each}`)
    const commits = groups.map((groupId) => ({ groupId, ...ORDERS, offset: 1 }))
    const fs = leftByBroker(commits, partitions, count)
    const broker = await open(fs)
    expect(broker.topic('__consumer_offsets').partitions).toHaveLength(expected)
    const isThere = (groupId: string): boolean =>
      partitions.includes(partitionForGroup(groupId, count))
    expect(committedIn(broker)).toEqual(
      groups
        .filter(isThere)
        .sort()
        .map((groupId) => `${groupId} orders-0 1`),
    )
    await broker.close()
  })

  it('has one partition if there is only one, which holds no commits', async () => {
    const broker = await open(leftByBroker([], [0], 1))
    expect(broker.topic('__consumer_offsets').partitions).toHaveLength(1)
    await reader(broker, THERE).commit([{ ...ORDERS, offset: 1 }])
    await broker.close()
  })

  it('stores a commit in the partition where Kafka looks for it, so later opens find the newest', async () => {
    const groupId = groupWith({ [COUNT]: 2, 3: 0 })
    const fs = leftByBroker([{ groupId, ...ORDERS, offset: 4 }], range(3))
    const broker = await open(fs)
    await reader(broker, groupId).commit([{ ...ORDERS, offset: 8 }])
    await broker.close()
    const again = await open(fs)
    expect(await nextOffset(again, groupId)).toBe(8)
    await again.deleteGroup(groupId)
    await again.close()
    const last = await open(fs)
    expect(committedIn(last)).toEqual([])
    await last.close()
  })

  it.each([
    ['of more than 50', 100, range(60).filter((partition) => partition !== 1)],
    ['of more than 50, behind those that are there', 100, range(60)],
    ['of fewer than 50, behind those that are there', 25, range(10)],
    ['and the groups in the others tell that there are not 50', 60, range(49).slice(1)],
  ])('is not taken over while some partitions are missing, %s', async (_, count, some) => {
    const groups = range(10).map((each) => `group-${each * 7919}`)
    const commits = groups.map((groupId) => ({ groupId, ...ORDERS, offset: 1 }))
    const fs = leftByBroker(commits, some, count)
    const opening = open(fs)
    await expect(opening).rejects.toThrow(CorruptRecordError)
    await expect(opening).rejects.toThrow('Copy all of them, or none')
    expect(fs.snapshot().has('/data/varve-topics')).toBe(false)
    const all = leftByBroker(commits, range(count), count)
    for (const each of range(count)) fs.writeFile(logOf(each), all.readFile(logOf(each)))
    const broker = await open(fs)
    expect(committedIn(broker)).toEqual(groups.sort().map((groupId) => `${groupId} orders-0 1`))
    await broker.close()
  })

  it.each([
    [
      'rotten',
      (fs: SimulatedFileSystem) => {
        fs.flipBit(logOf(0), 80, 1)
        const point = Buffer.from('0\n1\n__consumer_offsets 0 1\n')
        fs.writeFile('/data/recovery-point-offset-checkpoint', point)
      },
    ],
    [
      'not readable',
      (fs: SimulatedFileSystem) => {
        fs.failNext('open', 'EACCES', { path: logOf(0), persistent: true })
      },
    ],
  ])(
    'has 50 partitions even if the first is %s, serves the groups of the others, and rejects topic changes',
    async (_, rot) => {
      const first = groupWith({ [COUNT]: 0 })
      const commits = [first, THERE].map((groupId) => ({ groupId, ...ORDERS, offset: 4 }))
      const fs = leftByBroker(commits, range(13))
      rot(fs)
      const broker = await open(fs)
      expect(await nextOffset(broker, THERE)).toBe(4)
      const error = broker.recovery.damaged.find(({ partition }) => partition === 0)?.error
      expect(error?.reason).not.toContain('missing')
      await expect(reader(broker, first).poll({ maxWaitMs: 0 })).rejects.toBe(error)
      await expect(broker.createTopic('new')).rejects.toBe(error)
      await expect(broker.deleteTopic('orders')).rejects.toBe(error)
      await expect(broker.topic('orders').addPartitions(2)).rejects.toBe(error)
      expect(broker.recovery.damaged).toHaveLength(1 + COUNT - 13)
      await broker.close()
    },
  )
})
