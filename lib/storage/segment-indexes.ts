import type { FileSystem } from '../platform/file-system.ts'
import { RECORD_BATCH_OVERHEAD } from '../record/record-batch.ts'
import type { IndexLoadResult } from './index-file.ts'
import { OffsetIndex, type OffsetPosition } from './offset-index.ts'
import { TimeIndex, type TimestampOffset } from './time-index.ts'

/** Where the indexes of a segment live, and how dense and how large they are. */
export interface SegmentIndexesOptions {
  readonly fileSystem: FileSystem
  readonly baseOffset: number
  readonly offsetIndexPath: string
  readonly timeIndexPath: string
  readonly indexIntervalBytes: number
  readonly segmentIndexBytes: number
}

/** What the indexes want to know of a batch. */
export interface IndexedBatch {
  readonly lastOffset: number
  readonly maxTimestamp: number
  readonly sizeBytes: number
}

/**
 * Both indexes of one segment, and what is counted in order to fill them.
 *
 * Index files hold no checksum, so nothing they say is more than a hint: who uses an entry compares
 * it with the batch that it names. {@link SegmentIndexes.max} is such a hint too until it is proven.
 *
 * Loads and writes must not overlap; the other calls are synchronous.
 */
export class SegmentIndexes {
  readonly offsetIndex: OffsetIndex
  readonly timeIndex: TimeIndex
  /** Whether damage hides batches behind the last time entry, so that none is to be added. */
  isBlind = false
  readonly #baseOffset: number
  readonly #intervalBytes: number
  #bytesSinceEntry = 0
  #max: TimestampOffset
  #unprovenMax: TimestampOffset | null = null
  /** The largest of the batches that were noted since that is unproven. */
  #maxSince: TimestampOffset | null = null

  constructor(options: SegmentIndexesOptions) {
    const { fileSystem, baseOffset, segmentIndexBytes: maxIndexBytes } = options
    const common = { fileSystem, baseOffset, maxIndexBytes }
    this.offsetIndex = new OffsetIndex({ ...common, path: options.offsetIndexPath })
    this.timeIndex = new TimeIndex({ ...common, path: options.timeIndexPath })
    this.#baseOffset = baseOffset
    this.#intervalBytes = options.indexIntervalBytes
    this.#max = { timestamp: -1, offset: baseOffset }
  }

  /** Largest timestamp and the last offset of the earliest batch that has it; timestamp -1 for none. */
  get max(): TimestampOffset {
    return this.#max
  }

  /** What `max` rests on besides the batches that were noted since; `null` when on nothing else. */
  get unprovenMax(): TimestampOffset | null {
    return this.#unprovenMax
  }

  set unprovenMax(claim: TimestampOffset | null) {
    this.#unprovenMax = claim
    this.#maxSince = null
  }

  /** Takes the largest timestamp of all that was there when `max` became unproven, or more of it. */
  proveMax(max: TimestampOffset): void {
    const since = this.#maxSince
    this.#max = since !== null && since.timestamp > max.timestamp ? since : max
    this.unprovenMax = null
  }

  /** Whether entries no longer fit, so that the segment has to be rolled. */
  get isFull(): boolean {
    return this.offsetIndex.isFull || this.timeIndex.isFull
  }

  /**
   * Whether batches that are still to be noted may fill the indexes: as many, of so many bytes together.
   * Each gets one entry at most, and between two entries lie more bytes than the interval.
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
   * Reads both files. When one of them is missing or no index, both are empty afterwards.
   *
   * @returns whether both could be read.
   */
  async load(): Promise<boolean> {
    return this.#take([await this.offsetIndex.load(), await this.timeIndex.load()])
  }

  /** The same of their last entries only, see {@link IndexFile.loadEnd}. */
  async loadEnd(): Promise<boolean> {
    return this.#take([await this.offsetIndex.loadEnd(), await this.timeIndex.loadEnd()])
  }

  /** Bytes that both take in memory. */
  get memoryBytes(): number {
    return this.offsetIndex.memoryBytes + this.timeIndex.memoryBytes
  }

