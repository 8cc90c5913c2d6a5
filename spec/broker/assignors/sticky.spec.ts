import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Assignor, GroupMember } from '../../../lib/broker/assignors/assignor.ts'
import { partitionOwners, stickyAssignor } from '../../../lib/broker/assignors/sticky.ts'
import type { TopicPartition } from '../../../lib/broker/topic-partition.ts'
import {
  countsOf,
  groups,
  newMember,
  ownersOf,
  shown,
  tp,
  uniformGroups,
  withAssignment,
} from './groups.ts'
import type { Group } from './groups.ts'

const assign: Assignor['assign'] = (...args) => stickyAssignor.assign(...args)

function owning(
  memberId: string,
  generation: number,
  topics: string[],
  owned: string,
): GroupMember {
  return { memberId, generation, topics, ownedPartitions: owned.split(' ').map(tp) }
}

/** The smallest sum of squared counts of all possible assignments; tries every one. */
function smallestSumOfSquares({ partitionCounts, members }: Group): number {
  const takers = [...partitionCounts].flatMap(([topic, count]) => {
    const subscribers = [...members.keys()].filter((at) => members[at]?.topics.includes(topic))
    return subscribers.length === 0 ? [] : Array.from({ length: count }, () => subscribers)
  })
  const counts = members.map(() => 0)
  let best = Infinity
  const place = (at: number): void => {
    const choices = takers[at]
    if (choices === undefined) {
      best = Math.min(best, sumOfSquares(counts))
      return
    }
    for (const member of choices) {
      counts[member] = (counts[member] ?? 0) + 1
      place(at + 1)
      counts[member] = (counts[member] ?? 0) - 1
    }
  }
  place(0)
  return best
}

function sumOfSquares(counts: Iterable<number>): number {
  return [...counts].reduce((sum, count) => sum + count * count, 0)
}

/** Keys of the partitions whose owner changed, or which had none before. */
function moved(
  before: ReadonlyMap<string, readonly TopicPartition[]>,
  after: ReadonlyMap<string, readonly TopicPartition[]>,
): string[] {
  const owners = ownersOf(before)
  return [...ownersOf(after)].flatMap(([key, owner]) => (owners.get(key) === owner ? [] : [key]))
}

