import type { FileSystem } from '../platform/file-system.ts'
import { RECORD_BATCH_OVERHEAD } from '../record/record-batch.ts'
import { OffsetIndex, type OffsetPosition } from './offset-index.ts'
import { TimeIndex, type TimestampOffset } from './time-index.ts'

/** Where the indexes of a segment are, how dense they are, and how large they may become. */
export interface SegmentIndexesOptions {
  readonly fileSystem: FileSystem
  readonly baseOffset: number
  readonly offsetIndexPath: string
  readonly timeIndexPath: string
  readonly indexIntervalBytes: number
  readonly segmentIndexBytes: number
}

/** What the indexes need to know of a batch. */
export interface IndexedBatch {
  readonly lastOffset: number
  readonly maxTimestamp: number
  readonly sizeBytes: number
}

/**
 * Both indexes of one segment, and the counters that decide when an entry is added.
 *
 * Index files have no checksum, so their entries are only hints, which are compared with the batch
 * that they name before use. {@link SegmentIndexes.max} is such a hint too until it is proven.
 *
 * Loads and writes must not overlap; the other calls are synchronous.
 */
export class SegmentIndexes {
  readonly offsetIndex: OffsetIndex
  readonly timeIndex: TimeIndex
  /** Whether damage hides batches after the last time entry, so that none may be added. */
  isBlind = false
  readonly #baseOffset: number
  readonly #intervalBytes: number
  #bytesSinceEntry = 0
  #max: TimestampOffset
  #unprovenMax: TimestampOffset | null = null
  /** Largest timestamp of the batches noted since `#max` became unproven. */
  #maxSince: TimestampOffset | null = null

  constructor(options: SegmentIndexesOptions) {
    const { fileSystem, baseOffset, segmentIndexBytes: maxIndexBytes } = options
    const common = { fileSystem, baseOffset, maxIndexBytes }
    this.offsetIndex = new OffsetIndex({ path: options.offsetIndexPath, ...common })
    this.timeIndex = new TimeIndex({ path: options.timeIndexPath, ...common })
    this.#baseOffset = baseOffset
    this.#intervalBytes = options.indexIntervalBytes
    this.#max = { timestamp: -1, offset: baseOffset }
  }

  /** Largest timestamp and last offset of the earliest batch that has it; timestamp -1 for none. */
  get max(): TimestampOffset {
    return this.#max
  }

  /** The claim that `max` rests on besides the batches noted since; `null` if it is proven. */
  get unprovenMax(): TimestampOffset | null {
    return this.#unprovenMax
  }

  set unprovenMax(claim: TimestampOffset | null) {
    this.#unprovenMax = claim
    this.#maxSince = null
  }

  /** Takes the proven maximum of what was there when `max` became unproven, or of more. */
  proveMax(max: TimestampOffset): void {
    const since = this.#maxSince
    this.#max = since !== null && since.timestamp > max.timestamp ? since : max
    this.unprovenMax = null
  }

  /** Whether one of the indexes is full, so that the segment has to be rolled. */
  get isFull(): boolean {
    return this.offsetIndex.isFull || this.timeIndex.isFull
  }

  /**
   * Whether `batchCount` more batches, of `sizeBytes` bytes together, may fill the indexes. Each
   * batch gets one entry at most, and there are more bytes than the interval between two entries.
   */
  mayBeFullBehind(batchCount: number, sizeBytes: number): boolean {
    const { offsetIndex, timeIndex } = this
    const offsetsLeft = offsetIndex.maxEntries - offsetIndex.count
    // One slot stays free for the entry that a roll adds.
    const timesLeft = timeIndex.maxEntries - 1 - timeIndex.count
    const left = offsetsLeft < timesLeft ? offsetsLeft : timesLeft
    if (batchCount < left) return false
    return (this.#bytesSinceEntry + sizeBytes) / (this.#intervalBytes + 1) >= left
  }

  /**
   * Reads both files. If one of them is missing or is not an index, both are empty afterwards.
   *
   * @returns whether both could be read.
   */
  async load(): Promise<boolean> {
    return this.#take([await this.offsetIndex.load(), await this.timeIndex.load()])
  }

  /** Like {@link SegmentIndexes.load}, for the last entries only; see {@link IndexFile.loadEnd}. */
  async loadEnd(): Promise<boolean> {
    return this.#take([await this.offsetIndex.loadEnd(), await this.timeIndex.loadEnd()])
  }

  /** Memory that both take, in bytes. */
  get memoryBytes(): number {
    return this.offsetIndex.memoryBytes + this.timeIndex.memoryBytes
  }

  /** Whether all entries of both indexes are in memory. */
  get isComplete(): boolean {
    return this.offsetIndex.isComplete && this.timeIndex.isComplete
  }

  /** Whether both files exist and are up to date with memory. */
  get isWritten(): boolean {
    return this.offsetIndex.isWritten && this.timeIndex.isWritten
  }

  #take(results: readonly boolean[]): boolean {
    const isLoaded = !results.includes(false)
    if (!isLoaded) this.clear()
    return isLoaded
  }

