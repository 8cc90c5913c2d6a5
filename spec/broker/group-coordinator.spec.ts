import { describe, expect, it } from 'vitest'
import type { PartitionAssignmentStrategy } from '../../lib/broker/assignors/assignor.ts'
import { checkGroupId } from '../../lib/broker/group-coordinator.ts'
import {
  ClosedError,
  CommitFailedError,
  InconsistentGroupProtocolError,
  InvalidGroupIdError,
  StorageError,
  GroupIdNotFoundError,
} from '../../lib/errors.ts'
import { GroupHarness, MAX_POLL_INTERVAL_MS } from './group-consumer.ts'

const STRATEGIES: readonly PartitionAssignmentStrategy[] = [
  'range',
  'roundrobin',
  'sticky',
  'cooperative-sticky',
]
const OFFSET = { topic: 't', partition: 0, offset: 5 }

describe('a single member', () => {
  it('belongs to no group before it joins', () => {
    const { coordinator } = new GroupHarness()
    const { membership } = new GroupHarness().consumer()
    expect(membership).toMatchObject({ state: 'unjoined', generation: -1, assignment: [] })
    expect(coordinator.describe()).toEqual([])
  })

  it.each(STRATEGIES)('is assigned all partitions at once with %s', (strategy) => {
    const { membership } = new GroupHarness({ t: 2 }).consumer(strategy)
    membership.join(['t'], [])
    expect(membership.state).toBe('stable')
    expect(membership.generation).toBe(1)
    expect(membership.assignment).toEqual([
      { topic: 't', partition: 0 },
      { topic: 't', partition: 1 },
    ])
  })

  it('is notified of its assignment once, after join has returned', async () => {
    const consumer = new GroupHarness().consumer()
    consumer.membership.join(['t'], [])
    expect(consumer.changeCount).toBe(0)
    await Promise.resolve()
    expect(consumer.changeCount).toBe(1)
  })

  it('may join and leave from within onChange', async () => {
    const { coordinator } = new GroupHarness()
    let rounds = 0
    const member = coordinator.createMember('g', {
      strategy: 'range',
      maxPollIntervalMs: 1,
      onChange: () => {
        rounds += 1
        if (rounds < 5) member.join(['t'], [])
        else member.leave()
      },
    })
    member.join(['t'], [])
    await new Promise(setImmediate)
    expect([rounds, member.state]).toEqual([5, 'unjoined'])
  })

  it('is not notified of changes of a group that it has left', async () => {
    const consumer = new GroupHarness().consumer()
    consumer.membership.join(['t'], [])
    consumer.membership.leave()
    await Promise.resolve()
    expect(consumer.changeCount).toBe(0)
  })

  it('gets a new id when it joins again after leaving', () => {
    const { membership } = new GroupHarness().consumer()
    const id = membership.memberId
    membership.join(['t'], [])
    expect(membership.memberId).toBe(id)
    membership.leave()
    expect(membership).toMatchObject({ state: 'unjoined', generation: -1, assignment: [] })
    membership.join(['t'], [])
    expect(membership.memberId).not.toBe(id)
    expect(membership.assignment).toHaveLength(4)
  })

  it('has an id that contains its group id', () => {
    const { membership } = new GroupHarness().consumer('range', ['t'], 'billing')
    expect(membership.memberId).toMatch(
      /^consumer-billing-1-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/,
    )
  })

  it('is assigned other partitions when it joins with other topics', () => {
    const harness = new GroupHarness({ t: 1, u: 2 })
    const consumer = harness.consumer()
    harness.settle()
    consumer.subscribe(['u'])
    harness.settle()
    expect(consumer.keys).toEqual(['u-0', 'u-1'])
  })
})

