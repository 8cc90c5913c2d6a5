import { int32At } from '../record/big-endian.ts'
import { readInt64, writeInt64 } from '../record/int64.ts'
import { IndexFile, type IndexFileOptions } from './index-file.ts'

const TIMESTAMP_POSITION = 0
const RELATIVE_OFFSET_POSITION = TIMESTAMP_POSITION + 8
/** Size of an entry, which begins with its timestamp. */
export const TIME_ENTRY_BYTES: number = RELATIVE_OFFSET_POSITION + 4

/** A timestamp and the offset that belongs to it. */
export interface TimestampOffset {
  /** Milliseconds since the epoch, -1 for none. */
  readonly timestamp: number
  readonly offset: number
}

/**
 * Maps timestamps to offsets in one segment, sparsely: `NNN.timeindex`.
 *
 * ```
 * bytes  field
 * 0..7   timestamp, int64 big-endian: the largest in the segment so far
 * 8..11  relative offset, int32 big-endian
 * ```
 *
 * An entry says: no record up to and including this offset has a larger timestamp. The offset is
 * the last one of the earliest batch that holds the timestamp. Timestamps are strictly increasing.
 * One slot stays free for the entry that is written when the segment is rolled.
 */
export class TimeIndex extends IndexFile {
  constructor(options: IndexFileOptions) {
    super(options, TIME_ENTRY_BYTES)
  }

  override get isFull(): boolean {
    return this.count >= this.maxEntries - 1
  }

  /** The last entry; timestamp -1 at the base offset if there is none. */
  get lastEntry(): TimestampOffset {
    return this.count === 0
      ? { timestamp: -1, offset: this.baseOffset }
      : this.entry(this.count - 1)
  }

  /** The entry in `slot`, [0, count). */
  entry(slot: number): TimestampOffset {
    return {
      timestamp: this.#timestamp(slot),
      offset: this.baseOffset + this.#relativeOffset(slot),
    }
  }

  /**
   * Adds an entry, unless `timestamp` is not above the last one.
   *
   * @param mayFill whether to use the slot that is reserved for the entry written at roll.
   * @throws RangeError when the index is full, or `offset` out of range or below the last one.
   */
  maybeAppend(timestamp: number, offset: number, mayFill = false): void {
    const last = this.lastEntry
    if (this.count > 0 && offset < last.offset) {
      throw new RangeError(`offset ${offset} is below ${last.offset}, the last of ${this.path}`)
    }
    if (timestamp <= last.timestamp) return
    if (mayFill ? this.count >= this.maxEntries : this.isFull) {
      throw new RangeError(`${this.path} is full: it holds ${this.count} entries`)
    }
    const relativeOffset = offset - this.baseOffset
    if (relativeOffset < 0 || relativeOffset > 0x7fffffff) {
      throw new RangeError(`offset ${offset} is out of range for base offset ${this.baseOffset}`)
    }
    const slot = this.claimSlot()
    writeInt64(this.entries, slot + TIMESTAMP_POSITION, timestamp)
    this.entries.writeInt32BE(relativeOffset, slot + RELATIVE_OFFSET_POSITION)
  }

  /** The entry with the largest timestamp at or below `target`; timestamp -1 if there is none. */
  lookup(target: number): TimestampOffset {
    const slot = this.floorSlot((each) => this.#timestamp(each) - target)
    return slot < 0 ? { timestamp: -1, offset: this.baseOffset } : this.entry(slot)
  }

  /** Drops every entry at or above `offset`. */
  truncateTo(offset: number): void {
    const relativeOffset = offset - this.baseOffset
    this.keepFirst(this.floorSlot((each) => this.#relativeOffset(each) - relativeOffset + 1) + 1)
  }

  protected override isInOrder(slot: number): boolean {
    if (!this.#isTimestamp(slot)) return false
    const relativeOffset = this.#relativeOffset(slot)
    if (slot === 0) return relativeOffset >= 0 && this.#timestamp(slot) >= 0
    return (
      this.#isTimestamp(slot - 1) &&
      this.#timestamp(slot) > this.#timestamp(slot - 1) &&
      relativeOffset >= this.#relativeOffset(slot - 1)
    )
  }

  /** Checks the high half only, because reading a number of more than 53 bits throws. */
  #isTimestamp(slot: number): boolean {
    return (int32At(this.entries, this.positionOf(slot)) & 0xffe00000) === 0
  }

  #timestamp(slot: number): number {
    return readInt64(this.entries, this.positionOf(slot) + TIMESTAMP_POSITION)
  }

  #relativeOffset(slot: number): number {
    return int32At(this.entries, this.positionOf(slot) + RELATIVE_OFFSET_POSITION)
  }
}
