import { errorOf } from '../checks.ts'
import type { Partition } from '../broker/partition.ts'
import { decodeRecords, type StoredRecord } from '../record/decode.ts'
import { totalSizeBytes, type RecordBatch } from '../record/record-batch.ts'
import type { AssignedPartition } from './assigned-partition.ts'

/** Stands for the records of a batch that has been left. */
const NOTHING: readonly StoredRecord[] = []

/**
 * What was read of one partition and is not handed out yet: batches, decoded as they are needed,
 * and at most one error behind the last of them.
 *
 * Handing out moves the partition's position along. When somebody else moves it the buffer is
 * stale, and is to be thrown away. Calls of `decode` must not overlap.
 */
export class FetchBuffer {
  readonly state: AssignedPartition
  /** Stored size of all that was read: it is in memory until the last of it is handed out. */
  readonly sizeBytes: number
  readonly #source: Partition
  readonly #moveCount: number
  readonly #batches: RecordBatch[]
  /** Records of the batches that have been decoded, in the same slots. */
  readonly #decoded: (readonly StoredRecord[])[] = []
  #error: Error | null
  #slot = 0
  /** Leader epoch of the batch in the current slot; -1 where there is none. */
  #leaderEpoch: number
  /** Of the next record in the current slot. */
  #recordSlot = 0
  #position: number
  #readyCount = 0
  /** Records handed out since the partition had its turn last. */
  servedCount = 0

  /** @param batches consecutive, the first one holds the position of `state` or lies behind it */
  constructor(
    state: AssignedPartition,
    position: number,
    source: Partition,
    fetched: { readonly batches: readonly RecordBatch[]; readonly error: Error | null },
  ) {
    this.state = state
    this.#position = position
    this.#source = source
    this.#moveCount = state.moveCount
    this.#batches = [...fetched.batches]
    this.#leaderEpoch = fetched.batches[0]?.partitionLeaderEpoch ?? -1
    this.#error = fetched.error
    this.sizeBytes = totalSizeBytes(fetched.batches)
  }

  /** Whether the consumer has the partition yet, and it still stands where this buffer goes on. */
  get isCurrent(): boolean {
    const { position, source, moveCount, isGivenUp } = this.state
    if (isGivenUp) return false
    // A seek to where it stands is one as well: a deserializer may ask for its own record again.
    return position === this.#position && source === this.#source && moveCount === this.#moveCount
  }

  /** Records that can be handed out without decoding more. */
  get readyCount(): number {
    return this.#readyCount
  }

  /** Whether everything has been handed out. */
  get isDrained(): boolean {
    return this.#slot === this.#batches.length && this.#error === null
  }

  /** The error, once everything before it has been handed out. */
  get error(): Error | null {
    return this.#slot === this.#batches.length ? this.#error : null
  }

  /** Whether records below the log's start are all there is, as when damage has been deleted. */
  get isBelowLogStart(): boolean {
    return this.#source.logStartOffset > this.#position
  }

  /**
   * Decodes until `count` records are ready or no batch is left. A damaged batch becomes the error.
   *
   * @returns `null` where that is done, as it is at once but for batches that are compressed
   */
  decode(count: number): Promise<unknown> | null {
    while (this.#readyCount < count) {
      const batch = this.#batches[this.#decoded.length]
      if (batch === undefined) return null
      const decoding = this.#decodeBatch(batch)
      if (decoding !== null) return decoding.then(() => this.decode(count))
    }
    return null
  }

  #decodeBatch(batch: RecordBatch): Promise<unknown> | null {
    const add = (records: readonly StoredRecord[]): void => {
      this.#decoded.push(records)
      this.#readyCount += records.length
    }
    const fail = (error: unknown): void => {
      this.#endBefore(batch, errorOf(error))
    }
    try {
      const decoding = decodeRecords(batch, this.state, { fromOffset: this.#position })
      if (!Array.isArray(decoding)) return decoding.then(add, fail)
      add(decoding)
    } catch (error) {
      fail(error)
    }
    return null
  }

  /**
   * The next record, without handing it out. Steps over batches that hold none.
   *
   * @returns `null` when more has to be decoded first, or there is nothing but the error
   */
  peek(): StoredRecord | null {
    for (;;) {
      const records = this.#decoded[this.#slot]
      if (records === undefined) return null
      const record = records[this.#recordSlot]
      if (record !== undefined) return record
      this.#leaveBatch()
    }
  }

  /** Counts the record that {@link FetchBuffer.peek} has returned as handed out. */
  skip(record: StoredRecord): void {
    const { offset } = record
    this.#recordSlot += 1
    this.#readyCount -= 1
    this.servedCount += 1
    if (this.#recordSlot === this.#decoded[this.#slot]?.length) this.#leaveBatch(offset)
    else this.#moveTo(offset + 1, offset)
  }

  /**
   * Hands out records until there are `mostCount` in `taken`, or more has to be decoded first, or there is
   * nothing but the error. They are counted together, as nobody is asked in between.
   */
  takeInto(taken: StoredRecord[], mostCount: number): void {
    while (taken.length < mostCount && this.peek() !== null) {
      const records = this.#decoded[this.#slot] ?? NOTHING
      const last = Math.min(records.length, this.#recordSlot + mostCount - taken.length) - 1
      for (let slot = this.#recordSlot; slot <= last; slot += 1) {
        taken.push(records[slot] as StoredRecord)
      }
      const before = records[last - 1]
      const countBefore = last - this.#recordSlot
      if (before !== undefined && countBefore > 0) {
        this.#recordSlot = last
        this.#readyCount -= countBefore
        this.servedCount += countBefore
        this.#moveTo(before.offset + 1, before.offset)
      }
      this.skip(records[last] as StoredRecord)
    }
  }

  /** @param handedOut the record that was the last in it; `null` where there was none */
  #leaveBatch(handedOut: number | null = null): void {
    const batch = this.#batches[this.#slot]
    this.#decoded[this.#slot] = NOTHING
    this.#slot += 1
    this.#recordSlot = 0
    if (batch === undefined) return
    // Offsets behind the last record of a batch may be taken too: by a marker, or by records that
    // compaction has removed.
    this.#moveTo(Math.max(this.#position, batch.nextOffset), handedOut)
    this.#leaderEpoch = this.#batches[this.#slot]?.partitionLeaderEpoch ?? -1
  }

  #moveTo(position: number, handedOut: number | null): void {
    this.#position = position
    this.state.moveTo(position, this.#leaderEpoch)
    if (handedOut !== null) this.state.seenTopicId = this.state.topicId
  }

  #endBefore(batch: RecordBatch, error: Error): void {
    this.#batches.length = this.#batches.indexOf(batch)
    this.#error = error
  }
}

/** Stored size of all that was read. */
export function bytesIn(buffers: Iterable<FetchBuffer>): number {
  let sizeBytes = 0
  for (const buffer of buffers) sizeBytes += buffer.sizeBytes
  return sizeBytes
}