describe('several members', () => {
  it('wait for each other, and get no new assignment before all have joined', () => {
    const harness = new GroupHarness()
    const first = harness.consumer()
    first.poll()
    first.poll()
    const second = harness.consumer()
    second.poll()
    expect([first.membership.state, second.membership.state]).toEqual(['rejoin-needed', 'joining'])
    expect(second.membership).toMatchObject({ generation: -1, assignment: [] })
    expect(harness.coordinator.describe()[0]?.state).toBe('PreparingRebalance')
    first.poll()
    expect([first.membership.state, second.membership.state]).toEqual(['stable', 'stable'])
    expect([first.membership.generation, second.membership.generation]).toEqual([2, 2])
    harness.settle()
    expect([first.keys, second.keys]).toEqual([
      ['t-0', 't-1'],
      ['t-2', 't-3'],
    ])
  })

  it.each(STRATEGIES)('share all partitions with %s', (strategy) => {
    const harness = new GroupHarness({ t: 6, u: 3 })
    const consumers = [1, 2, 3].map(() => harness.consumer(strategy, ['t', 'u']))
    harness.settle()
    expect([...harness.owners().keys()].sort()).toEqual(harness.wanted().sort())
    for (const { keys } of consumers) expect(keys).toHaveLength(3)
  })

  it('may subscribe to different topics', () => {
    const harness = new GroupHarness({ t: 2, u: 2 })
    const first = harness.consumer('range', ['t'])
    const second = harness.consumer('range', ['u', 'missing'])
    harness.settle()
    expect([first.keys, second.keys]).toEqual([
      ['t-0', 't-1'],
      ['u-0', 'u-1'],
    ])
  })

  it('do not affect each other in different groups', () => {
    const harness = new GroupHarness()
    const first = harness.consumer('range', ['t'], 'a')
    first.poll()
    harness.consumer('sticky', ['t'], 'b').poll()
    expect(first.membership).toMatchObject({ state: 'stable', generation: 1 })
  })

  it('take over the partitions of a member that leaves', () => {
    const harness = new GroupHarness()
    const first = harness.consumer()
    const second = harness.consumer()
    harness.settle()
    second.close()
    expect(first.membership.state).toBe('rejoin-needed')
    harness.settle()
    expect(first.keys).toHaveLength(4)
  })

  it('get their assignment when the member that they wait for leaves', () => {
    const harness = new GroupHarness()
    const slow = harness.consumer()
    harness.settle()
    const waiting = [harness.consumer(), harness.consumer()]
    for (const consumer of waiting) consumer.poll()
    expect(waiting.map(({ membership }) => membership.state)).toEqual(['joining', 'joining'])
    slow.close()
    expect(waiting.map(({ membership }) => membership.state)).toEqual(['stable', 'stable'])
    harness.settle()
    expect(waiting.map(({ keys }) => keys.length)).toEqual([2, 2])
  })

  it('include a member that joins during a rebalance', () => {
    const harness = new GroupHarness()
    const first = harness.consumer()
    harness.settle()
    const second = harness.consumer()
    second.poll()
    const third = harness.consumer()
    third.poll()
    expect(harness.coordinator.describe()[0]?.generation).toBe(1)
    first.poll()
    const memberships = [first, second, third].map(({ membership }) => membership)
    expect(memberships.map(({ state, generation }) => [state, generation])).toEqual([
      ['stable', 2],
      ['stable', 2],
      ['stable', 2],
    ])
  })

  it('may join again with other topics while they wait', () => {
    const harness = new GroupHarness({ t: 2, u: 1 })
    const first = harness.consumer()
    harness.settle()
    const { membership } = harness.consumer()
    membership.join(['t'], [])
    membership.join(['u'], [])
    expect(membership.state).toBe('joining')
    harness.settle()
    expect(first.keys).toEqual(['t-0', 't-1'])
    expect(membership.assignment).toEqual([{ topic: 'u', partition: 0 }])
  })

  it('keep their partitions with sticky if the balance allows', () => {
    const harness = new GroupHarness({ t: 6 })
    const consumers = [1, 2, 3].map(() => harness.consumer('sticky'))
    harness.settle()
    const before = consumers.map(({ keys }) => keys)
    consumers[0]?.close()
    harness.settle()
    for (const slot of [1, 2]) {
      expect(consumers[slot]?.keys).toEqual(expect.arrayContaining(before[slot] ?? []))
    }
  })

  it('must use the same strategy', () => {
    const harness = new GroupHarness()
    const early = harness.consumer('sticky')
    const first = harness.consumer('range')
    first.poll()
    expect(() => harness.consumer('roundrobin')).toThrow(InconsistentGroupProtocolError)
    expect(() => {
      early.membership.join(['t'], [])
    }).toThrow(InconsistentGroupProtocolError)
    expect(early.membership.state).toBe('unjoined')
    expect(first.membership).toMatchObject({ state: 'stable', generation: 1 })
    first.close()
    early.poll()
    expect(early.membership.state).toBe('stable')
  })
})

