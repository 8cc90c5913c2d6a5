import type { Assignor } from './assignor.ts'
import { emptyAssignment, sortedMemberIds, subscribedTopics } from './subscriptions.ts'

/**
 * Deals all partitions of all topics to the members in turn, skipping members that do not subscribe
 * to the topic. The result is even if all members subscribe to the same topics; otherwise `sticky`
 * is more even.
 */
export const roundRobinAssignor: Assignor = {
  strategy: 'roundrobin',
  protocol: 'eager',
  assign(partitionCounts, members) {
    const assignment = emptyAssignment(members)
    const circle = sortedMemberIds(members)
    let next = 0
    for (const { topic, partitionCount, subscribers } of subscribedTopics(
      partitionCounts,
      members,
    )) {
      const subscribing = new Set(subscribers)
      for (let partition = 0; partition < partitionCount;) {
        const memberId = circle[next % circle.length]
        next++
        if (memberId === undefined || !subscribing.has(memberId)) continue
        assignment.get(memberId)?.push({ topic, partition })
        partition++
      }
    }
    return assignment
  },
}
