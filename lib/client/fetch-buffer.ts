import { errorOf } from '../checks.ts'
import type { Partition } from '../broker/partition.ts'
import { decodeRecords, type StoredRecord } from '../record/decode.ts'
import { totalSizeBytes, type RecordBatch } from '../record/record-batch.ts'
import type { AssignedPartition } from './assigned-partition.ts'

/** What a read has found. */
interface Fetched {
  /** Consecutive; the first one contains the position, or begins after it. */
  readonly batches: readonly RecordBatch[]
  readonly error: Error | null
  /** State of the log before the read. */
  readonly seen: LogSight
}

/** What changes when records of a log are removed or replaced, or when its damage ends. */
export interface LogSight {
  /** See `LogReader.generation`. */
  readonly generation: number
  readonly damage: Error | null
}

/** Replaces the records of a batch that is finished. */
const NOTHING: readonly StoredRecord[] = []

/**
 * What was read from one partition and is not returned yet: batches, decoded as needed, and at most
 * one error after the last of them.
 *
 * Taking records advances the partition's position. If something else moves the position, the
 * buffer is stale and must be discarded. Calls of `decode` must not overlap.
 */
export class FetchBuffer {
  readonly state: AssignedPartition
  /** Stored size of everything read. It stays in memory until the last record is taken. */
  readonly sizeBytes: number
  readonly #source: Partition
  readonly #seen: LogSight
  readonly #lastMove: number
  readonly #batches: RecordBatch[]
  /** Records of the decoded batches, at the same indexes. */
  readonly #decoded: (readonly StoredRecord[])[] = []
  #error: Error | null
  #slot = 0
  /** Leader epoch of the current batch; -1 without one. */
  #leaderEpoch: number
  /** Index of the next record in the current batch. */
  #recordSlot = 0
  #position: number
  #readyCount = 0
  /** High watermark when something was reported; `null` if nothing was. */
  #endAtFailure: number | null = null
  /** Records taken since the partition's last turn. */
  servedCount = 0

  constructor(state: AssignedPartition, position: number, source: Partition, fetched: Fetched) {
    this.state = state
    this.#position = position
    this.#source = source
    this.#seen = fetched.seen
    this.#lastMove = state.lastMove
    this.#batches = [...fetched.batches]
    this.#leaderEpoch = fetched.batches[0]?.partitionLeaderEpoch ?? -1
    this.#error = fetched.error
    this.sizeBytes = totalSizeBytes(fetched.batches)
  }

  /** Whether the partition is still assigned, with its position where this buffer continues. */
  get isCurrent(): boolean {
    const { position, source, lastMove, isGivenUp } = this.state
    if (isGivenUp) return false
    // A seek to the current position counts too: a deserializer may request its own record again.
    return position === this.#position && source === this.#source && lastMove === this.#lastMove
  }

  /** Records that can be taken without decoding more. */
  get readyCount(): number {
    return this.#readyCount
  }

  /** Whether everything has been taken. */
  get isDrained(): boolean {
    return this.#slot === this.#batches.length && this.#error === null
  }

  /** The error, once everything before it has been taken. */
  get error(): Error | null {
    return this.#slot === this.#batches.length ? this.#error : null
  }

  /** Whether the next offset is below the log start, as after damaged records were deleted. */
  get isBelowLogStart(): boolean {
    return this.#source.logStartOffset > this.#position
  }

  /** Called when the error, or that of a deserializer, is thrown. */
  noteFailure(): void {
    // If another process removes what has failed, only a look tells: asking for the end begins one.
    this.#endAtFailure = this.#source.highWatermark
  }

  /**
   * Whether what has failed may be gone: records were removed or replaced since the read, or the
   * damage of the log has ended. The partition then has to be read again.
   */
  get isOutdated(): boolean {
    if (this.#endAtFailure === null) return false
    const { highWatermark, log } = this.#source
    if (this.isBelowLogStart || highWatermark < this.#endAtFailure) return true
    return log.damage !== this.#seen.damage || log.reader.generation !== this.#seen.generation
  }

  /**
   * Decodes until `count` records are ready or no batch is left. A damaged batch becomes the error.
   *
   * @returns `null` when done; that is immediate except for compressed batches
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
   * Returns the next record without taking it. Skips batches without records.
   *
   * @returns `null` when more has to be decoded first, or only the error is left
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

  /** Takes the record that {@link FetchBuffer.peek} has returned. */
  skip(record: StoredRecord): void {
    const { offset } = record
    this.#recordSlot += 1
    this.#readyCount -= 1
    this.servedCount += 1
    if (this.#recordSlot === this.#decoded[this.#slot]?.length) this.#leaveBatch(offset)
    else this.#moveTo(offset + 1, offset)
  }

  /**
   * Takes records until `taken` has `mostCount` of them, more has to be decoded first, or only the
   * error is left. They are counted together, because no user code runs in between.
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

  /** @param handedOut offset of its last record, if that was just taken; otherwise `null` */
  #leaveBatch(handedOut: number | null = null): void {
    const batch = this.#batches[this.#slot]
    this.#decoded[this.#slot] = NOTHING
    this.#slot += 1
    this.#recordSlot = 0
    if (batch === undefined) return
    // A batch may cover offsets after its last record: a marker, or records that compaction has
    // removed.
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
