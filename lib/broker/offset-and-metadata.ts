import { checkWholeNumber, describeValue, isWellFormed } from '../checks.ts'
import { topicPartitionKey, type TopicPartition } from './topic-partition.ts'

/** How far a group has come in a partition. */
export interface OffsetAndMetadata {
  /** The next offset to read, which is one behind the last record that was consumed. */
  readonly offset: number
  /** The application's own note, empty when there is none. */
  readonly metadata: string
  /** Leader epoch of the last record that was consumed, `null` where it is not known. */
  readonly leaderEpoch: number | null
}

/** What a consumer asks to have stored for one partition. */
export interface OffsetCommit extends TopicPartition {
  /** The next offset to read, at least 0. Lower than the one before is fine. */
  readonly offset: number
  /** At most 4096 bytes of UTF-8. @defaultValue empty */
  readonly metadata?: string
  /**
   * Leader epoch of the record before `offset`, at least 0. Where that epoch has written less, the group
   * goes on at the end of what it has written, as after a loss of records: what `committed` gives is of its
   * own offset only, and not to be stored with another. @defaultValue null: the one that the log has there
   */
  readonly leaderEpoch?: number | null
}

/** How a commit is to be made. */
export interface CommitOptions {
  /**
   * Leaves out the partitions that are deleted meanwhile and stores the others; without it, all are
   * refused then. For who commits without being asked to.
   */
  readonly withoutDeleted?: boolean
}

/** Most bytes of metadata that Kafka's broker takes by default. */
const MAX_METADATA_BYTES = 4096
const MAX_INT32 = 0x7fff_ffff

/**
 * Checks what is to be committed and fills in what it leaves out.
 *
 * @throws TypeError when a field is of the wrong type
 * @throws RangeError when the offset or the epoch is negative or not whole, or the metadata is
 * longer than 4096 bytes or has a lone surrogate, which would be another character after a restart
 */
export function checkOffsetCommit(commit: OffsetCommit): OffsetAndMetadata {
  const { metadata = '', leaderEpoch = null } = commit
  const place = topicPartitionKey(commit)
  const offset = checkWholeNumber(`offset of ${place}`, commit.offset, 0, Number.MAX_SAFE_INTEGER)
  if (typeof metadata !== 'string') {
    throw new TypeError(`metadata of ${place} must be a string, got ${describeValue(metadata)}`)
  }
  const metadataBytes = Buffer.byteLength(metadata)
  if (metadataBytes > MAX_METADATA_BYTES) {
    throw new RangeError(
      `metadata of ${place} must have at most ${MAX_METADATA_BYTES} bytes, got ${metadataBytes}`,
    )
  }
  if (!isWellFormed(metadata)) {
    throw new RangeError(`metadata of ${place} must be well-formed Unicode, got a lone surrogate`)
  }
  if (leaderEpoch === null) return { offset, metadata, leaderEpoch }
  const epoch = checkWholeNumber(`leaderEpoch of ${place}`, leaderEpoch, 0, MAX_INT32)
  return { offset, metadata, leaderEpoch: epoch }
}
