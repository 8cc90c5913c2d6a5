import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Assignor, GroupMember } from '../../../lib/broker/assignors/assignor.ts'
import { cooperativeStickyAssignor } from '../../../lib/broker/assignors/cooperative-sticky.ts'
import { stickyAssignor } from '../../../lib/broker/assignors/sticky.ts'
import { topicPartitionKey } from '../../../lib/broker/topic-partition.ts'
import {
  groups,
  newMember,
  ownersOf,
  shown,
  subscribedPartitions,
  tp,
  withAssignment,
} from './groups.ts'

const assign: Assignor['assign'] = (...args) => cooperativeStickyAssignor.assign(...args)

function owning(
  memberId: string,
  generation: number,
  topics: string[],
  owned: string,
): GroupMember {
  return { memberId, generation, topics, ownedPartitions: owned.split(' ').map(tp) }
}

describe('cooperativeStickyAssignor', () => {
  it('revokes a partition from its owner first, and assigns it to the new owner in the next round', () => {
    const counts = new Map([['t', 4]])
    const members = [owning('A', 1, ['t'], 'tp0 tp1 tp2 tp3'), newMember('B', ['t'])]
    const first = assign(counts, members)
    expect(shown(first)).toEqual({ A: 'tp0 tp1', B: '' })
    const second = assign(counts, withAssignment(members, first, 2))
    expect(shown(second)).toEqual({ A: 'tp0 tp1', B: 'tp2 tp3' })
    expect(assign(counts, withAssignment(members, second, 3))).toEqual(second)
  })

  it('assigns partitions that nobody owns at once', () => {
    const members = [newMember('A', ['t']), newMember('B', ['t'])]
    expect(shown(assign(new Map([['t', 3]]), members))).toEqual({ A: 'tp0 tp2', B: 'tp1' })
  })

  it('assigns the partitions of a member that left at once', () => {
    const members = [owning('A', 1, ['t'], 'tp0'), newMember('B', ['t'])]
    expect(shown(assign(new Map([['t', 3]]), members))).toEqual({ A: 'tp0 tp2', B: 'tp1' })
  })

  it('assigns the partition of an unsubscribed member only after that member has given it up', () => {
    const members = [owning('A', 1, [], 'tp0'), newMember('B', ['t'])]
    const counts = new Map([['t', 1]])
    const first = assign(counts, members)
    expect(shown(first)).toEqual({ A: '', B: '' })
    expect(shown(assign(counts, withAssignment(members, first, 2)))).toEqual({ A: '', B: 'tp0' })
  })

  it('ignores the claim of an older generation to a partition that has an owner', () => {
    const members = [owning('A', 1, ['t'], 'tp0'), owning('B', 2, ['t'], 'tp0')]
    expect(shown(assign(new Map([['t', 1]]), members))).toEqual({ A: '', B: 'tp0' })
  })

  it('never assigns a partition to one member while another owns it', () => {
    fc.assert(
      fc.property(groups({ maxMembers: 6, maxPartitions: 6 }), ({ partitionCounts, members }) => {
        const owners = ownersOf(assign(partitionCounts, members))
        for (const [key, owner] of owners) {
          const claims = members.filter(({ ownedPartitions }) =>
            ownedPartitions.some((claimed) => topicPartitionKey(claimed) === key),
          )
          const latest = Math.max(...claims.map(({ generation }) => generation))
          const rightful = claims.filter(({ generation }) => generation === latest)
          if (rightful.length > 0) expect(rightful.map((each) => each.memberId)).toContain(owner)
        }
      }),
    )
  })

  it('assigns each member a subset of what sticky assigns it', () => {
    fc.assert(
      fc.property(groups({ maxMembers: 6, maxPartitions: 6 }), ({ partitionCounts, members }) => {
        const target = ownersOf(stickyAssignor.assign(partitionCounts, members))
        for (const [key, owner] of ownersOf(assign(partitionCounts, members))) {
          expect(target.get(key)).toBe(owner)
        }
      }),
    )
  })

  it('is complete after the second round, which revokes nothing, and is stable in the third', () => {
    fc.assert(
      fc.property(groups({ maxMembers: 6, maxPartitions: 6 }), (group) => {
        const { partitionCounts, members } = group
        const first = assign(partitionCounts, members)
        const second = assign(partitionCounts, withAssignment(members, first, 4))
        const third = assign(partitionCounts, withAssignment(members, second, 5))
        const owners = ownersOf(second)
        expect([...owners.keys()].sort()).toEqual(subscribedPartitions(group))
        for (const [key, owner] of ownersOf(first)) expect(owners.get(key)).toBe(owner)
        expect(third).toEqual(second)
      }),
    )
  })
})
