import { RecordTooLargeError } from '../errors.ts'
import { promptIo } from '../platform/prompt-io.ts'
import { batchOfSome } from '../record/batch-filter.ts'
import type { CompressionLevels } from '../record/codecs/levels.ts'
import { decodeRecords, type BatchPlace, type StoredRecord } from '../record/decode.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import type { OffsetMap } from './offset-map.ts'

/** Records between two looks at the time. */
const SLICE_RECORDS = 64

/** What decides which records stay. */
export interface CleaningRule {
  readonly place: BatchPlace
  /** Latest offsets of the keys in [`firstDirtyOffset`, `endOffset`). */
  readonly map: OffsetMap
  readonly firstDirtyOffset: number
  readonly endOffset: number
  readonly nowMs: number
  readonly deleteRetentionMs: number
  /** At which levels batches are compressed that have changed. */
  readonly levels: Required<CompressionLevels>
  /** Last offset of each producer: its batch says which sequence comes next. */
  readonly lastOffsets: ReadonlySet<number>
}

/** What was counted in one pass. */
export interface CleaningCounts {
  recordsRead: number
  recordsKept: number
  tombstonesRemoved: number
  /** When the first tombstone that is left may go; `null` for none. */
  earliestDeleteHorizonMs: number | null
}

/** Decides of each batch what compaction leaves of it. */
export class BatchCleaner {
  readonly counts: CleaningCounts = {
    recordsRead: 0,
    recordsKept: 0,
    tombstonesRemoved: 0,
    earliestDeleteHorizonMs: null,
  }
  readonly #rule: CleaningRule

  constructor(rule: CleaningRule) {
    this.#rule = rule
  }

  /**
   * What is left of a batch: the same batch where nothing has to change.
   *
   * Which records of transactions were aborted is for a Kafka broker to say, so nothing goes because
   * of them, and neither do the markers. They go themselves where a record outside of transactions
   * replaces them, committed or not: its tombstone would otherwise go before what it deletes.
   *
   * @param isLast whether the offsets of the segment end with it, so that it stays even without a record.
   * @returns `null` when it goes as a whole.
   */
  async clean(batch: RecordBatch, isLast: boolean): Promise<RecordBatch | null> {
    const { recordCount, isControl } = batch
    const { levels } = this.#rule
    this.counts.recordsRead += recordCount
    if (isControl || batch.baseOffset >= this.#rule.endOffset) {
      this.counts.recordsKept += recordCount
      return batch
    }
    const records = await decodeRecords(batch, this.#rule.place)
    const kept = await this.#retained(batch, records)
    this.counts.recordsKept += kept.length
    if (kept.length === 0) {
      const mustStay = isLast || this.#rule.lastOffsets.has(batch.lastOffset)
      if (!mustStay) return null
      return recordCount === 0 ? batch : batchOfSome(batch, kept, { levels })
    }
    const horizonMs = this.#horizonOf(batch, kept)
    const isNew = horizonMs !== null && batch.deleteHorizonMs === null
    const noted = isNew ? await this.#withHorizon(batch, kept, horizonMs) : null
    if (horizonMs !== null && (noted !== null || !isNew)) this.#noteHorizon(horizonMs)
    if (noted !== null) return noted
    return kept.length === recordCount ? batch : batchOfSome(batch, kept, { levels })
  }

  /**
   * What is left of a batch, with the horizon of its tombstones. Timestamps are stored as their distance from
   * it, so that each record may take some bytes more than before.
   *
   * @returns `null` where the batch would be larger than the format allows, and its tombstones stay for good.
   */
  async #withHorizon(
    batch: RecordBatch,
    kept: readonly StoredRecord[],
    deleteHorizonMs: number,
  ): Promise<RecordBatch | null> {
    try {
      return await batchOfSome(batch, kept, { levels: this.#rule.levels, deleteHorizonMs })
    } catch (error) {
      if (error instanceof RecordTooLargeError) return null
      throw error
    }
  }

  async #retained(
    batch: RecordBatch,
    records: readonly StoredRecord[],
  ): Promise<readonly StoredRecord[]> {
    const { deleteHorizonMs, isTransactional } = batch
    const isPastHorizon = !isTransactional && this.#rule.nowMs >= (deleteHorizonMs ?? Infinity)
    const kept: StoredRecord[] = []
    for (const [slot, record] of records.entries()) {
      if (slot % SLICE_RECORDS === 0) await promptIo.turnIfDue()
      if (this.#isRetained(record, isPastHorizon, isTransactional)) kept.push(record)
    }
    return kept
  }

  #isRetained(
    { offset, key, value }: StoredRecord,
    isPastHorizon: boolean,
    isTransactional: boolean,
  ): boolean {
    const { map, endOffset } = this.#rule
    if (offset >= endOffset) return true
    // Nothing can replace a record without a key: it is from before the topic was compacted.
    if (key === null) return isTransactional
    if (map.get(key) > offset) return false
    if (value !== null || !isPastHorizon) return true
    this.counts.tombstonesRemoved += 1
    return false
  }

  /**
   * When the tombstones of a batch may be removed; `null` where it has none, or nobody has said yet.
   *
   * It is said in the one pass whose map holds them, because that pass removes what is older of their
   * keys. So no tombstone goes before what it deletes, whatever the checkpoint claims to be clean.
   */
  #horizonOf(batch: RecordBatch, kept: readonly StoredRecord[]): number | null {
    const { firstDirtyOffset, endOffset, nowMs, deleteRetentionMs } = this.#rule
    if (batch.isTransactional || !kept.some(({ value }) => value === null)) return null
    if (batch.deleteHorizonMs !== null) return batch.deleteHorizonMs
    const isCovered = batch.baseOffset >= firstDirtyOffset && batch.nextOffset <= endOffset
    return isCovered ? Math.min(nowMs + deleteRetentionMs, Number.MAX_SAFE_INTEGER) : null
  }

  #noteHorizon(horizonMs: number): void {
    const { earliestDeleteHorizonMs: earliest } = this.counts
    this.counts.earliestDeleteHorizonMs = Math.min(horizonMs, earliest ?? Infinity)
  }
}
