import type { CorruptRecordError } from '../errors.ts'
import type { OffsetAndMetadata } from './offset-and-metadata.ts'
import type { TopicPartition } from './topic-partition.ts'

/** An offset with the partition it belongs to. */
export interface CommittedOffset extends TopicPartition, OffsetAndMetadata {}

/** Which partition of the internal topic cannot be read, and why. */
export interface OffsetsDamage {
  readonly partition: number
  readonly error: CorruptRecordError
}

/** A committed offset that was taken back, because the records below it are not there. */
export interface ClampedOffset extends TopicPartition {
  readonly groupId: string
  /** What was committed. */
  readonly offset: number
  /** Leader epoch of the last record that was consumed, `null` where it was not known. */
  readonly leaderEpoch: number | null
  /** Where the group goes on: the end of what that epoch has written. */
  readonly clampedTo: number
}