describe('stickyAssignor', () => {
  it('balances partitions as evenly as the subscriptions allow', () => {
    const counts = new Map([
      ['t0', 1],
      ['t1', 2],
      ['t2', 3],
    ])
    const members = [
      newMember('C0', ['t0']),
      newMember('C1', ['t0', 't1']),
      newMember('C2', ['t0', 't1', 't2']),
    ]
    const first = assign(counts, members)
    expect(shown(first)).toEqual({ C0: 't0p0', C1: 't1p0 t1p1', C2: 't2p0 t2p1 t2p2' })
    const rest = withAssignment(members, first).slice(1)
    expect(shown(assign(counts, rest))).toEqual({ C1: 't0p0 t1p0 t1p1', C2: 't2p0 t2p1 t2p2' })
  })

  it('moves only the partitions of a member that left', () => {
    const topics = ['t0', 't1', 't2', 't3']
    const counts = new Map(topics.map((topic) => [topic, 2]))
    const members = ['C0', 'C1', 'C2'].map((memberId) => newMember(memberId, topics))
    const first = assign(counts, members)
    expect(shown(first)).toEqual({
      C0: 't0p0 t1p1 t3p0',
      C1: 't0p1 t2p0 t3p1',
      C2: 't1p0 t2p1',
    })
    const rest = withAssignment(members, first).filter(({ memberId }) => memberId !== 'C1')
    expect(shown(assign(counts, rest))).toEqual({
      C0: 't0p0 t1p1 t2p0 t3p0',
      C2: 't0p1 t1p0 t2p1 t3p1',
    })
  })

  it('moves partitions along a chain of members if no single move helps', () => {
    const counts = new Map([
      ['t1', 2],
      ['t2', 4],
    ])
    const members = [
      newMember('A', ['t1']),
      owning('B', 1, ['t1', 't2'], 't1p0 t1p1'),
      owning('C', 1, ['t2'], 't2p0 t2p1 t2p2 t2p3'),
    ]
    expect(countsOf(assign(counts, members))).toEqual(
      new Map([
        ['A', 2],
        ['B', 2],
        ['C', 2],
      ]),
    )
  })

  it('takes partitions from the members that have the most, and no more than needed', () => {
    const counts = new Map([['t', 20]])
    const members = [
      owning('A', 1, ['t'], 'tp0 tp1 tp2 tp3 tp4 tp5 tp6 tp7 tp8 tp9'),
      owning('B', 1, ['t'], 'tp10 tp11 tp12 tp13 tp14 tp15 tp16 tp17 tp18 tp19'),
      newMember('C', ['t']),
    ]
    const assignment = assign(counts, members)
    expect([...countsOf(assignment).values()].sort()).toEqual([6, 7, 7])
    for (const { memberId, ownedPartitions } of members.slice(0, 2)) {
      expect(ownedPartitions).toEqual(expect.arrayContaining(assignment.get(memberId) ?? []))
    }
  })

  it('gives a moved partition back to its owner before it gives that owner another', () => {
    const counts = new Map([
      ['t0', 3],
      ['t1', 4],
      ['t2', 2],
    ])
    const members = [
      owning('A', 1, ['t1', 't2'], 't1p0 t1p2 t2p0 t2p1'),
      owning('B', 1, ['t0', 't1'], 't0p2 t1p1'),
      owning('C', 1, ['t0', 't2'], 't0p0 t0p1'),
      newMember('D', ['t0']),
    ]
    expect(shown(assign(counts, members))).toEqual({
      A: 't1p0 t1p2',
      B: 't1p1 t1p3',
      C: 't0p0 t2p0 t2p1',
      D: 't0p1 t0p2',
    })
  })

  it('assigns a partition to the member that claims it with the highest generation', () => {
    const members = [owning('A', 1, ['t'], 'tp0 tp1'), owning('B', 2, ['t'], 'tp0')]
    expect(shown(assign(new Map([['t', 2]]), members))).toEqual({ A: 'tp1', B: 'tp0' })
  })

  it('takes a partition from a member that no longer subscribes to its topic', () => {
    const counts = new Map([
      ['t', 1],
      ['u', 1],
    ])
    const members = [owning('A', 1, ['u'], 'tp0'), newMember('B', ['t'])]
    expect(shown(assign(counts, members))).toEqual({ A: 'up0', B: 'tp0' })
  })

  it('ignores claims to partitions and topics that do not exist', () => {
    const members = [owning('A', 1, ['t', 'gone'], 'tp0 tp7 gonep0')]
    expect(shown(assign(new Map([['t', 1]]), members))).toEqual({ A: 'tp0' })
  })

  it('finds the most even assignment possible', () => {
    fc.assert(
      fc.property(groups({ maxMembers: 4, maxPartitions: 2 }), (group) => {
        const counts = countsOf(assign(group.partitionCounts, group.members))
        expect(sumOfSquares(counts.values())).toBe(smallestSumOfSquares(group))
      }),
      { numRuns: 300 },
    )
  })

  it('gives members partition counts that differ by at most one if all subscribe to the same topics', () => {
    fc.assert(
      fc.property(uniformGroups(), ({ partitionCounts, members }) => {
        const counts = [...countsOf(assign(partitionCounts, members)).values()]
        expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1)
      }),
    )
  })

  it('moves nothing when nothing has changed', () => {
    fc.assert(
      fc.property(groups({ maxMembers: 6, maxPartitions: 6 }), ({ partitionCounts, members }) => {
        const first = assign(partitionCounts, members)
        expect(assign(partitionCounts, withAssignment(members, first))).toEqual(first)
      }),
    )
  })

  it('moves only the partitions of a leaving member if all subscribe to the same topics', () => {
    fc.assert(
      fc.property(uniformGroups(), fc.nat(8), ({ partitionCounts, members }, place) => {
        const first = assign(partitionCounts, members)
        const leaver = `m${place % members.length}`
        const rest = withAssignment(members, first).filter((each) => each.memberId !== leaver)
        fc.pre(rest.length > 0)
        const of = (first.get(leaver) ?? []).map(({ topic, partition }) => `${topic}-${partition}`)
        expect(moved(first, assign(partitionCounts, rest)).sort()).toEqual(of.sort())
      }),
    )
  })

  it('moves only the partitions that a new member gets if all subscribe to the same topics', () => {
    fc.assert(
      fc.property(uniformGroups(), ({ partitionCounts, members }) => {
        const first = assign(partitionCounts, members)
        const newcomer = newMember('newcomer', [...partitionCounts.keys()])
        const second = assign(partitionCounts, [...withAssignment(members, first), newcomer])
        expect(moved(first, second)).toHaveLength(second.get('newcomer')?.length ?? -1)
      }),
    )
  })

  it('moves no assigned partition if partitions are added and all subscribe to the same topics', () => {
    fc.assert(
      fc.property(uniformGroups(), fc.nat(5), ({ partitionCounts, members }, added) => {
        const first = assign(partitionCounts, members)
        const grown = new Map([...partitionCounts].map(([topic, count]) => [topic, count + added]))
        const second = assign(grown, withAssignment(members, first))
        expect(moved(first, second)).toHaveLength(added * partitionCounts.size)
      }),
    )
  })

  it('moves no kept partition if the others can be assigned evenly', () => {
    fc.assert(
      fc.property(
        groups({ maxMembers: 6, maxPartitions: 6 }),
        fc.infiniteStream(fc.boolean()),
        ({ partitionCounts, members }, coins) => {
          const first = assign(partitionCounts, members)
          const kept = new Map(
            [...first].map(([memberId, partitions]) => [
              memberId,
              partitions.filter(() => coins.next().value),
            ]),
          )
          const second = ownersOf(assign(partitionCounts, withAssignment(members, kept)))
          for (const [key, owner] of ownersOf(kept)) expect(second.get(key)).toBe(owner)
        },
      ),
    )
  })
})

describe('partitionOwners', () => {
  it('prefers the highest generation, then the first id, whatever the order of the members', () => {
    const members = [
      owning('C', 2, [], 'tp0 tp1'),
      owning('A', 1, [], 'tp0 tp1 tp2'),
      owning('B', 2, [], 'tp1'),
    ]
    const owners = new Map([
      ['t-0', 'C'],
      ['t-1', 'B'],
      ['t-2', 'A'],
    ])
    expect(partitionOwners(members)).toEqual(owners)
    expect(partitionOwners(members.toReversed())).toEqual(owners)
  })
})
