import { int32At } from '../record/big-endian.ts'
import { IndexFile, type IndexFileOptions } from './index-file.ts'

const RELATIVE_OFFSET_POSITION = 0
const FILE_POSITION_POSITION = RELATIVE_OFFSET_POSITION + 4
const ENTRY_SIZE_BYTES = FILE_POSITION_POSITION + 4

/** Up to this many entries, a binary search alone is as fast. */
const FEW_ENTRIES = 32
/** An interpolated slot is usually off by at most this many entries. */
const NEAR_ENTRIES = 4

/** An offset and the position from which to search for it. */
export interface OffsetPosition {
  readonly offset: number
  /** Position in the segment's `.log` file. */
  readonly position: number
}

/**
 * Maps offsets to positions in one segment file, sparsely: `NNN.index`.
 *
 * ```
 * bytes  field
 * 0..3   relative offset (offset - baseOffset), int32 big-endian
 * 4..7   position in the .log file, int32 big-endian
 * ```
 *
 * An entry holds the LAST offset of a batch and the position where that same batch STARTS, so an
 * offset inside an indexed batch is found from the entry before. With base offset 50, a batch
 * 53..55 at position 700 becomes the entry (5, 700). Entries are strictly increasing in both
 * fields. The caller decides how often an entry is added.
 */
export class OffsetIndex extends IndexFile {
  constructor(options: IndexFileOptions) {
    super(options, ENTRY_SIZE_BYTES)
  }

  override get isFull(): boolean {
    return this.count >= this.maxEntries
  }

  /** Offset of the last entry; `baseOffset` if there is none. */
  get lastOffset(): number {
    return this.count === 0 ? this.baseOffset : this.entry(this.count - 1).offset
  }

  /** The last entry; the start of the segment if there is none. */
  get lastEntry(): OffsetPosition {
    return this.count === 0 ? { offset: this.baseOffset, position: 0 } : this.entry(this.count - 1)
  }

  /** The entry in `slot`, [0, count). */
  entry(slot: number): OffsetPosition {
    return { offset: this.offsetAt(slot), position: this.positionAt(slot) }
  }

  /** Offset of the entry in `slot`, [0, count). */
  offsetAt(slot: number): number {
    return this.baseOffset + this.#relativeOffset(slot)
  }

  /** Position of the entry in `slot`, [0, count). */
  positionAt(slot: number): number {
    return int32At(this.entries, this.positionOf(slot) + FILE_POSITION_POSITION)
  }

  /**
   * Adds an entry.
   *
   * @throws RangeError when the index is full, or `offset` out of range or not above the last one.
   */
  append(offset: number, position: number): void {
    if (this.isFull) {
      throw new RangeError(`${this.path} is full: it holds ${this.count} entries`)
    }
    const relativeOffset = offset - this.baseOffset
    if (relativeOffset < 0 || relativeOffset > 0x7fffffff) {
      throw new RangeError(`offset ${offset} is out of range for base offset ${this.baseOffset}`)
    }
    if (this.count > 0 && offset <= this.lastOffset) {
      throw new RangeError(
        `offset ${offset} is not above ${this.lastOffset}, the last of ${this.path}`,
      )
    }
    const slot = this.claimSlot()
    this.entries.writeInt32BE(relativeOffset, slot + RELATIVE_OFFSET_POSITION)
    this.entries.writeInt32BE(position, slot + FILE_POSITION_POSITION)
  }

  /** Slot of the entry with the largest offset at or below `target`; -1 if there is none. */
  slotOf(target: number): number {
    const relativeTarget = target - this.baseOffset
    // The comparison is inlined, without a callback: every read gets here.
    let low = 0
    let high = this.count - 1
    if (high > FEW_ENTRIES) {
      // Batches are usually of similar size: linear interpolation predicts the slot. Two entries
      // tell whether it is right, and memory that is far apart need not be read.
      const first = this.#relativeOffset(0)
      const last = this.#relativeOffset(high)
      if (relativeTarget >= last) return high
      const near = Math.floor(((relativeTarget - first) / (last - first)) * high)
      const from = Math.max(0, near - NEAR_ENTRIES)
      const to = Math.min(high, near + NEAR_ENTRIES)
      if (
        from <= to &&
        this.#relativeOffset(from) <= relativeTarget &&
        relativeTarget < this.#relativeOffset(to)
      ) {
        low = from + 1
        high = to - 1
      }
    }
    while (low <= high) {
      const middle = (low + high) >>> 1
      if (this.#relativeOffset(middle) <= relativeTarget) low = middle + 1
      else high = middle - 1
    }
    return high
  }

  /** Drops every entry at or above `offset`. */
  truncateTo(offset: number): void {
    const relativeOffset = offset - this.baseOffset
    this.keepFirst(this.floorSlot((each) => this.#relativeOffset(each) - relativeOffset + 1) + 1)
  }

  protected override isInOrder(slot: number): boolean {
    const relativeOffset = int32At(this.entries, this.positionOf(slot))
    const position = int32At(this.entries, this.positionOf(slot) + FILE_POSITION_POSITION)
    // The first batch, at position 0, never has an entry.
    if (slot === 0) return relativeOffset >= 0 && position > 0
    return (
      relativeOffset > int32At(this.entries, this.positionOf(slot - 1)) &&
      position > int32At(this.entries, this.positionOf(slot - 1) + FILE_POSITION_POSITION)
    )
  }

  #relativeOffset(slot: number): number {
    return int32At(this.entries, this.positionOf(slot) + RELATIVE_OFFSET_POSITION)
  }
}
