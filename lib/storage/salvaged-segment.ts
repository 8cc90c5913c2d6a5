import type { RecordBatch } from '../record/record-batch.ts'
import type { LostRange } from './log-salvage.ts'
import type { SegmentEntry } from './segment-record.ts'
import { SegmentSum } from './segment-sum.ts'

/** What turns out about a segment while its sound batches are copied. */
export class SalvagedSegment {
  /** Offsets that are missing between sound batches, with no other bytes there. */
  readonly gaps: Set<LostRange> = new Set<LostRange>()
  /** Offsets of the markers that have ended transactions. */
  readonly markers: Set<number> = new Set<number>()
  /** Whether there are bytes that could not be used, or that are missing at the end. */
  isDamaged = false
  readonly #entry: SegmentEntry | null
  readonly #sum: SegmentSum
  #isAsOnRecord = false
  /** Position of the first batch whose epoch is not that of the checkpoint. */
  #firstDisputed: number | null = null

  /** @param entry what is on record of the segment. */
  constructor(baseOffset: number, entry: SegmentEntry | null) {
    this.#entry = entry
    this.#sum = new SegmentSum(baseOffset)
  }

  /** Takes note of a sound batch, in the order of their positions. */
  note(batch: RecordBatch, position: number, isEpochDisputed: boolean): void {
    if (isEpochDisputed) this.#firstDisputed ??= position
    if (batch.isControl) this.markers.add(batch.lastOffset)
    this.#sum.note(batch, position)
    const { sizeBytes, crc } = this.#sum.state
    if (sizeBytes === this.#entry?.sizeBytes) this.#isAsOnRecord = crc === this.#entry.crc
  }

  /**
   * Whether the gaps were there before: compaction leaves such, and that there are some is on record.
   * Where the checksum on record does not fit and no bytes are damaged, a base offset has rotted, which
   * no other checksum covers, and has made a gap.
   */
  get areGapsOnRecord(): boolean {
    const entry = this.#entry
    if (entry === null || entry.isDense || entry.crc === null) return false
    return this.#isAsOnRecord || this.isDamaged
  }

  /** Whether there are batches whose epoch is not that of the checkpoint. */
  get isEpochDisputed(): boolean {
    return this.#firstDisputed !== null
  }

  /** Whether the checksum on record proves one of them right: it covers epochs too. */
  get areEpochsOnRecord(): boolean {
    const { sizeBytes = 0, crc = null } = this.#entry ?? {}
    return this.#isAsOnRecord && crc !== null && (this.#firstDisputed ?? Infinity) < sizeBytes
  }
}
