import type { RecordBatch } from '../record/record-batch.ts'
import { BatchReader, headerOrNone } from './batch-reader.ts'
import type { LogSegment } from './log-segment.ts'
import { findBatchByTimestamp, findMaxTimestamp, type LargestTimestamp } from './time-search.ts'

/** The timestamps of one segment's records, as far as somebody has needed them. */
export class SegmentTimes {
  /** Largest timestamp of the first batch; `null` if there is none, or it was not read. */
  ofFirstBatch: number | null = null
  readonly #segment: LogSegment
  /** The last result, and the size that the segment had then. */
  #found: { readonly sizeBytes: number; readonly largest: LargestTimestamp } | null = null

  constructor(segment: LogSegment) {
    this.#segment = segment
  }

  /** The result of {@link SegmentTimes.largest} until something is appended; `null` for none. */
  get known(): LargestTimestamp | null {
    return this.#found?.sizeBytes === this.#segment.sizeBytes ? this.#found.largest : null
  }

  /**
   * Whether an earlier search has found that all records are older. A sealed segment does not
   * change, so searches need not open it again.
   */
  areOlderThan(timestamp: number): boolean {
    const { known } = this
    return known?.isProven === true && known.max.timestamp < timestamp
  }

  /**
   * See {@link findBatchByTimestamp}; `null` if every record is older. If damage prevents a proof
   * of that, the search continues up to the damage.
   */
  findFirst(timestamp: number, startOffset: number): Promise<RecordBatch | null> {
    const segment = this.#segment
    return segment.file.use(async (file) => {
      const { max, isProven } = await this.largest()
      if (isProven && max.timestamp < timestamp) return null
      return findBatchByTimestamp(segment.view(file), timestamp, startOffset)
    })
  }

  /**
   * Largest known timestamp, and last offset of the earliest batch that has it; timestamp -1 for
   * none. Records are deleted by it, so the claim of the time index is compared with the log. The
   * result holds until something is appended.
   */
  largest(): Promise<LargestTimestamp> {
    const segment = this.#segment
    return segment.file.use(async (file) => {
      await segment.held.loadTimes()
      const { indexes } = segment
      const { known } = this
      if (known !== null) return known
      for (let claim = indexes.unprovenMax; claim !== null; claim = indexes.unprovenMax) {
        const view = segment.view(file)
        const found = await findMaxTimestamp(view, claim)
        // It may have been proven in the meantime, or the segment truncated.
        if (indexes.unprovenMax !== claim) continue
        if (!found.isProven) return this.#keep(view.sizeBytes, found)
        indexes.proveMax(found.max)
      }
      return this.#keep(segment.sizeBytes, { max: indexes.max, isProven: true })
    })
  }

  #keep(sizeBytes: number, largest: LargestTimestamp): LargestTimestamp {
    this.#found = { sizeBytes, largest }
    return largest
  }

  /** Notes that the segment was truncated, wholly or in part. */
  truncated(): void {
    this.#found = null
    if (this.#segment.sizeBytes === 0) this.ofFirstBatch = null
  }

  /** Timestamp that a roll by time counts from: the largest of the first batch; -1 for none. */
  async first(): Promise<number> {
    const { sizeBytes, file } = this.#segment
    if (sizeBytes === 0) return -1
    this.ofFirstBatch ??= await file.use(async (open) => {
      return (await headerOrNone(new BatchReader(open, 0, sizeBytes), 0))?.maxTimestamp ?? -1
    })
    return this.ofFirstBatch
  }

  /**
   * When the segment was begun, as its file tells, for first timestamps that cannot be right. A
   * copy has a later creation time, and compaction keeps the modification time.
   */
  async begunMs(): Promise<number> {
    const { modifiedMs, createdMs = modifiedMs } = await this.#segment.file.use((file) =>
      file.stat(),
    )
    return Math.min(createdMs, modifiedMs)
  }
}