  /** Whether all entries of both are in memory. */
  get isComplete(): boolean {
    return this.offsetIndex.isComplete && this.timeIndex.isComplete
  }

  /** Whether both files are there, and as memory is. */
  get isWritten(): boolean {
    return this.offsetIndex.isWritten && this.timeIndex.isWritten
  }

  #take(results: readonly IndexLoadResult[]): boolean {
    const isLoaded = results.every((result) => result === 'loaded')
    if (!isLoaded) this.clear()
    return isLoaded
  }

  /** Whether the entries may belong to a log file of this size that ends at this offset. */
  fit(sizeBytes: number, nextOffset: number): boolean {
    const { position } = this.offsetIndex.lastEntry
    if (this.offsetIndex.count > 0 && position >= sizeBytes) return false
    // Each entry names a batch of its own.
    if (this.offsetIndex.count * RECORD_BATCH_OVERHEAD > sizeBytes) return false
    return Math.max(this.offsetIndex.lastOffset, this.timeIndex.lastEntry.offset) <= nextOffset
  }

  /** Drops all entries. The files follow with the next {@link SegmentIndexes.write}. */
  clear(): void {
    this.offsetIndex.clear()
    this.timeIndex.clear()
  }

  /** Drops all entries at or above `offset`. The largest timestamp has to be found anew then. */
  truncateTo(offset: number): void {
    this.offsetIndex.truncateTo(offset)
    this.timeIndex.truncateTo(offset)
  }

  /**
   * Goes back to the last entry: the batches from there on are to be noted again.
   *
   * @returns the position to go on from, and the lowest offset that the batch there can have.
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

  /** Takes note of the batch that starts at `position`, the one behind the last that was noted. */
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

  /** Adds the entry that says how young the youngest record of the whole segment is. */
  addFinalTimeEntry(): void {
    const { timestamp, offset } = this.#max
    const { count, maxEntries, lastEntry } = this.timeIndex
    if (!this.isBlind && count < maxEntries && offset >= lastEntry.offset) {
      this.timeIndex.maybeAppend(timestamp, offset, true)
    }
  }

  /** What was read from both files is known to be covered by a sync. */
  noteSynced(): void {
    this.offsetIndex.noteSynced()
    this.timeIndex.noteSynced()
  }

  /** Makes both files durable as they are. @returns whether a name was added to the directory. */
  async write(): Promise<boolean> {
    const isNewOffsetIndex = await this.offsetIndex.write()
    const isNewTimeIndex = await this.timeIndex.write()
    return isNewOffsetIndex || isNewTimeIndex
  }

  /** The entry to start from on the way to `offset`, with the offset that entries before end at. */
  lookup(offset: number): { entry: OffsetPosition; lowestOffset: number } | null {
    const slot = this.offsetIndex.slotOf(offset)
    if (slot < 0) return null
    return {
      entry: this.offsetIndex.entry(slot),
      lowestOffset: slot === 0 ? this.#baseOffset : this.offsetIndex.entry(slot - 1).offset + 1,
    }
  }

  /** The last entry below `offset` and the one behind it; `null` where one of them is missing. */
  pairAround(offset: number): { before: OffsetPosition; after: OffsetPosition } | null {
    const slot = this.offsetIndex.slotOf(offset - 1)
    if (slot < 0 || slot + 1 >= this.offsetIndex.count) return null
    return { before: this.offsetIndex.entry(slot), after: this.offsetIndex.entry(slot + 1) }
  }

  /**
   * A position at or behind the end of the batch that holds the last offset below `endOffset`;
   * `null` where no entry tells.
   */
  positionBehind(endOffset: number): number | null {
    // The first entry at or above that offset names its batch or a later one.
    const slot = this.offsetIndex.slotOf(endOffset - 2) + 2
    return slot < this.offsetIndex.count ? this.offsetIndex.entry(slot).position : null
  }

  /**
   * Kafka up to 4.0 indexes an append of several batches as one, under its last offset: batches in
   * the middle of it lie below the last entry.
   */
  #hasRoomBehind(lastOffset: number): boolean {
    return (
      !this.isFull && (this.offsetIndex.count === 0 || lastOffset > this.offsetIndex.lastOffset)
    )
  }
}