describe('cooperative-sticky', () => {
  it('revokes partitions from their owner first, and assigns them in a second rebalance', () => {
    const harness = new GroupHarness()
    const first = harness.consumer('cooperative-sticky')
    harness.settle()
    const second = harness.consumer('cooperative-sticky')
    second.poll()
    first.poll()
    expect(first.keys).toHaveLength(4)
    expect(first.membership).toMatchObject({ state: 'stable', generation: 2 })
    expect(first.membership.assignment).toHaveLength(2)
    expect(second.membership).toMatchObject({ state: 'stable', generation: 2, assignment: [] })
    first.poll()
    expect(first.membership.state).toBe('joining')
    expect(second.membership.state).toBe('rejoin-needed')
    expect(first.keys).toHaveLength(2)
    second.poll()
    harness.settle()
    expect(second.membership).toMatchObject({ state: 'stable', generation: 3 })
    expect([first.keys.length, second.keys.length]).toEqual([2, 2])
  })

  it('assigns nothing that its owner has not given up, even if rebalances overlap', () => {
    const harness = new GroupHarness()
    const first = harness.consumer('cooperative-sticky')
    first.isHasty = true
    harness.settle()
    const second = harness.consumer('cooperative-sticky')
    second.poll()
    first.poll()
    // A third member joins before the first sees that it has to give up two partitions.
    const third = harness.consumer('cooperative-sticky')
    third.poll()
    second.poll()
    first.poll()
    expect(first.membership).toMatchObject({ state: 'stable', generation: 3 })
    expect(first.keys).toHaveLength(4)
    expect([second.membership.assignment, third.membership.assignment]).toEqual([[], []])
    harness.settle()
    expect(harness.owners().size).toBe(4)
    expect(first.keys.length).toBeLessThan(3)
  })

  it('ignores the claim of a member to partitions that it never had', () => {
    const harness = new GroupHarness()
    const first = harness.consumer('cooperative-sticky')
    harness.settle()
    const liar = harness.consumer('cooperative-sticky').membership
    const honest = harness.consumer('cooperative-sticky').membership
    liar.join(['t'], first.membership.assignment)
    honest.join(['t'], [])
    first.close()
    expect([liar.assignment.length, honest.assignment.length]).toEqual([2, 2])
  })

  it('ignores the claim of a member to partitions that it has lost', async () => {
    const harness = new GroupHarness()
    const idle = harness.consumer('cooperative-sticky')
    const busy = harness.consumer('cooperative-sticky')
    harness.settle()
    const stale = idle.membership.assignment
    busy.membership.pausePollTimer()
    await harness.clock.advance(MAX_POLL_INTERVAL_MS)
    const third = harness.consumer('cooperative-sticky').membership
    third.join(['t'], [])
    idle.membership.join(['t'], stale)
    busy.poll()
    expect([idle.membership.assignment.length, third.assignment.length]).toEqual([1, 1])
  })
})

