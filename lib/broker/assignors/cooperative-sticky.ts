import { topicPartitionKey } from '../topic-partition.ts'
import type { Assignor } from './assignor.ts'
import { partitionOwners, stickyAssignor } from './sticky.ts'

/**
 * The result of `sticky` reached in two rebalances, so that members never stop reading what they
 * keep. In the first a partition that changes hands is taken from its owner and given to nobody;
 * once the owner has let go of it, the second gives it to its new member. With unchanged members
 * and topics the second result is complete and a third one equals it.
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
