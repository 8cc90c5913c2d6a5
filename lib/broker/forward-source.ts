import type { VarveError } from '../errors.ts'
import type { Clock } from '../platform/clock.ts'
import { decodeRecords, type StoredRecord } from '../record/decode.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import { fetchBatches, type FetchLimits } from './delayed-fetch.ts'
import { ensureInLog, ensureNotCut, epochOf, refuseDamagedEnd } from './iteration-place.ts'
import type { RecordSource } from './partition-iterator.ts'
import { DEFAULT_MAX_BYTES, DEFAULT_MAX_WAIT_MS } from './partition-reads.ts'
import type { Partition } from './partition.ts'

/** Which records a {@link ForwardSource} returns, and what ends it. */
export interface ForwardRange {
  readonly from: number | 'earliest' | 'latest'
  /** Exclusive. */
  readonly until: number | 'end'
  /**
   * Offset for `'latest'` and `'end'`. If another process appends, its log is refreshed before the
   * first record.
   */
  readonly visibleEnd: number
  readonly signal: AbortSignal | undefined
}

/** Returns the records of a partition in offset order, and waits for new ones. */
export class ForwardSource implements RecordSource {
  readonly #clock: Clock
  readonly #partition: Partition
  readonly #range: ForwardRange
  readonly #limits: FetchLimits
  /** Offset of the next batch to fetch; `null` until the first record is requested. */
  #offset: number | null = null
  /** Exclusive; known together with the first offset. */
  #end = 0
  /** Leader epoch of the batch before it, if the iteration is to return all up to the end. */
  #endEpoch: number | null = null
  /**
   * Leader epoch of the last batch or, before the first, of the batch before the end at which the
   * iteration starts. `null` before either, or if the batch has none.
   */
  #epoch: number | null = null
  /** Why the end that was known at the beginning may not have been the end; `null` if it was. */
  #unfollowed: VarveError | null = null
  #batches: readonly RecordBatch[] = []
  #batchSlot = 0
  #mayWait = true
  #endWait: () => void = () => undefined

  constructor(clock: Clock, partition: Partition, range: ForwardRange) {
    this.#clock = clock
    this.#partition = partition
    this.#range = range
    const onWake = (wake: () => void): void => {
      this.#endWait = wake
    }
    const limits = { minBytes: 1, maxBytes: DEFAULT_MAX_BYTES, maxWaitMs: DEFAULT_MAX_WAIT_MS }
    this.#limits = { ...limits, signal: range.signal, onWake }
    this.#noteEnd(range.visibleEnd)
  }

  /** Decodes the next batch, fetches more if there is none, or ends. */
  async load(): Promise<readonly StoredRecord[] | null> {
    if (this.#offset === null) {
      const looking = this.#partition.lookBehind(Infinity)
      if (looking !== null) await looking
      // With nothing to read, nothing else notices these.
      this.#range.signal?.throwIfAborted()
      this.#partition.ensureOpen()
      this.#offset = this.#begin(looking !== null)
    }
    const end = this.#end
    const batch = this.#batches[this.#batchSlot]
    if (this.#offset >= end) {
      if (this.#range.until !== 'end') return null
      if (this.#unfollowed !== null) throw this.#unfollowed
      const refusal = refuseDamagedEnd(this.#partition, end)
      if (refusal !== null) await refusal
      return null
    }
    if (batch === undefined) {
      if (!this.#mayWait && this.#offset >= this.#partition.highWatermark) return null
      await this.#fetch(this.#offset)
      return []
    }
    const place = this.#partition.log
    const decoding = decodeRecords(batch, place, { fromOffset: this.#offset })
    const records = Array.isArray(decoding) ? decoding : await decoding
    this.#batchSlot += 1
    this.#offset = batch.nextOffset
    this.#epoch = epochOf(batch)
    return batch.nextOffset > end ? records.filter(({ offset }) => offset < end) : records
  }

  stopWaiting(): void {
    this.#mayWait = false
    this.#endWait()
  }

  end(): void {
    this.#batches = []
  }

  /**
   * An iteration that starts at the end has to notice a truncation: the replacing records are new
   * as well. So has one that ends there: it must not wait for records that no longer exist.
   */
  #noteEnd(visibleEnd: number): void {
    const { from, until } = this.#range
    const epoch = this.#partition.log.reader.epochOf(visibleEnd - 1)
    if (from === 'latest') this.#epoch = epoch
    if (until === 'end') this.#endEpoch = epoch
  }

  #begin(hasLooked: boolean): number {
    const { from, until } = this.#range
    const { logStartOffset, highWatermark } = this.#partition
    const visibleEnd = hasLooked ? highWatermark : this.#range.visibleEnd
    if (hasLooked) this.#noteEnd(visibleEnd)
    this.#end = until === 'end' ? visibleEnd : until
    const offset = from === 'earliest' ? logStartOffset : from === 'latest' ? visibleEnd : from
    // If there is nothing to read up to the end, nothing else checks the offset.
    ensureInLog(this.#partition, offset)
    this.#unfollowed = this.#partition.followFailure
    return offset
  }

  async #fetch(offset: number): Promise<void> {
    const partition = this.#partition
    const { highWatermark } = partition
    const { reader } = partition.log
    const { generation } = reader
    // Records below the high watermark that are not there will never come.
    const limits = offset < highWatermark ? { ...this.#limits, maxWaitMs: 0 } : this.#limits
    const requests = [{ partition, offset, maxBytes: DEFAULT_MAX_BYTES }]
    const [response] = await fetchBatches(this.#clock, requests, limits)
    const { failure } = partition.log
    // The records it waits for, or on a relaxed topic has even seen, will never come.
    if (failure !== null && offset >= partition.logEndOffset) throw failure
    if (response?.error != null) throw response.error
    ensureNotCut(partition, this.#epoch, offset)
    this.#batches = response?.batches ?? []
    this.#batchSlot = 0
    if (this.#batches.length === 0) {
      if (offset >= highWatermark) ensureNotCut(partition, this.#endEpoch, this.#end)
      // If the log has changed meanwhile, other records may have replaced those that were there.
      if (generation !== reader.generation) return
      // The offsets from here on belong to a batch that was truncated, or to records that
      // compaction has removed.
      this.#offset = Math.max(offset, Math.min(highWatermark, partition.highWatermark))
    }
  }
}