describe('a member that does not poll', () => {
  it('is lost after maxPollIntervalMs, and another member takes over its partitions', async () => {
    const harness = new GroupHarness()
    const idle = harness.consumer()
    const busy = harness.consumer()
    harness.settle()
    const { memberId } = idle.membership
    await harness.clock.advance(MAX_POLL_INTERVAL_MS - 1)
    expect(idle.membership.state).toBe('stable')
    busy.poll()
    const { changeCount } = idle
    await harness.clock.advance(1)
    expect(idle.membership).toMatchObject({
      state: 'lost',
      generation: -1,
      assignment: [],
      memberId,
    })
    expect(idle.changeCount).toBe(changeCount + 1)
    busy.poll()
    busy.poll()
    expect(busy.keys).toHaveLength(4)
  })

  it('joins again with a new id when it polls again', async () => {
    const harness = new GroupHarness()
    const [idle, busy] = [harness.consumer(), harness.consumer()]
    harness.settle()
    const { memberId } = idle.membership
    busy.membership.pausePollTimer()
    await harness.clock.advance(MAX_POLL_INTERVAL_MS)
    expect(harness.coordinator.describe()[0]?.members).toHaveLength(1)
    harness.settle()
    expect(idle.membership).toMatchObject({ state: 'stable' })
    expect(idle.membership.memberId).not.toBe(memberId)
    expect([idle.keys.length, busy.keys.length]).toEqual([2, 2])
  })

  it('stays in the group as long as nobody else could have its partitions', async () => {
    const harness = new GroupHarness()
    const idle = harness.consumer()
    harness.settle()
    const { memberId } = idle.membership
    await harness.clock.advance(MAX_POLL_INTERVAL_MS * 10)
    await idle.membership.commit([OFFSET])
    expect(harness.coordinator.committed('g', OFFSET)).toMatchObject({ offset: OFFSET.offset })
    idle.poll()
    expect(idle.membership).toMatchObject({ state: 'stable', generation: 1, memberId })
    expect(idle.keys).toHaveLength(4)
  })

  it('is removed when another member joins, which does not wait for it', async () => {
    const harness = new GroupHarness()
    const idle = harness.consumer('sticky')
    harness.settle()
    await harness.clock.advance(MAX_POLL_INTERVAL_MS)
    const next = harness.consumer('range')
    next.poll()
    expect(idle.membership).toMatchObject({ state: 'lost', assignment: [] })
    expect(next.membership).toMatchObject({ state: 'stable', generation: 2 })
    expect(next.membership.assignment).toHaveLength(4)
  })

  it('stays beside members of other topics until a rebalance would wait for it', async () => {
    const harness = new GroupHarness({ t: 4, u: 4 })
    const idle = harness.consumer('range', ['t'])
    const other = harness.consumer('range', ['u'])
    harness.settle()
    other.membership.pausePollTimer()
    await harness.clock.advance(MAX_POLL_INTERVAL_MS)
    expect(idle.membership).toMatchObject({ state: 'stable' })
    expect(idle.membership.assignment).toHaveLength(4)
    const third = harness.consumer('range', ['u'])
    third.poll()
    other.poll()
    expect(idle.membership.state).toBe('lost')
    expect([other.membership.assignment.length, third.membership.assignment.length]).toEqual([2, 2])
  })

  it('is treated like any other member once it polls again', async () => {
    const harness = new GroupHarness()
    const idle = harness.consumer()
    harness.settle()
    await harness.clock.advance(MAX_POLL_INTERVAL_MS)
    idle.poll()
    const next = harness.consumer()
    next.poll()
    expect(idle.membership.state).toBe('rejoin-needed')
    expect(next.membership.state).toBe('joining')
    await harness.clock.advance(MAX_POLL_INTERVAL_MS)
    expect([idle.membership.state, next.membership.state]).toContain('lost')
  })

  it('is removed by a deletion of the group or a commit from outside, which both succeed', async () => {
    for (const act of [
      (harness: GroupHarness) => harness.coordinator.commit('g', [OFFSET]),
      (harness: GroupHarness) => harness.coordinator.deleteGroup('g'),
    ]) {
      const harness = new GroupHarness()
      const { membership } = harness.consumer()
      membership.join(['t'], [])
      await membership.commit([OFFSET])
      await expect(act(harness)).rejects.toThrow('members')
      await harness.clock.advance(MAX_POLL_INTERVAL_MS)
      await act(harness)
      expect(membership.state).toBe('lost')
    }
  })

  it('is not removed by a call that is refused or does nothing', async () => {
    const harness = new GroupHarness()
    const { membership } = harness.consumer()
    membership.join(['t'], [])
    await harness.clock.advance(MAX_POLL_INTERVAL_MS)
    const beyond = { ...OFFSET, metadata: 'x'.repeat(5000) }
    await expect(harness.coordinator.commit('g', [beyond])).rejects.toThrow('metadata')
    await harness.coordinator.commit('g', [])
    await expect(harness.coordinator.deleteGroup('g')).rejects.toThrow(GroupIdNotFoundError)
    await membership.commit([OFFSET])
    expect(membership.state).toBe('stable')
  })

  it('does not delay a rebalance beyond maxPollIntervalMs', async () => {
    const harness = new GroupHarness()
    harness.consumer().poll()
    await harness.clock.advance(MAX_POLL_INTERVAL_MS / 2)
    const waiting = harness.consumer()
    waiting.poll()
    expect(waiting.membership.state).toBe('joining')
    await harness.clock.advance(MAX_POLL_INTERVAL_MS / 2)
    expect(waiting.membership.state).toBe('stable')
    expect(waiting.membership.assignment).toHaveLength(4)
  })

  it('is not lost while a poll is in progress, however long it takes', async () => {
    const harness = new GroupHarness()
    const { membership } = harness.consumer()
    membership.pausePollTimer()
    membership.join(['t'], [])
    await harness.clock.advance(MAX_POLL_INTERVAL_MS * 10)
    expect(membership.state).toBe('stable')
    expect(harness.clock.pendingTimers).toBe(0)
    membership.polled()
    await harness.clock.advance(MAX_POLL_INTERVAL_MS)
    harness.consumer().poll()
    expect(membership.state).toBe('lost')
  })

  it('is lost even if it has joined and never polled', async () => {
    const harness = new GroupHarness()
    const { membership } = harness.consumer()
    membership.join(['t'], [])
    await harness.clock.advance(MAX_POLL_INTERVAL_MS)
    harness.consumer().poll()
    expect(membership.state).toBe('lost')
  })

  it('gets the whole interval again with each poll', async () => {
    const harness = new GroupHarness()
    const consumer = harness.consumer()
    for (let round = 0; round < 5; round++) {
      consumer.poll()
      await harness.clock.advance(MAX_POLL_INTERVAL_MS - 1)
    }
    expect(consumer.membership.state).toBe('stable')
  })

  it('leaves no timer after it has left', () => {
    const harness = new GroupHarness()
    const consumer = harness.consumer()
    consumer.poll()
    expect(harness.clock.pendingTimers).toBe(1)
    consumer.close()
    consumer.membership.polled()
    expect(harness.clock.pendingTimers).toBe(0)
  })
})

