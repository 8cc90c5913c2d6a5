import type { Assignor } from './assignor.ts'
import { emptyAssignment, subscribedTopics } from './subscriptions.ts'

/**
 * Gives each member a contiguous range of every topic's partitions. Topics with equal partition
 * counts and subscribers are divided alike, so records of one key in several topics meet in one
 * member. The first members get one partition more of every topic that does not divide evenly.
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
