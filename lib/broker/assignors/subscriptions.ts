import { compareNames } from '../topic-partition.ts'
import type { TopicPartition } from '../topic-partition.ts'
import type { GroupMember } from './assignor.ts'

/** A topic that has both partitions and subscribers. */
export interface SubscribedTopic {
  readonly topic: string
  /** At least 1. */
  readonly partitionCount: number
  /** Ids of the subscribing members, sorted; at least one. */
  readonly subscribers: readonly string[]
}

/** Returns the topics that have both partitions and subscribers, sorted by name. */
export function subscribedTopics(
  partitionCounts: ReadonlyMap<string, number>,
  members: readonly GroupMember[],
): SubscribedTopic[] {
  const subscribersOf = new Map<string, string[]>()
  for (const { memberId, topics } of members) {
    for (const topic of new Set(topics)) {
      const subscribers = subscribersOf.get(topic)
      if (subscribers === undefined) subscribersOf.set(topic, [memberId])
      else subscribers.push(memberId)
    }
  }
  const result: SubscribedTopic[] = []
  for (const [topic, subscribers] of subscribersOf) {
    const partitionCount = partitionCounts.get(topic) ?? 0
    if (partitionCount === 0) continue
    result.push({ topic, partitionCount, subscribers: subscribers.sort(compareNames) })
  }
  return result.sort((left, right) => compareNames(left.topic, right.topic))
}

/** Returns the ids of the members in the order in which every assignor visits them. */
export function sortedMemberIds(members: readonly GroupMember[]): string[] {
  return members.map((member) => member.memberId).sort(compareNames)
}

/** Returns an assignment without partitions: every member, sorted, with an empty list. */
export function emptyAssignment(members: readonly GroupMember[]): Map<string, TopicPartition[]> {
  return new Map(sortedMemberIds(members).map((memberId) => [memberId, []]))
}