describe('a topic change', () => {
  it.each(STRATEGIES)('assigns the partitions of a new topic with %s', (strategy) => {
    const harness = new GroupHarness({})
    const consumers = [harness.consumer(strategy), harness.consumer(strategy)]
    harness.settle()
    expect(consumers.map(({ keys }) => keys)).toEqual([[], []])
    harness.changeTopic('t', 2)
    harness.settle()
    expect(consumers.map(({ keys }) => keys.length)).toEqual([1, 1])
  })

  it('starts a rebalance if partitions are added or the topic is deleted', () => {
    const harness = new GroupHarness({ t: 1, u: 1 })
    const consumer = harness.consumer('range', ['t', 'u'])
    harness.settle()
    harness.changeTopic('t', 3)
    expect(consumer.membership.state).toBe('rejoin-needed')
    harness.settle()
    expect(consumer.keys).toEqual(['t-0', 't-1', 't-2', 'u-0'])
    harness.changeTopic('t', 0)
    harness.settle()
    expect(consumer.keys).toEqual(['u-0'])
  })

  it('notifies members without a rebalance if none of them subscribes to the topic', async () => {
    const harness = new GroupHarness()
    const consumer = harness.consumer()
    harness.settle()
    await Promise.resolve()
    const { changeCount } = consumer
    harness.changeTopic('other', 1)
    await Promise.resolve()
    expect(consumer.membership).toMatchObject({ state: 'stable', generation: 1 })
    expect(consumer.changeCount).toBe(changeCount + 1)
  })

  it('takes effect at the end of the rebalance that is in progress', () => {
    const harness = new GroupHarness({ t: 2 })
    const first = harness.consumer()
    harness.settle()
    const second = harness.consumer()
    second.poll()
    harness.changeTopic('t', 4)
    first.poll()
    expect(second.membership.assignment).toHaveLength(2)
    harness.coordinator.topicsChanged()
    expect(first.membership).toMatchObject({ state: 'stable', generation: 2 })
  })

  it('removes the committed offsets of a deleted topic from all groups', async () => {
    const { coordinator } = new GroupHarness()
    await coordinator.commit('a', [OFFSET])
    await coordinator.commit('b', [OFFSET, { topic: 'u', partition: 0, offset: 1 }])
    await coordinator.forgetTopic('t')
    expect(coordinator.committed('a', OFFSET)).toBeNull()
    expect(coordinator.describe().map(({ groupId }) => groupId)).toEqual(['b'])
  })
})

