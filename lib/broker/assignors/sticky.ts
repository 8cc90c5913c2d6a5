import { compareNames, topicPartitionKey } from '../topic-partition.ts'
import type { Assignor, GroupMember } from './assignor.ts'
import { PartitionBalancer } from './partition-balancer.ts'
import { subscribedTopics } from './subscriptions.ts'

/**
 * Assigns partitions as evenly as the subscriptions allow, and moves only those that it must, so
 * that members keep their caches and positions. If all members subscribe to the same topics, the
 * number of moves is minimal; with mixed subscriptions a few more partitions may move.
 */
export const stickyAssignor: Assignor = {
  strategy: 'sticky',
  protocol: 'eager',
  assign(partitionCounts, members) {
    const topics = subscribedTopics(partitionCounts, members)
    const balancer = new PartitionBalancer(members, topics)
    const owners = partitionOwners(members)
    for (const { topic, partitionCount, subscribers } of topics) {
      const subscribing = new Set(subscribers)
      for (let partition = 0; partition < partitionCount; partition++) {
        const owner = owners.get(topicPartitionKey({ topic, partition }))
        if (owner !== undefined && subscribing.has(owner)) {
          balancer.keep({ topic, partition }, owner)
        } else {
          balancer.addFree({ topic, partition })
        }
      }
    }
    return balancer.balance()
  },
}

/**
 * Returns each partition's owner before the rebalance, by {@link topicPartitionKey}. Of several
 * claims, the highest generation wins, as the other members missed a rebalance; of equal ones, the
 * first id. Claims count even if the topic is gone or the member no longer subscribes to it.
 */
export function partitionOwners(members: readonly GroupMember[]): Map<string, string> {
  const claims = new Map<string, GroupMember>()
  for (const member of members) {
    for (const topicPartition of member.ownedPartitions) {
      const key = topicPartitionKey(topicPartition)
      const rival = claims.get(key)
      if (rival === undefined || outranks(member, rival)) claims.set(key, member)
    }
  }
  return new Map([...claims].map(([key, member]) => [key, member.memberId]))
}

function outranks(member: GroupMember, rival: GroupMember): boolean {
  if (member.generation !== rival.generation) return member.generation > rival.generation
  return compareNames(member.memberId, rival.memberId) < 0
}