  /** Whether the entries may belong to a log file of this size that ends at this offset. */
  fit(sizeBytes: number, nextOffset: number): boolean {
    const { position } = this.offsetIndex.lastEntry
    if (this.offsetIndex.count > 0 && position >= sizeBytes) return false
    // Each entry names a different batch.
    if (this.offsetIndex.count * RECORD_BATCH_OVERHEAD > sizeBytes) return false
    return Math.max(this.offsetIndex.lastOffset, this.timeIndex.lastEntry.offset) <= nextOffset
  }

  /**
   * Whether there are entries of offsets and none of time. If the first batch has a timestamp, the
   * time index has lost its entries: the first entry of offsets came with one of time.
   */
  get lacksTimes(): boolean {
    return this.timeIndex.count === 0 && this.offsetIndex.count > 0
  }

  /** Drops all entries. The files follow with the next {@link SegmentIndexes.write}. */
  clear(): void {
    this.offsetIndex.clear()
    this.timeIndex.clear()
  }

  /** Drops all entries at or above `offset`. The largest timestamp must then be found again. */
  truncateTo(offset: number): void {
    this.offsetIndex.truncateTo(offset)
    this.timeIndex.truncateTo(offset)
  }

  /**
   * Goes back to the last entry: the batches from there on have to be noted again.
   *
   * @returns the position to continue from, and the lowest offset that the batch there can have.
   */
  rewind(): { position: number; lowestOffset: number } {
    const { count } = this.offsetIndex
    this.#bytesSinceEntry = 0
    this.isBlind = false
    const isFromStart = count === 0
    this.#max = isFromStart ? { timestamp: -1, offset: this.#baseOffset } : this.timeIndex.lastEntry
    this.unprovenMax = isFromStart ? null : this.timeIndex.lastEntry
    return {
      position: isFromStart ? 0 : this.offsetIndex.lastEntry.position,
      lowestOffset: count < 2 ? this.#baseOffset : this.offsetIndex.entry(count - 2).offset + 1,
    }
  }

  /** Notes the batch at `position`, which follows the last one that was noted. */
  note(batch: IndexedBatch, position: number): void {
    const { lastOffset, maxTimestamp } = batch
    if (maxTimestamp > this.#max.timestamp) {
      this.#max = { timestamp: maxTimestamp, offset: lastOffset }
    }
    if (this.#unprovenMax !== null && maxTimestamp > (this.#maxSince?.timestamp ?? -1)) {
      this.#maxSince = { timestamp: maxTimestamp, offset: lastOffset }
    }
    if (this.#bytesSinceEntry > this.#intervalBytes && this.#hasRoomBehind(lastOffset)) {
      this.offsetIndex.append(lastOffset, position)
      if (!this.isBlind && this.#max.offset >= this.timeIndex.lastEntry.offset) {
        this.timeIndex.maybeAppend(this.#max.timestamp, this.#max.offset)
      }
      this.#bytesSinceEntry = 0
    }
    this.#bytesSinceEntry += batch.sizeBytes
  }

  /** Adds the entry with the largest timestamp of the whole segment. */
  addFinalTimeEntry(): void {
    const { timestamp, offset } = this.#max
    const { count, maxEntries, lastEntry } = this.timeIndex
    if (!this.isBlind && count < maxEntries && offset >= lastEntry.offset) {
      this.timeIndex.maybeAppend(timestamp, offset, true)
    }
  }

  /** Marks what was read from both files as covered by a sync. */
  noteSynced(): void {
    this.offsetIndex.noteSynced()
    this.timeIndex.noteSynced()
  }

  /** Makes both files durable. @returns whether a name was added to the directory. */
  async write(): Promise<boolean> {
    const isNewOffsetIndex = await this.offsetIndex.write()
    const isNewTimeIndex = await this.timeIndex.write()
    return isNewOffsetIndex || isNewTimeIndex
  }

  /** Where to start on the way to `offset`, and the lowest offset there; `null` for no entry. */
  lookup(offset: number): { entry: OffsetPosition; lowestOffset: number } | null {
    const slot = this.offsetIndex.slotOf(offset)
    if (slot < 0) return null
    return {
      entry: this.offsetIndex.entry(slot),
      lowestOffset: slot === 0 ? this.#baseOffset : this.offsetIndex.entry(slot - 1).offset + 1,
    }
  }

  /**
   * A position at or after the end of the batch that holds the last offset below `endOffset`;
   * `null` if no entry tells.
   */
  positionBehind(endOffset: number): number | null {
    // The first entry at or above that offset names its batch or a later one.
    const slot = this.offsetIndex.slotOf(endOffset - 2) + 2
    return slot < this.offsetIndex.count ? this.offsetIndex.entry(slot).position : null
  }

  /**
   * Kafka up to 4.0 indexes an append of several batches as one, under its last offset. The batches
   * in the middle of it are below the last entry.
   */
  #hasRoomBehind(lastOffset: number): boolean {
    return (
      !this.isFull && (this.offsetIndex.count === 0 || lastOffset > this.offsetIndex.lastOffset)
    )
  }
}