describe('commit', () => {
  it('stores the offset of a member for its group, and for no other group', async () => {
    const harness = new GroupHarness()
    const consumer = harness.consumer()
    harness.settle()
    await consumer.membership.commit([{ ...OFFSET, metadata: 'm', leaderEpoch: 1 }])
    expect(harness.coordinator.committed('g', OFFSET)).toEqual({
      offset: 5,
      metadata: 'm',
      leaderEpoch: 1,
    })
    expect(harness.coordinator.committed('other', OFFSET)).toBeNull()
  })

  it('is accepted while a rebalance waits for the member, and while the member waits for others', async () => {
    const harness = new GroupHarness()
    const first = harness.consumer()
    harness.settle()
    harness.consumer().poll()
    harness.consumer().poll()
    await first.membership.commit([OFFSET])
    harness.consumer().poll()
    expect(harness.coordinator.committed('g', OFFSET)?.offset).toBe(5)
    const second = harness.consumers[1]
    first.poll()
    harness.settle()
    harness.consumer().poll()
    second?.poll()
    expect(second?.membership.state).toBe('joining')
    await second?.membership.commit([{ ...OFFSET, offset: 6 }])
    expect(harness.coordinator.committed('g', OFFSET)?.offset).toBe(6)
  })

  it('is rejected before the first assignment', async () => {
    const harness = new GroupHarness()
    const first = harness.consumer()
    await expect(first.membership.commit([OFFSET])).rejects.toThrow(CommitFailedError)
    first.poll()
    const second = harness.consumer()
    second.poll()
    await expect(second.membership.commit([OFFSET])).rejects.toThrow(CommitFailedError)
    expect(harness.coordinator.committed('g', OFFSET)).toBeNull()
  })

  it('is rejected once the member is lost or has left', async () => {
    const harness = new GroupHarness()
    const { membership } = harness.consumer()
    membership.join(['t'], [])
    await harness.clock.advance(MAX_POLL_INTERVAL_MS)
    harness.consumer().poll()
    await expect(membership.commit([OFFSET])).rejects.toThrow(
      'did not poll within maxPollIntervalMs (1000 ms)',
    )
    membership.leave()
    await expect(membership.commit([OFFSET])).rejects.toThrow(CommitFailedError)
    expect(harness.coordinator.committed('g', OFFSET)).toBeNull()
  })

  it('is rejected without a member while the group has members', async () => {
    const harness = new GroupHarness()
    const consumer = harness.consumer()
    harness.settle()
    await expect(harness.coordinator.commit('g', [OFFSET])).rejects.toThrow(CommitFailedError)
    consumer.close()
    await harness.coordinator.commit('g', [OFFSET])
    expect(harness.coordinator.committed('g', OFFSET)?.offset).toBe(5)
  })

  it('rejects with the error of the store, and for a negative offset', async () => {
    const harness = new GroupHarness()
    const consumer = harness.consumer()
    harness.settle()
    const error = new StorageError('no space', { path: 'x', outcome: 'not-written' })
    harness.offsetsPartition.appendError = error
    await expect(consumer.membership.commit([OFFSET])).rejects.toBe(error)
    await expect(consumer.membership.commit([{ ...OFFSET, offset: -1 }])).rejects.toThrow(
      RangeError,
    )
  })
})

