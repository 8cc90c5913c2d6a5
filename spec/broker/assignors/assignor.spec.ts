import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { assignorFor } from '../../../lib/broker/assignors/assignor.ts'
import type {
  Assignor,
  PartitionAssignmentStrategy,
} from '../../../lib/broker/assignors/assignor.ts'
import { compareTopicPartitions } from '../../../lib/broker/topic-partition.ts'
import { groups, newMember, ownersOf, shown, subscribedPartitions } from './groups.ts'

const EAGER = ['range', 'roundrobin', 'sticky'] as const
const ALL = [...EAGER, 'cooperative-sticky'] as const

describe('assignorFor', () => {
  it.each([
    ['range', 'eager'],
    ['roundrobin', 'eager'],
    ['sticky', 'eager'],
    ['cooperative-sticky', 'cooperative'],
  ] as const)('returns the assignor %s with the protocol %s', (strategy, protocol) => {
    expect(assignorFor(strategy)).toMatchObject({ strategy, protocol })
  })

  it.each(['uniform', 'Range', '', 'constructor', '__proto__'])(
    'throws for the unknown strategy %j',
    (name) => {
      const find = (): unknown => assignorFor(name as PartitionAssignmentStrategy)
      expect(find).toThrow(RangeError)
      expect(find).toThrow(
        'partitionAssignmentStrategy must be one of range, roundrobin, sticky, ' +
          `cooperative-sticky, got '${name}'`,
      )
    },
  )
})

describe.each(EAGER)('%s', (strategy) => {
  it('assigns every subscribed partition once, to a subscriber', () => {
    fc.assert(
      fc.property(groups({ maxMembers: 6, maxPartitions: 5 }), (group) => {
        const assignment = assignorFor(strategy).assign(group.partitionCounts, group.members)
        expect([...ownersOf(assignment).keys()].sort()).toEqual(subscribedPartitions(group))
        for (const { memberId, topics } of group.members) {
          for (const { topic } of assignment.get(memberId) ?? []) expect(topics).toContain(topic)
        }
      }),
    )
  })
})

describe.each(ALL)('%s', (strategy) => {
  const assign: Assignor['assign'] = (...args) => assignorFor(strategy).assign(...args)

  it('returns a sorted list for every member and for nobody else', () => {
    fc.assert(
      fc.property(groups({ maxMembers: 6, maxPartitions: 5 }), ({ partitionCounts, members }) => {
        const assignment = assign(partitionCounts, members)
        expect([...assignment.keys()].sort()).toEqual(members.map((each) => each.memberId).sort())
        for (const partitions of assignment.values()) {
          expect(partitions).toEqual(partitions.toSorted(compareTopicPartitions))
        }
      }),
    )
  })

  it('does not depend on the order of topics, members, subscriptions or claims', () => {
    fc.assert(
      fc.property(groups({ maxMembers: 6, maxPartitions: 5 }), ({ partitionCounts, members }) => {
        const reversed = members.toReversed().map((member) => ({
          ...member,
          topics: member.topics.toReversed(),
          ownedPartitions: member.ownedPartitions.toReversed(),
        }))
        expect(assign(new Map([...partitionCounts].reverse()), reversed)).toEqual(
          assign(partitionCounts, members),
        )
      }),
    )
  })

  it('returns an empty assignment for a group without members', () => {
    expect(assign(new Map([['t', 3]]), [])).toEqual(new Map())
  })

  it('skips topics that do not exist or have no partitions', () => {
    const members = [newMember('C0', ['gone', 'empty', 't']), newMember('C1', ['gone'])]
    const partitionCounts = new Map([
      ['empty', 0],
      ['t', 1],
    ])
    expect(shown(assign(partitionCounts, members))).toEqual({ C0: 'tp0', C1: '' })
  })

  it('counts a topic once that a member names twice', () => {
    const members = [newMember('C0', ['t', 't']), newMember('C1', ['t'])]
    expect(shown(assign(new Map([['t', 2]]), members))).toEqual({ C0: 'tp0', C1: 'tp1' })
  })
})
