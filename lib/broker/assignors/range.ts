import type { Assignor } from './assignor.ts'
import { emptyAssignment, subscribedTopics } from './subscriptions.ts'

/**
 * Assigns each member a contiguous range of every topic's partitions. Topics with equal partition
 * counts and subscribers are divided alike, so the same member reads a key's records in all of
 * them. Of every topic that does not divide evenly, the first members get one partition more.
 */
export const rangeAssignor: Assignor = {
  strategy: 'range',
  protocol: 'eager',
  assign(partitionCounts, members) {
    const assignment = emptyAssignment(members)
    for (const { topic, partitionCount, subscribers } of subscribedTopics(
      partitionCounts,
      members,
    )) {
      const share = Math.floor(partitionCount / subscribers.length)
      const extras = partitionCount % subscribers.length
      let partition = 0
      for (const [place, memberId] of subscribers.entries()) {
        const end = partition + share + (place < extras ? 1 : 0)
        for (; partition < end; partition++) assignment.get(memberId)?.push({ topic, partition })
      }
    }
    return assignment
  },
}
