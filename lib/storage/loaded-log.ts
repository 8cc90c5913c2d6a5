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

/** What was found and repaired when a log was opened. */
export interface LogRecovery {
  readonly truncations: readonly Truncation[]
  /**
   * Log files whose indexes were missing or unusable, and are rebuilt when they are needed; the
   * epoch checkpoint if it was missing or unusable; and the segment record if it was unusable. A
   * missing segment record is not listed, since a Kafka broker does not write one.
   */
  readonly rebuiltIndexes: readonly string[]
  /**
   * Offset to which the log was truncated because a sync had failed since the last open: records
   * from there on, acknowledged or not, are lost. `null` if no sync had failed, or the disk did not
   * store the mark of the failure.
   */
  readonly failedSyncOffset: number | null
  /** Why the log is open for reading only; `null` if it is sound. */
  readonly damage: CorruptRecordError | null
}

/** A segment with an unreadable file. */
export interface UnreadableSegment extends FailedRead {
  readonly baseOffset: number
}

/** What is known about a log before it is opened. */
export interface LoadOptions extends SegmentOptions {
  /** Whether the log was closed cleanly. Then only its last bytes are checked. */
  readonly isClean: boolean
  /** Everything below this offset was durable, including its indexes. */
  readonly recoveryPoint: number
  /** Records below this offset are deleted. */
  readonly logStartOffset: number
  /** Why nothing of the log can be found in its place. Then the files are not searched. */
  readonly loss?: CorruptRecordError | undefined
  /** Known to be unreadable: segments from this one on are not checked, and nothing is changed. */
  readonly unreadable?: UnreadableSegment | undefined
}

/** The result of opening a log's files. */
export interface LoadedLog {
  /** Whether its writer kept changing it during the open, so that there may be more records. */
  readonly isUnsettled?: boolean
  readonly segments: LogSegments
  readonly logStartOffset: number
  readonly logEndOffset: number
  readonly epochs: LeaderEpochCache
  /** The epoch of batches appended from now on. */
  readonly leaderEpoch: number
  readonly producers: ProducerState
  readonly recordFile: SegmentRecordFile
  readonly recovery: LogRecovery
  /** Whether the log was closed cleanly and not touched since. */
  readonly isClean: boolean
  /** Work to be done before anything is changed; `null` for none. */
  readonly owed: OwedRecovery | null
}
