import { checkWholeNumber, describeValue, isWellFormed } from '../checks.ts'
import { topicPartitionKey, type TopicPartition } from './topic-partition.ts'

/** Committed position of a group in a partition. */
export interface OffsetAndMetadata {
  /** The next offset to read: one after the last consumed record. */
  readonly offset: number
  /** The application's own note; empty if there is none. */
  readonly metadata: string
  /** Leader epoch of the last consumed record; `null` if it is not known. */
  readonly leaderEpoch: number | null
}

/** A position to be committed for one partition. */
export interface OffsetCommit extends TopicPartition {
  /** The next offset to read, at least 0. It may be lower than the previous commit. */
  readonly offset: number
  /** The application's own note, at most 4096 bytes of UTF-8. @defaultValue empty */
  readonly metadata?: string | undefined
  /**
   * Leader epoch of the record before `offset`, at least 0. If that epoch has written less, the
   * group goes on at the end of what the epoch has written, as after a loss of records. An epoch
   * that `committed` returns belongs to the offset returned with it: do not store it with another
   * offset.
   * @defaultValue null: the epoch that the log has there
   */
  readonly leaderEpoch?: number | null | undefined
}

/** How a commit is made. */
export interface CommitOptions {
  /**
   * Leaves out partitions that are deleted meanwhile and stores the others; without it, the whole
   * commit is refused then. For automatic commits, which nobody asked for.
   */
  readonly withoutDeleted?: boolean
}

/** Largest metadata that Kafka's broker accepts by default, in bytes. */
const MAX_METADATA_BYTES = 4096
const MAX_INT32 = 0x7fff_ffff

/**
 * Checks a commit and fills in the defaults.
 *
 * @throws TypeError when a field has the wrong type
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
