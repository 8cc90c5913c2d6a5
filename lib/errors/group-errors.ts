import { VarveError } from './varve-error.ts'

/** The group has no committed offset for the partition, and `autoOffsetReset` is `'none'`. */
export class NoOffsetForPartitionError extends VarveError {
  override readonly name = 'NoOffsetForPartitionError'
  readonly code = 'NO_OFFSET_FOR_PARTITION'
  readonly topic: string
  readonly partition: number

  constructor(topic: string, partition: number) {
    super(
      `there is no committed offset for ${topic}-${partition}, and autoOffsetReset is 'none': ` +
        "seek to an offset, or set autoOffsetReset to 'earliest' or 'latest'",
    )
    this.topic = topic
    this.partition = partition
  }
}

/**
 * A commit was refused. Either the group has rebalanced without this member, and its partitions may
 * belong to another one. Or the consumer is not a member, because it assigned its partitions itself
 * or has none, and the group has subscribed members.
 */
export class CommitFailedError extends VarveError {
  override readonly name = 'CommitFailedError'
  readonly code = 'COMMIT_FAILED'
  readonly groupId: string

  constructor(groupId: string, reason: string) {
    super(
      `offsets of group '${groupId}' were not committed: ${reason}. The records may be delivered ` +
        'again; poll more often, lower maxPollRecords, or raise maxPollIntervalMs',
    )
    this.groupId = groupId
  }
}

/** The members of a group use different assignment strategies. */
export class InconsistentGroupProtocolError extends VarveError {
  override readonly name = 'InconsistentGroupProtocolError'
  readonly code = 'INCONSISTENT_GROUP_PROTOCOL'
}

/**
 * The call needs a `groupId` and the consumer has none, or the given id is not legal: it must be
 * well-formed text of 1 to 32,767 bytes in UTF-8.
 */
export class InvalidGroupIdError extends VarveError {
  override readonly name = 'InvalidGroupIdError'
  readonly code = 'INVALID_GROUP_ID'
}

/** The group cannot be deleted while it has members. */
export class GroupNotEmptyError extends VarveError {
  override readonly name = 'GroupNotEmptyError'
  readonly code = 'GROUP_NOT_EMPTY'
  readonly groupId: string

  constructor(groupId: string, memberCount: number) {
    super(`group '${groupId}' has ${memberCount} members: it can be deleted once they are closed`)
    this.groupId = groupId
  }
}

/** There is no group with this id: it has no members and no committed offsets. */
export class GroupIdNotFoundError extends VarveError {
  override readonly name = 'GroupIdNotFoundError'
  readonly code = 'GROUP_ID_NOT_FOUND'
  readonly groupId: string

  constructor(groupId: string) {
    super(`there is no group '${groupId}'`)
    this.groupId = groupId
  }
}
