import type { RecordBatch } from '../record/record-batch.ts'
import type { LostRange } from './log-salvage.ts'
import type { SegmentEntry } from './segment-record.ts'
import { SegmentSum } from './segment-sum.ts'

/** What is found out about a segment while its sound batches are copied. */
export class SalvagedSegment {
  /** Offsets that are missing between two sound batches, without any bytes in between. */
  readonly gaps: Set<LostRange> = new Set<LostRange>()
  /** Offsets of the markers that ended transactions. */
  readonly markers: Set<number> = new Set<number>()
  /** Whether there are unusable bytes, or bytes are missing at the end. */
  isDamaged = false
  readonly #entry: SegmentEntry | null
  readonly #sum: SegmentSum
  #isAsOnRecord = false
  /** Position of the first batch whose epoch differs from the checkpoint. */
  #firstDisputed: number | null = null

  /** @param entry what the record of segments says of it. */
  constructor(baseOffset: number, entry: SegmentEntry | null) {
    this.#entry = entry
    this.#sum = new SegmentSum(baseOffset)
  }

  /** Notes a sound batch, in order of position. */
  note(batch: RecordBatch, position: number, isEpochDisputed: boolean): void {
    if (isEpochDisputed) this.#firstDisputed ??= position
    if (batch.isControl) this.markers.add(batch.lastOffset)
    this.#sum.note(batch, position)
    const { sizeBytes, crc } = this.#sum.state
    if (sizeBytes === this.#entry?.sizeBytes) this.#isAsOnRecord = crc === this.#entry.crc
  }

  /**
   * Whether the gaps are old: compaction leaves gaps, and the record says that there are some. If
   * the recorded checksum does not match and no bytes are damaged, a base offset has rotted, which
   * no other checksum covers, and has caused a gap.
   */
  get areGapsOnRecord(): boolean {
    const entry = this.#entry
    if (entry === null || entry.isDense || entry.crc === null) return false
    return this.#isAsOnRecord || this.isDamaged
  }

  /** Whether there are batches whose epoch differs from the checkpoint. */
  get isEpochDisputed(): boolean {
    return this.#firstDisputed !== null
  }

  /** Whether the recorded checksum proves one of these epochs: it covers epochs too. */
  get areEpochsOnRecord(): boolean {
    const { sizeBytes = 0, crc = null } = this.#entry ?? {}
    return this.#isAsOnRecord && crc !== null && (this.#firstDisputed ?? Infinity) < sizeBytes
  }
}
