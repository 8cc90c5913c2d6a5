import { describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
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

/** A directory as brokers leave it: `orders` with ten records, and these partitions of the offsets. */
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

describe('what groups have committed for topics that were left on the broker', () => {
  const COMMITS = [
    { groupId: 'billing', ...ORDERS, offset: 4 },
    { groupId: 'billing', ...PAYMENTS, offset: 70 },
  ]
  const LOG = logOf(partitionForGroup('billing', COUNT))
  const ALL = ['billing orders-0 4', 'billing payments-0 70']

  it('stays, for whoever takes the directory back', async () => {
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

  it('stays wherever the process dies as it takes the directory over', async () => {
    const start = leftByBroker(COMMITS, [0], 1)
    for (let at = 1; ; at += 1) {
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

  it('is forgotten once a topic of that name comes into being, which has no past', async () => {
    const fs = leftByBroker(COMMITS)
    const broker = await open(fs)
    await broker.createTopic('payments')
    await broker.close()
    const again = await open(fs)
    expect(committedIn(again)).toEqual(['billing orders-0 4'])
    await again.close()
  })
})
