import type { CorruptRecordError } from '../errors.ts'
import type { OffsetAndMetadata } from './offset-and-metadata.ts'
import type { TopicPartition } from './topic-partition.ts'

/** A committed offset together with its partition. */
export interface CommittedOffset extends TopicPartition, OffsetAndMetadata {}

/** A partition of the internal topic that cannot be read, and why. */
export interface OffsetsDamage {
  readonly partition: number
  readonly error: CorruptRecordError
}

/** A committed offset that was moved back because records below it are missing. */
export interface ClampedOffset extends TopicPartition {
  readonly groupId: string
  /** The offset that was committed. */
  readonly offset: number
  /** Leader epoch of the last consumed record; `null` if it was not known. */
  readonly leaderEpoch: number | null
  /** Where the group continues: the end of what that epoch has written. */
  readonly clampedTo: number
}