describe('describe', () => {
  it('returns the members, assignments and offsets of every group, sorted', async () => {
    const harness = new GroupHarness({ t: 1 })
    const consumer = harness.consumer('roundrobin', ['t'], 'b')
    harness.settle()
    await consumer.membership.commit([OFFSET])
    await harness.coordinator.commit('a', [OFFSET])
    const offsets = [{ ...OFFSET, metadata: '', leaderEpoch: null }]
    const assignment = [{ topic: 't', partition: 0 }]
    const members = [{ memberId: consumer.membership.memberId, assignment }]
    expect(harness.coordinator.describe()).toEqual([
      { groupId: 'a', state: 'Empty', generation: 0, strategy: null, members: [], offsets },
      { groupId: 'b', state: 'Stable', generation: 1, strategy: 'roundrobin', members, offsets },
    ])
  })

  it('returns frozen assignments', () => {
    const harness = new GroupHarness({ t: 1 })
    harness.consumer('range', ['t'], 'g')
    harness.settle()
    const assignment = harness.coordinator.describe()[0]?.members[0]?.assignment ?? []
    expect([assignment.length, ...[assignment, ...assignment].map(Object.isFrozen)]).toEqual([
      1,
      true,
      true,
    ])
  })

  it('omits a group without members and offsets', () => {
    const harness = new GroupHarness()
    const consumer = harness.consumer()
    harness.settle()
    consumer.close()
    expect(harness.coordinator.describe()).toEqual([])
  })
})

describe('close', () => {
  it('marks all members as lost, notifies them, and leaves no timer', async () => {
    const harness = new GroupHarness()
    const consumers = [harness.consumer(), harness.consumer()]
    harness.settle()
    await Promise.resolve()
    const counts = consumers.map(({ changeCount }) => changeCount + 1)
    harness.coordinator.close()
    await Promise.resolve()
    expect(consumers.map(({ membership }) => membership.state)).toEqual(['lost', 'lost'])
    expect(consumers.map(({ changeCount }) => changeCount)).toEqual(counts)
    expect(harness.clock.pendingTimers).toBe(0)
    harness.coordinator.close()
  })

  it('makes later calls except leave fail with ClosedError', async () => {
    const harness = new GroupHarness()
    const { membership } = harness.consumer()
    harness.coordinator.close()
    expect(() => harness.consumer()).toThrow(ClosedError)
    expect(() => {
      membership.join(['t'], [])
    }).toThrow(ClosedError)
    await expect(membership.commit([OFFSET])).rejects.toThrow(ClosedError)
    await expect(harness.coordinator.commit('g', [OFFSET])).rejects.toThrow(ClosedError)
    membership.leave()
    expect(membership.state).toBe('unjoined')
  })
})

describe('argument validation', () => {
  it.each([
    ['empty', ''],
    ['no text', 7],
    ['null', null],
    ['too long', 'g'.repeat(32_768)],
    ['half a surrogate pair', 'g\ud800'],
  ])('rejects a group id that is %s', async (_, groupId) => {
    const { coordinator } = new GroupHarness()
    const options = { strategy: 'range', maxPollIntervalMs: 1, onChange: () => undefined } as const
    expect(() => checkGroupId(groupId)).toThrow(InvalidGroupIdError)
    expect(() => coordinator.createMember(groupId as string, options)).toThrow(InvalidGroupIdError)
    await expect(coordinator.commit(groupId as string, [])).rejects.toThrow(InvalidGroupIdError)
  })

  it.each(['__proto__', 'constructor', 'a/b', ' ', 'grüße-🚀', 'g'.repeat(32_767)])(
    'accepts the group id %j',
    async (groupId) => {
      const harness = new GroupHarness()
      const consumer = harness.consumer('range', ['t'], groupId)
      harness.settle()
      await consumer.membership.commit([OFFSET])
      expect(harness.coordinator.describe()).toHaveLength(1)
      expect(harness.coordinator.committed(groupId, OFFSET)?.offset).toBe(5)
    },
  )

  it.each([
    ['strategy', { strategy: 'constructor' as PartitionAssignmentStrategy }],
    ['maxPollIntervalMs', { maxPollIntervalMs: 0 }],
  ])('rejects an invalid %s', (_, wrong) => {
    const harness = new GroupHarness()
    harness.consumer().poll()
    const options = { strategy: 'range', maxPollIntervalMs: 1, onChange: () => undefined } as const
    const wrongOptions = { ...options, ...wrong }
    expect(() => harness.coordinator.createMember('g', wrongOptions)).toThrow(RangeError)
  })
})
