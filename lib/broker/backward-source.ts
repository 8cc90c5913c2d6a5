import { promptIo } from '../platform/prompt-io.ts'
import { decodeRecords, type StoredRecord } from '../record/decode.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import { ensureInLog, ensureNotCut, epochOf, refuseUnknownEnd } from './iteration-place.ts'
import type { RecordSource } from './partition-iterator.ts'
import type { Partition } from './partition.ts'

/** Size of one read: about as much as one synchronous call of the file system can read. */
export const PIECE_BYTES: number = 64 * 1024

/** The records that a {@link BackwardSource} returns. */
export interface BackwardRange {
  readonly from: number | 'earliest'
  /** Exclusive; records that are not visible are left out. */
  readonly until: number | 'end'
  /**
   * End of the visible records. If another process appends, its log is refreshed before the first
   * record.
   */
  readonly visibleEnd: number
  readonly signal?: AbortSignal | undefined
}

/**
 * Returns the records of a partition in descending offset order, and never waits for new ones. One
 * piece of the log is in memory at a time; its batches are decoded one by one, the last one first.
 */
export class BackwardSource implements RecordSource {
  readonly #partition: Partition
  readonly #range: BackwardRange
  /** The lowest wanted offset; `null` until the first record is requested. */
  #from: number | null = null
  /** Everything from here on was returned. */
  #end = 0
  /** Leader epoch of the last batch; `null` before the first, or if the batch has none. */
  #epoch: number | null = null
  #batches: RecordBatch[] = []

  constructor(partition: Partition, range: BackwardRange) {
    this.#partition = partition
    this.#range = range
  }

  /** Decodes the last batch that was not yet returned, reads some if there is none, or ends. */
  async load(): Promise<readonly StoredRecord[] | null> {
    const partition = this.#partition
    const { signal } = this.#range
    if (this.#from === null) {
      const looking = partition.lookBehind(Infinity)
      if (looking !== null) await looking
      // With nothing to read, nothing else notices these.
      signal?.throwIfAborted()
      partition.ensureOpen()
      const from = this.#begin(looking !== null)
      const { until } = this.#range
      const isToEnd = until === 'end' || until > this.#end
      const refusal = isToEnd ? refuseUnknownEnd(partition, this.#end) : null
      if (refusal !== null) await refusal
      this.#from = from
    }
    if (this.#end <= this.#from) return null
    const turn = promptIo.turnIfDue()
    if (turn !== null) await turn
    signal?.throwIfAborted()
    const batch = this.#batches.pop()
    if (batch === undefined) {
      const limits = { fromOffset: this.#from, maxBytes: PIECE_BYTES }
      this.#batches = [...(await partition.readBatchesBefore(this.#end, limits))]
      ensureNotCut(partition, this.#epoch, this.#end)
      // Compaction has left nothing between here and the start, which may have moved: then the next
      // read reports it.
      if (this.#batches.length === 0) this.#end = Math.max(this.#from, partition.logStartOffset)
      return []
    }
    // Since the first record was requested, records may have been deleted, up to the middle of a
    // batch.
    const fromOffset = Math.max(this.#from, partition.logStartOffset)
    const decoding = decodeRecords(batch, partition.log, { fromOffset })
    const records = Array.isArray(decoding) ? decoding : await decoding
    this.#epoch = epochOf(batch)
    const end = this.#end
    this.#end = Math.min(end, Math.max(batch.baseOffset, fromOffset))
    const wanted = batch.nextOffset > end ? records.filter(({ offset }) => offset < end) : records
    return wanted.reverse()
  }

  end(): void {
    this.#batches = []
  }

  #begin(hasLooked: boolean): number {
    const { from, until } = this.#range
    const { logStartOffset, highWatermark } = this.#partition
    const visibleEnd = hasLooked ? highWatermark : this.#range.visibleEnd
    this.#end = until === 'end' ? visibleEnd : Math.min(until, visibleEnd)
    const offset = from === 'earliest' ? logStartOffset : from
    ensureInLog(this.#partition, offset)
    return offset
  }
}
