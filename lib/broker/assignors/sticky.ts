import { compareNames, topicPartitionKey } from '../topic-partition.ts'
import type { Assignor, GroupMember } from './assignor.ts'
import { PartitionBalancer } from './partition-balancer.ts'
import { subscribedTopics } from './subscriptions.ts'

/**
 * Gives every member as equal a number of partitions as the subscriptions allow, and moves none
 * that an even result can do without, so that a member keeps its caches and its position. No fewer
 * can be moved when all subscribe alike; with mixed subscriptions a few more may be.
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
 * Who owns what before the rebalance, by {@link topicPartitionKey}. Of several members that claim
 * a partition the one with the highest generation owns it, the others missed a rebalance; of equal
 * ones the first by id. Claims to topics that no longer exist or are no longer subscribed count.
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
