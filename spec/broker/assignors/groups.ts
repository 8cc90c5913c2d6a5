import fc from 'fast-check'
import type { GroupMember } from '../../../lib/broker/assignors/assignor.ts'
import { topicPartitionKey } from '../../../lib/broker/topic-partition.ts'
import type { TopicPartition } from '../../../lib/broker/topic-partition.ts'

/** The arguments of an assignor. */
export interface Group {
  readonly partitionCounts: ReadonlyMap<string, number>
  readonly members: readonly GroupMember[]
}

/** Names that a plain object would already have, besides ordinary ones. */
const NAMES = ['__proto__', 'constructor', 'toString', 'a', 'b-1', 'c']

/** A new member, without previous partitions. */
export function newMember(memberId: string, topics: readonly string[]): GroupMember {
  return { memberId, topics, ownedPartitions: [], generation: -1 }
}

/** `t0p0` is partition 0 of topic `t0`. */
export function tp(text: string): TopicPartition {
  const match = /^(.+)p(\d+)$/.exec(text)
  if (match === null) throw new Error(`${text} is no partition`)
  return { topic: match[1] ?? '', partition: Number(match[2]) }
}

/** An assignment as plain text: `{ C0: 't0p0 t0p1' }`. */
export function shown(
  assignment: ReadonlyMap<string, readonly TopicPartition[]>,
): Record<string, string> {
  return Object.fromEntries(
    [...assignment].map(([memberId, partitions]) => [
      memberId,
      partitions.map(({ topic, partition }) => `${topic}p${partition}`).join(' '),
    ]),
  )
}

/** The members with `assignment`, as they enter the next rebalance. */
export function withAssignment(
  members: readonly GroupMember[],
  assignment: ReadonlyMap<string, readonly TopicPartition[]>,
  generation = 1,
): GroupMember[] {
  return members.map((member) => ({
    ...member,
    ownedPartitions: assignment.get(member.memberId) ?? [],
    generation,
  }))
}

/** The owner of each partition; fails if two members have the same one. */
export function ownersOf(
  assignment: ReadonlyMap<string, readonly TopicPartition[]>,
): Map<string, string> {
  const owners = new Map<string, string>()
  for (const [memberId, partitions] of assignment) {
    for (const topicPartition of partitions) {
      const key = topicPartitionKey(topicPartition)
      const other = owners.get(key)
      if (other !== undefined) throw new Error(`${key} belongs to ${other} and to ${memberId}`)
      owners.set(key, memberId)
    }
  }
  return owners
}

/** Keys of all partitions with a subscriber. */
export function subscribedPartitions({ partitionCounts, members }: Group): string[] {
  const wanted = new Set(members.flatMap((member) => member.topics))
  return [...partitionCounts]
    .filter(([topic]) => wanted.has(topic))
    .flatMap(([topic, count]) => Array.from({ length: count }, (_, number) => `${topic}-${number}`))
    .sort()
}

/** How many partitions each member has. */
export function countsOf(
  assignment: ReadonlyMap<string, readonly TopicPartition[]>,
): Map<string, number> {
  return new Map([...assignment].map(([memberId, partitions]) => [memberId, partitions.length]))
}

/** Groups whose members have arbitrary subscriptions and claims. */
export function groups(limits: {
  readonly maxMembers: number
  readonly maxPartitions: number
}): fc.Arbitrary<Group> {
  const claim = fc.record({
    topic: fc.constantFrom(...NAMES),
    partition: fc.nat(limits.maxPartitions),
  })
  const member = fc.record({
    memberId: fc.constantFrom(...NAMES, 'm0', 'm1', 'm2', 'm3', 'm4'),
    topics: fc.array(fc.constantFrom(...NAMES, 'missing')),
    ownedPartitions: fc.uniqueArray(claim, { selector: topicPartitionKey }),
    generation: fc.integer({ min: -1, max: 3 }),
  })
  return fc.record({
    partitionCounts: partitionCounts(limits.maxPartitions),
    members: fc.uniqueArray(member, {
      minLength: 1,
      maxLength: limits.maxMembers,
      selector: ({ memberId }) => memberId,
    }),
  })
}

/** Groups of new members that all subscribe to all topics. */
export function uniformGroups(): fc.Arbitrary<Group> {
  return fc
    .record({ partitionCounts: partitionCounts(7), size: fc.integer({ min: 1, max: 9 }) })
    .map((group) => ({
      partitionCounts: group.partitionCounts,
      members: Array.from({ length: group.size }, (_, number) =>
        newMember(`m${number}`, [...group.partitionCounts.keys()]),
      ),
    }))
}

function partitionCounts(max: number): fc.Arbitrary<ReadonlyMap<string, number>> {
  return fc
    .uniqueArray(fc.tuple(fc.constantFrom(...NAMES), fc.nat(max)), {
      selector: ([topic]) => topic,
    })
    .map((entries) => new Map(entries))
}
