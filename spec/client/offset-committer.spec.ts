import { beforeEach, expect, it } from 'vitest'
import type { Partition } from '../../lib/broker/partition.ts'
import type { OffsetCommit } from '../../lib/broker/offset-and-metadata.ts'
import type { AssignedPartition } from '../../lib/client/assigned-partition.ts'
import { OffsetCommitter } from '../../lib/client/offset-committer.ts'
import type { PositionResolver } from '../../lib/client/position-resolver.ts'
import { SubscriptionState } from '../../lib/client/subscription-state.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'

const PARTITIONS = Array.from({ length: 100 }, (_, partition) => ({ topic: 't', partition }))
const OPTIONS = { enableAutoCommit: true, autoCommitIntervalMs: 1000 }

let subscription: SubscriptionState
let committer: OffsetCommitter
/** How many partitions were queried. */
let askedCount = 0

beforeEach(() => {
  const committed: Map<string, number> = new Map()
  subscription = new SubscriptionState(() => undefined)
  subscription.assign(PARTITIONS)
  const source = { logEndOffset: 10 } as unknown as Partition
  for (const state of subscription.assigned.values()) {
    state.resume(0, null)
    state.source = source
  }
  const positions: Pick<PositionResolver, 'source' | 'isCommitted' | 'noteCommitting'> = {
    source: (state: AssignedPartition) => {
      askedCount += 1
      return state.source
    },
    isCommitted: ({ key }: AssignedPartition, offset) => (committed.get(key) ?? 0) === offset,
    noteCommitting: () => () => undefined,
  }
  const target = {
    commit: (offsets: readonly OffsetCommit[]) => {
      for (const each of offsets) committed.set(`${each.topic}-${each.partition}`, each.offset)
      return Promise.resolve()
    },
  }
  const parts = { subscription, positions: positions as PositionResolver }
  committer = new OffsetCommitter(new ManualClock(), OPTIONS, parts, [], target)
  askedCount = 0
})

function handOut(partition: number, position: number): void {
  subscription.find({ topic: 't', partition }).moveTo(position, 0)
}

it('a wait first checks the partition that last had something to commit', () => {
  handOut(70, 1)
  expect(committer.msUntilDue()).toBe(1000)
  expect(askedCount).toBe(71)
  handOut(30, 1)
  expect(committer.msUntilDue()).toBe(1000)
  expect(askedCount).toBe(72)
})

it('a wait finds new offsets of other partitions once that one is committed', async () => {
  handOut(70, 1)
  expect(committer.msUntilDue()).toBe(1000)
  await committer.commitConsumed()
  expect(committer.msUntilDue()).toBe(Infinity)
  handOut(99, 1)
  expect(committer.msUntilDue()).toBe(1000)
  await committer.commitConsumed()
  handOut(0, 1)
  expect(committer.msUntilDue()).toBe(1000)
})

it('a partition that was given up has nothing to commit any more', () => {
  handOut(70, 1)
  expect(committer.msUntilDue()).toBe(1000)
  subscription.setAssigned(PARTITIONS.slice(0, 70))
  expect(committer.msUntilDue()).toBe(Infinity)
  handOut(5, 1)
  expect(committer.msUntilDue()).toBe(1000)
})
