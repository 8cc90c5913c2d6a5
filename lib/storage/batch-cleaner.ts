import { InvalidRecordError, RecordTooLargeError } from '../errors.ts'
import { promptIo } from '../platform/prompt-io.ts'
import { batchOfSome } from '../record/batch-filter.ts'
import type { CompressionLevels } from '../record/codecs/levels.ts'
import { decodeRecords, type BatchPlace, type StoredRecord } from '../record/decode.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import type { OffsetMap } from './offset-map.ts'

/** Records between two looks at the time. */
const SLICE_RECORDS = 64

/**
 * The latest time from which tombstones may go. Timestamps are stored as their distance from it, and that of a
 * record without one, or from before 1970, is to be a number that is exact.
 */
const LATEST_HORIZON_MS = 2 ** 52

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
  /** Whether something stays that is replaced: what deletes it has to stay as well. */
  #leavesReplaced = false

  constructor(rule: CleaningRule) {
    this.#rule = rule
  }

  /**
   * What is left of a batch: the same batch where nothing has to change, or where it cannot be built anew.
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
    this.counts.recordsRead += recordCount
    if (isControl || batch.baseOffset >= this.#rule.endOffset) {
      this.counts.recordsKept += recordCount
      return batch
    }
    const { tombstonesRemoved } = this.counts
    const records = await decodeRecords(batch, this.#rule.place)
    const kept = await this.#retained(batch, records)
    const rest = await this.#restOf(batch, kept, isLast)
    this.counts.recordsKept += rest === batch ? recordCount : kept.length
    if (rest !== batch || kept.length === recordCount) return rest
    this.counts.tombstonesRemoved = tombstonesRemoved
    this.#leavesReplaced = true
    return rest
  }

  async #restOf(
    batch: RecordBatch,
    kept: readonly StoredRecord[],
    isLast: boolean,
  ): Promise<RecordBatch | null> {
    const { recordCount } = batch
    if (kept.length === 0) {
      const mustStay = isLast || this.#rule.lastOffsets.has(batch.lastOffset)
      if (!mustStay) return null
      return recordCount === 0 ? batch : ((await this.#rebuilt(batch, kept)) ?? batch)
    }
    const horizonMs = this.#horizonOf(batch, kept)
    const isNew = horizonMs !== null && batch.deleteHorizonMs === null
    const noted = isNew ? await this.#rebuilt(batch, kept, horizonMs) : null
    if (horizonMs !== null && (noted !== null || !isNew)) this.#noteHorizon(horizonMs)
    if (noted !== null) return noted
    return kept.length === recordCount ? batch : ((await this.#rebuilt(batch, kept)) ?? batch)
  }

  /**
   * A batch with some of its records, perhaps with the horizon of its tombstones. Timestamps are stored as their
   * distance from it, or else from that of the first record that stays, so that each may take some bytes more than before.
   *
   * @returns `null` where there can be no such batch, for being larger than the format allows or whatever else:
   * one batch must not keep the rest of the log from being compacted.
   */
  async #rebuilt(
    batch: RecordBatch,
    kept: readonly StoredRecord[],
    deleteHorizonMs?: number,
  ): Promise<RecordBatch | null> {
    try {
      return await batchOfSome(batch, kept, { levels: this.#rule.levels, deleteHorizonMs })
    } catch (error) {
      // What a codec fails with, as for want of memory, it may not fail with again: such a pass is made anew.
      if (isOfFormat(error)) return null
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
    if (this.#leavesReplaced) return null
    const isCovered = batch.baseOffset >= firstDirtyOffset && batch.nextOffset <= endOffset
    return isCovered ? Math.min(nowMs + deleteRetentionMs, LATEST_HORIZON_MS) : null
  }

  #noteHorizon(horizonMs: number): void {
    const { earliestDeleteHorizonMs: earliest } = this.counts
    this.counts.earliestDeleteHorizonMs = Math.min(horizonMs, earliest ?? Infinity)
  }
}

/** Whether the format has no such batch, however often it is built. */
function isOfFormat(error: unknown): boolean {
  const isRefused = error instanceof RecordTooLargeError || error instanceof InvalidRecordError
  return isRefused || error instanceof RangeError
}
