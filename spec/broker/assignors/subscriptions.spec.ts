import { describe, expect, it } from 'vitest'
import {
  emptyAssignment,
  sortedMemberIds,
  subscribedTopics,
} from '../../../lib/broker/assignors/subscriptions.ts'
import { newMember } from './groups.ts'

describe('subscribedTopics', () => {
  it('lists topics that have partitions and subscribers, both sorted', () => {
    const partitionCounts = new Map([
      ['toString', 1],
      ['b', 2],
      ['__proto__', 3],
      ['unread', 4],
      ['empty', 0],
    ])
    const members = [
      newMember('m10', ['b', 'empty', '__proto__']),
      newMember('m1', ['toString', 'b', 'b', 'missing', 'constructor']),
    ]
    expect(subscribedTopics(partitionCounts, members)).toEqual([
      { topic: '__proto__', partitionCount: 3, subscribers: ['m10'] },
      { topic: 'b', partitionCount: 2, subscribers: ['m1', 'm10'] },
      { topic: 'toString', partitionCount: 1, subscribers: ['m1'] },
    ])
  })
})

describe('emptyAssignment', () => {
  it('returns a separate empty list for every member, sorted by id', () => {
    const members = [newMember('b', []), newMember('__proto__', []), newMember('a', [])]
    const assignment = emptyAssignment(members)
    assignment.get('a')?.push({ topic: 't', partition: 0 })
    expect([...assignment]).toEqual([
      ['__proto__', []],
      ['a', [{ topic: 't', partition: 0 }]],
      ['b', []],
    ])
    expect(sortedMemberIds(members)).toEqual(['__proto__', 'a', 'b'])
  })
})
