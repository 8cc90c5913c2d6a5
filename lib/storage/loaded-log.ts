import type { CorruptRecordError } from '../errors.ts'
import type { LeaderEpochCache } from './leader-epoch-cache.ts'
import type { LogSegments } from './log-segments.ts'
import type { OwedRecovery } from './owed-recovery.ts'
import type { ProducerState } from './producer-state.ts'
import type { FailedRead } from './read-watch.ts'
import type { SegmentOptions } from './segment-options.ts'
import type { SegmentRecordFile } from './segment-record.ts'
import type { Truncation } from './torn-tail.ts'

export type { Truncation } from './torn-tail.ts'

/** What opening one log found and did. */
export interface LogRecovery {
  readonly truncations: readonly Truncation[]
  /**
   * Log files whose indexes were missing or unusable, the checkpoint of epochs where it was, and the record
   * of segments where it was unusable: that it is missing says nothing, as a Kafka broker makes none.
   */
  readonly rebuiltIndexes: readonly string[]
  /**
   * Where the log was taken back to because a sync of it had failed since it was last opened: what was
   * behind, acknowledged or not, is gone. `null` where none had, or the disk has not taken the mark of it.
   */
  readonly failedSyncOffset: number | null
  /** Why the log is open for reading only; `null` when it is sound. */
  readonly damage: CorruptRecordError | null
}

/** A segment with a file that cannot be read. */
export interface UnreadableSegment extends FailedRead {
  readonly baseOffset: number
}

/** What is known of a log before it is opened. */
export interface LoadOptions extends SegmentOptions {
  /** Whether the log was closed in order: nothing but its last bytes is looked at then. */
  readonly isClean: boolean
  /** Everything below this offset was durable, and its indexes were. */
  readonly recoveryPoint: number
  /** Offset that the records were deleted up to, exclusive. */
  readonly logStartOffset: number
  /** Why nothing of the log can be found where it was. Nothing is looked for then. */
  readonly loss?: CorruptRecordError | undefined
  /** What is known to be out of reach: nothing is looked at from its segment on, and nothing is changed. */
  readonly unreadable?: UnreadableSegment | undefined
}

/** A log as it was found. */
export interface LoadedLog {
  /** Whether its writer has changed it all the time, so that there may be more of it. */
  readonly isUnsettled?: boolean
  readonly segments: LogSegments
  readonly logStartOffset: number
  readonly logEndOffset: number
  readonly epochs: LeaderEpochCache
  /** What is appended from now on belongs to it. */
  readonly leaderEpoch: number
  readonly producers: ProducerState
  readonly recordFile: SegmentRecordFile
  readonly recovery: LogRecovery
  /** Whether nothing but an orderly close had been done to it. */
  readonly isClean: boolean
  /** What is to be done before anything is changed; `null` for nothing. */
  readonly owed: OwedRecovery | null
}
