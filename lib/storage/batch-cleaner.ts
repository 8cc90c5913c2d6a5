import type { Resolved } from '../checks.ts'
import { InvalidRecordError, RecordTooLargeError } from '../errors.ts'
import type { Clock } from '../platform/clock.ts'
import { promptIo } from '../platform/prompt-io.ts'
import { batchOfSome } from '../record/batch-filter.ts'
import type { CompressionLevels } from '../record/codecs/levels.ts'
import { decodeRecords, type BatchPlace, type StoredRecord } from '../record/decode.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import type { OffsetMap } from './offset-map.ts'

/** Number of records between two checks of the time. */
const SLICE_RECORDS = 64

/**
 * The latest possible delete horizon. Timestamps are stored as differences from it. This difference
 * must be an exact number even for records without a timestamp or from before 1970.
 */
const LATEST_HORIZON_MS = 2 ** 52

/** Determines which records are kept. */
export interface CleaningRule {
  readonly place: BatchPlace
  /** Latest offsets of the keys in [`firstDirtyOffset`, `endOffset`). */
  readonly map: OffsetMap
  readonly firstDirtyOffset: number
  readonly endOffset: number
  readonly nowMs: number
  /** For new delete horizons: a pass may take long, and they count from when a batch is cleaned. */
  readonly clock: Pick<Clock, 'now'>
  readonly deleteRetentionMs: number
  /** Compression levels for batches that are rebuilt. */
  readonly levels: Resolved<CompressionLevels>
  /** Last offset of each producer: its batch holds the producer's last sequence number. */
  readonly lastOffsets: ReadonlySet<number>
}

/** Counts of one pass. */
export interface CleaningCounts {
  recordsRead: number
  recordsKept: number
  tombstonesRemoved: number
  /** When the first remaining tombstone may be removed; `null` for none. */
  earliestDeleteHorizonMs: number | null
}

/** Determines what compaction keeps of each batch. */
export class BatchCleaner {
  readonly counts: CleaningCounts = {
    recordsRead: 0,
    recordsKept: 0,
    tombstonesRemoved: 0,
    earliestDeleteHorizonMs: null,
  }
  /** Whether a tombstone is kept without a delete horizon. */
  leavesUndated = false
  readonly #rule: CleaningRule
  /** Whether a replaced record is kept: the tombstone that deletes it must be kept as well. */
  #leavesReplaced = false

  constructor(rule: CleaningRule) {
    this.#rule = rule
  }

  /**
   * Returns what is left of a batch: the same batch if nothing has to change, or it cannot be
   * rebuilt.
   *
   * Only a Kafka broker can tell which transactional records were aborted. So no record is removed
   * because of them, and control batches are kept. Transactional records, committed or not, are
   * removed if a non-transactional record replaces them: otherwise a tombstone could be removed
   * before what it deletes.
   *
   * @param isLast whether it is the last batch of the segment, which is kept even without records.
   * @returns `null` if nothing of the batch is kept.
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
    const hasTombstone = kept.some(({ value }) => value === null)
    const horizonMs = hasTombstone ? this.#horizonOf(batch) : null
    const isNew = horizonMs !== null && batch.deleteHorizonMs === null
    const noted = isNew ? await this.#rebuilt(batch, kept, horizonMs) : null
    if (horizonMs !== null && (noted !== null || !isNew)) this.#noteHorizon(horizonMs)
    if (noted !== null) return noted
    this.leavesUndated ||= hasTombstone && batch.deleteHorizonMs === null
    return kept.length === recordCount ? batch : ((await this.#rebuilt(batch, kept)) ?? batch)
  }

  /**
   * Rebuilds a batch with some of its records, and optionally with a delete horizon for its
   * tombstones. Timestamps are stored as differences from the horizon, or else from the timestamp
   * of the first remaining record, so that each may take some bytes more than before.
   *
   * @returns `null` if there can be no such batch, for example because it exceeds the size limits
   * of the format: one batch must not prevent the compaction of the rest of the log.
   */
  async #rebuilt(
    batch: RecordBatch,
    kept: readonly StoredRecord[],
    deleteHorizonMs?: number,
  ): Promise<RecordBatch | null> {
    try {
      return await batchOfSome(batch, kept, { levels: this.#rule.levels, deleteHorizonMs })
    } catch (error) {
      // Codec failures, such as a lack of memory, may be temporary: the pass is repeated later.
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
    // A record without a key is from before the topic was compacted: nothing can replace it.
    if (key === null) return isTransactional
    if (map.get(key) > offset) return false
    if (value !== null || !isPastHorizon) return true
    this.counts.tombstonesRemoved += 1
    return false
  }

  /**
   * When the tombstones of a batch may be removed; `null` if that is not determined yet.
   *
   * It is determined in the one pass whose map holds the tombstones, since that pass removes the
   * older records of their keys. So no tombstone is removed before what it deletes, whatever the
   * cleaner checkpoint says.
   */
  #horizonOf(batch: RecordBatch): number | null {
    const { firstDirtyOffset, endOffset, clock, deleteRetentionMs } = this.#rule
    if (batch.isTransactional) return null
    if (batch.deleteHorizonMs !== null) return batch.deleteHorizonMs
    if (this.#leavesReplaced) return null
    const isCovered = batch.baseOffset >= firstDirtyOffset && batch.nextOffset <= endOffset
    return isCovered ? Math.min(clock.now() + deleteRetentionMs, LATEST_HORIZON_MS) : null
  }

  #noteHorizon(horizonMs: number): void {
    const { earliestDeleteHorizonMs: earliest } = this.counts
    this.counts.earliestDeleteHorizonMs = Math.min(horizonMs, earliest ?? Infinity)
  }
}

/** V8's error for a lack of memory is a RangeError too. */
const NO_MEMORY = 'Array buffer allocation failed'

/** Whether the format cannot represent the batch, so that another attempt would fail too. */
function isOfFormat(error: unknown): boolean {
  const isRefused = error instanceof RecordTooLargeError || error instanceof InvalidRecordError
  return isRefused || (error instanceof RangeError && error.message !== NO_MEMORY)
}
