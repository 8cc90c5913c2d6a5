import type { RecordBatch } from '../record/record-batch.ts'
import { BatchReader, headerOrNone } from './batch-reader.ts'
import type { LogSegment } from './log-segment.ts'
import type { TimestampOffset } from './time-index.ts'
import { findBatchByTimestamp, findMaxTimestamp, type LargestTimestamp } from './time-search.ts'

/** The timestamps of one segment's records, as far as somebody has asked for them. */
export class SegmentTimes {
  /** Largest timestamp of the first batch; `null` while there is none, or nobody has read it. */
  ofFirstBatch: number | null = null
  readonly #segment: LogSegment
  /** What somebody has found, and the size that the segment had then. */
  #found: { readonly sizeBytes: number; readonly largest: LargestTimestamp } | null = null

  constructor(segment: LogSegment) {
    this.#segment = segment
  }

  /** What {@link SegmentTimes.largest} has found, as long as nothing is appended since; `null` for nothing. */
  get known(): LargestTimestamp | null {
    return this.#found?.sizeBytes === this.#segment.sizeBytes ? this.#found.largest : null
  }

  /**
   * Whether a search has found before that all records are older. What is sealed stays as it is, so searches
   * need not open it again.
   */
  areOlderThan(timestamp: number): boolean {
    const { known } = this
    return known?.isProven === true && known.max.timestamp < timestamp
  }

  /**
   * See {@link findBatchByTimestamp}; `null` when no record is as young. Where damage keeps that from
   * being proven, the search goes on to the damage.
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
   * Largest timestamp, as far as it is known, and the last offset of the earliest batch that has it;
   * timestamp -1 for none. What the time index says is compared with the log, once as long as nothing is
   * appended: records are deleted by it.
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
        // Somebody else may have proven it meanwhile, or cut the segment.
        if (indexes.unprovenMax !== claim) continue
        if (!found.isProven) return this.#keep(view.sizeBytes, found)
        indexes.proveMax(found.max)
      }
      return this.#keep(segment.sizeBytes, { max: indexes.max, isProven: true })
    })
  }

  /** {@link SegmentTimes.largest}, whether it is proven or not. */
  async max(): Promise<TimestampOffset> {
    return (await this.largest()).max
  }

  #keep(sizeBytes: number, largest: LargestTimestamp): LargestTimestamp {
    this.#found = { sizeBytes, largest }
    return largest
  }

  /** The segment was cut, to nothing or to some of it. */
  truncated(): void {
    this.#found = null
    if (this.#segment.sizeBytes === 0) this.ofFirstBatch = null
  }

  /** Timestamp that a roll by time counts from: the largest of the first batch; -1 when there is none. */
  async first(): Promise<number> {
    const { sizeBytes, file } = this.#segment
    if (sizeBytes === 0) return -1
    this.ofFirstBatch ??= await file.use(async (open) => {
      return (await headerOrNone(new BatchReader(open, 0, sizeBytes), 0))?.maxTimestamp ?? -1
    })
    return this.ofFirstBatch
  }

  /**
   * When the segment was begun, as far as its file tells, for where the first timestamp cannot be right. A
   * copy is younger than what it was copied from, and compaction leaves the last modification.
   */
  async begunMs(): Promise<number> {
    const { modifiedMs, createdMs = modifiedMs } = await this.#segment.file.use((file) =>
      file.stat(),
    )
    return Math.min(createdMs, modifiedMs)
  }
}
