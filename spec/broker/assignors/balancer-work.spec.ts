import fc from 'fast-check'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { GroupMember } from '../../../lib/broker/assignors/assignor.ts'
import { cooperativeStickyAssignor } from '../../../lib/broker/assignors/cooperative-sticky.ts'
import { Share } from '../../../lib/broker/assignors/share.ts'
import { stickyAssignor } from '../../../lib/broker/assignors/sticky.ts'
import type { TopicPartition } from '../../../lib/broker/topic-partition.ts'
import { groups, newMember, tp, withAssignment } from './groups.ts'
import type { Group } from './groups.ts'
import { plainlyBalanced } from './plain-balancer.ts'

type Assignment = Map<string, TopicPartition[]>

function assign({ partitionCounts, members }: Group): Assignment {
  return stickyAssignor.assign(partitionCounts, members)
}

/** How often an assignor reads the number of a member's partitions, which it compares. */
function looksOf(work: () => Assignment): { readonly assignment: Assignment; looks: number } {
  const counts = vi.spyOn(Share.prototype, 'count', 'get')
  const assignment = work()
  const looks = counts.mock.calls.length
  counts.mockRestore()
  return { assignment, looks }
}

function newMembers(count: number, topicsOf: (slot: number) => readonly string[]): GroupMember[] {
  return Array.from({ length: count }, (_, slot) => newMember(`m${1000 + slot}`, topicsOf(slot)))
}

describe('the balance of the sticky assignors', () => {
  afterEach(() => {
    vi.restoreAllMocks()
  })

  it('equals the result of a plain search through all members and partitions', () => {
    fc.assert(
      fc.property(groups({ maxMembers: 11, maxPartitions: 7 }), fc.nat(10), (group, place) => {
        const first = assign(group)
        expect(first).toEqual(plainlyBalanced(group))
        const { partitionCounts } = group
        const members = withAssignment(group.members, first, 4).toSpliced(place, 1)
        members.push(newMember('later', [...partitionCounts.keys()]))
        const second = { partitionCounts, members }
        expect(assign(second)).toEqual(plainlyBalanced(second))
      }),
      { numRuns: 120, seed: 194 },
    )
  })

  it('moves kept partitions like a plain search that remembers no earlier moves', () => {
    const partitionCounts = new Map([2, 6, 6, 3, 4, 2].map((count, slot) => [`t${slot}`, count]))
    const owning = (memberId: string, generation: number, topics: string, owned: string) => ({
      memberId,
      generation,
      topics: topics.split(' '),
      ownedPartitions: owned.split(' ').map(tp),
    })
    const members = [
      owning('m0', 0, 't1 t3', 't2p4 t2p1 t0p1 t2p3 t4p3'),
      owning('m1', 0, 't0 t2 t3 t4 t5', 't0p0 t2p0 t0p5 t2p1'),
      newMember('m2', ['t3', 't4']),
      owning('m3', 0, 't1', 't1p3 t3p1 t2p5 t5p3 t0p3 t0p2'),
      owning('m4', 2, 't0 t1 t4', 't0p3 t1p0 t2p2 t1p4 t4p2 t3p1 t2p5 t2p3 t3p3 t3p5'),
    ]
    const group = { partitionCounts, members }
    expect(assign(group)).toEqual(plainlyBalanced(group))
  })

  it.each([
    ['sticky', stickyAssignor],
    ['cooperative-sticky', cooperativeStickyAssignor],
  ])(
    'compares few members per partition with %s, however many members there are',
    (_, assignor) => {
      const partitionCounts = new Map([['t', 256]])
      for (const count of [16, 250]) {
        const members = newMembers(count, () => ['t'])
        const fresh = looksOf(() => assignor.assign(partitionCounts, members))
        const joined = withAssignment(members, fresh.assignment)
        const again = looksOf(() => assignor.assign(partitionCounts, joined))
        const left = looksOf(() => assignor.assign(partitionCounts, joined.slice(1)))
        const alone = assignor.assign(partitionCounts, members.slice(0, 1))
        const crowd = withAssignment(members, alone)
        const shared = looksOf(() => assignor.assign(partitionCounts, crowd))
        for (const { looks } of [fresh, again, left, shared]) {
          expect(looks).toBeLessThan(20 * (256 + count))
        }
      }
    },
  )

  it('searches each member once for a chain of moves if there is none, whatever the subscriptions', () => {
    // Each has a topic of its own that nobody else subscribes to, and one that it shares with the
    // next.
    const topics = Array.from({ length: 200 }, (_, slot) => `t${slot}`)
    const partitionCounts = new Map(topics.map((topic, slot) => [topic, slot % 2 === 0 ? 9 : 1]))
    const members = newMembers(100, (slot) =>
      [2 * slot, 2 * slot + 1, 2 * slot + 3].map((topic) => `t${topic}`),
    )
    members.push(newMember('nobody', ['t1']))
    const { assignment, looks } = looksOf(() => assign({ partitionCounts, members }))
    expect(assignment.get('nobody')).toHaveLength(1)
    expect(looks).toBeLessThan(20 * (1000 + 101))
  })
})
