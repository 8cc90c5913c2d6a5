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
  /** Whether nothing on disk may be changed. Indexes are then rebuilt in memory only. */
  readonly readOnly: boolean
  /** Id of the log's topic, which another topic of its name may replace; absent if unknown. */
  readonly topicId?: string | undefined
  /** Where small reads keep what they have learned; absent if nowhere. */
  readonly batchCache?: BatchCache
}

/** What is checked of every batch when a segment is recovered. */
export interface RecoverChecks extends Pick<ScanRange, 'objection'> {
  /** Whether no batch may leave a gap before it. */
  readonly isDense?: boolean
  /**
   * Called for every batch that is read; again from the start of the segment if the index files
   * turn out to be wrong.
   */
  readonly onBatch?: (batch: RecordBatch, position: number) => unknown
}
