import type { FileSystem } from '../platform/file-system.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import type { BatchCache } from './batch-cache.ts'
import type { ScanRange } from './segment-scan.ts'

/** What a segment needs to know of its log. */
export interface SegmentOptions {
  readonly fileSystem: FileSystem
  readonly dir: string
  readonly indexIntervalBytes: number
  readonly segmentIndexBytes: number
  /** Whether nothing on disk may be changed: indexes are then rebuilt in memory only. */
  readonly readOnly: boolean
  /** Of the topic that the log is of, which may give way to another of its name; absent where nobody knows it. */
  readonly topicId?: string | undefined
  /** Where small reads keep what they have read; absent: nowhere. */
  readonly batchCache?: BatchCache
}

/** What is asked of every batch of a segment that is taken over. */
export interface RecoverChecks extends Pick<ScanRange, 'objection'> {
  /** Whether no batch may leave a gap before it. */
  readonly isDense?: boolean
  /**
   * Called for every batch that is read; again from the start of the segment when the index files
   * turn out to be wrong.
   */
  readonly onBatch?: (batch: RecordBatch, position: number) => unknown
}
