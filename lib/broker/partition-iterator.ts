import { OffsetOutOfRangeError } from '../errors.ts'
import type { Clock } from '../platform/clock.ts'
import { decodeRecords, type StoredRecord } from '../record/decode.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import { fetchBatches, type FetchLimits } from './delayed-fetch.ts'
import type { Partition } from './partition.ts'

/** Which records a {@link PartitionIterator} goes through, and what ends it. */
export interface IterationRange {
  readonly from: number | 'earliest'
  /** Exclusive. */
  readonly end: number
  /** Limit on the stored size of what is in memory at once. */
  readonly maxBytes: number
  /** How long one wait for records may take. */
  readonly maxWaitMs: number
  readonly signal: AbortSignal | undefined
}

type Result = IteratorResult<StoredRecord, void>

/**
 * Goes through the records of a partition one by one, and behaves like an async generator: calls
 * may overlap and are answered one after the other, and an error ends it.
 *
 * A generator takes several promises and turns of the queue for each record. Here a record of a
 * batch that is decoded takes one promise, which is settled from the start.
 */
export class PartitionIterator implements AsyncGenerator<StoredRecord, void, undefined> {
  readonly #clock: Clock
  readonly #partition: Partition
  readonly #range: IterationRange
  readonly #limits: FetchLimits
  /** Of the next batch to fetch; `null` before the first record was asked for. */
  #offset: number | null = null
  #batches: readonly RecordBatch[] = []
  #batchSlot = 0
  #records: readonly StoredRecord[] = []
  #recordSlot = 0
  #isOver = false
  /** The last call that waits. */
  #waiting: Promise<Result> | null = null

  constructor(clock: Clock, partition: Partition, range: IterationRange) {
    const { maxBytes, maxWaitMs, signal } = range
    this.#clock = clock
    this.#partition = partition
    this.#range = range
    this.#limits = { minBytes: 1, maxBytes, maxWaitMs, signal }
  }

  next(): Promise<Result> {
    if (this.#waiting === null) {
      const value = this.#records[this.#recordSlot]
      if (value !== undefined && this.#range.signal?.aborted !== true) {
        this.#recordSlot += 1
        return Promise.resolve({ done: false, value })
      }
    }
    return this.#inTurn(() => this.#advance())
  }

  return(): Promise<Result> {
    return this.#inTurn(() => {
      this.#end()
      return Promise.resolve({ done: true, value: undefined })
    })
  }

  throw(error: unknown): Promise<Result> {
    return this.#inTurn(() => {
      this.#end()
      throw error
    })
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return()
  }

  /** Runs `task` once all calls before it are answered. */
  #inTurn(task: () => Promise<Result>): Promise<Result> {
    const before = this.#waiting
    const run = async (): Promise<Result> => task()
    const waiting = before === null ? run() : before.then(run, run)
    this.#waiting = waiting
    const settled = (): void => {
      if (this.#waiting === waiting) this.#waiting = null
    }
    waiting.then(settled, settled)
    return waiting
  }

  async #advance(): Promise<Result> {
    try {
      while (!this.#isOver) {
        const value = this.#records[this.#recordSlot]
        if (value !== undefined) {
          this.#range.signal?.throwIfAborted()
          this.#recordSlot += 1
          return { done: false, value }
        }
        await this.#load()
      }
    } catch (error) {
      this.#end()
      throw error
    }
    return { done: true, value: undefined }
  }

  /** Decodes the next batch, fetches some when there is none, or ends. */
  async #load(): Promise<void> {
    const { from, end } = this.#range
    if (this.#offset === null) {
      this.#offset = from === 'earliest' ? this.#partition.logStartOffset : from
      // With nothing to read up to `end` nobody else would look at it.
      ensureInLog(this.#partition, this.#offset)
    }
    const batch = this.#batches[this.#batchSlot]
    if (this.#offset >= end) this.#end()
    else if (batch === undefined) await this.#fetch(this.#offset)
    else {
      const place = this.#partition.log
      const decoding = decodeRecords(batch, place, { fromOffset: this.#offset })
      const records = Array.isArray(decoding) ? decoding : await decoding
      this.#batchSlot += 1
      this.#offset = batch.nextOffset
      this.#records =
        batch.nextOffset > end ? records.filter(({ offset }) => offset < end) : records
      this.#recordSlot = 0
    }
  }

  async #fetch(offset: number): Promise<void> {
    const partition = this.#partition
    const { maxBytes } = this.#range
    const { highWatermark } = partition
    // What is not there below it never comes.
    const limits = offset < highWatermark ? { ...this.#limits, maxWaitMs: 0 } : this.#limits
    const requests = [{ partition, offset, maxBytes }]
    const [response] = await fetchBatches(this.#clock, requests, limits)
    const { failure } = partition.log
    // What it waits for, or has even seen on a relaxed topic, never comes.
    if (failure !== null && offset >= partition.logEndOffset) throw failure
    if (response?.error != null) throw response.error
    this.#batches = response?.batches ?? []
    this.#batchSlot = 0
    if (this.#batches.length === 0) {
      // The offsets from here on are those of a batch that was cut, or of records that compaction has
      // removed. Where the log was cut meanwhile, others may still come in their place.
      this.#offset = Math.max(offset, Math.min(highWatermark, partition.highWatermark))
    }
  }

  /** Nothing of what was read is kept. */
  #end(): void {
    this.#isOver = true
    this.#batches = []
    this.#records = []
  }
}

function ensureInLog(partition: Partition, offset: number): void {
  const { topic, index, logStartOffset, logEndOffset } = partition
  if (offset >= logStartOffset && offset <= logEndOffset) return
  throw new OffsetOutOfRangeError({
    topic,
    partition: index,
    offset,
    logStartOffset,
    logEndOffset,
  })
}
