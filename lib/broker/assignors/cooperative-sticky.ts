import { topicPartitionKey } from '../topic-partition.ts'
import type { Assignor } from './assignor.ts'
import { partitionOwners, stickyAssignor } from './sticky.ts'

/**
 * Reaches the result of `sticky` in two rebalances, so members never stop reading the partitions
 * they keep. The first takes each partition that moves from its owner and assigns it to nobody.
 * After the owner has revoked it, the second rebalance assigns it to its new owner. If members and
 * topics do not change, the second result is complete and a third equals it.
 */
export const cooperativeStickyAssignor: Assignor = {
  strategy: 'cooperative-sticky',
  protocol: 'cooperative',
  assign(partitionCounts, members) {
    const assignment = stickyAssignor.assign(partitionCounts, members)
    const owners = partitionOwners(members)
    for (const [memberId, partitions] of assignment) {
      const ready = partitions.filter((topicPartition) => {
        const owner = owners.get(topicPartitionKey(topicPartition))
        return owner === undefined || owner === memberId
      })
      assignment.set(memberId, ready)
    }
    return assignment
  },
}
