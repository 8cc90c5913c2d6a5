import { checkWholeNumber } from '../checks.ts'
import { CorruptRecordError, OffsetOutOfRangeError, type VarveError } from '../errors.ts'
import { isSystemError } from '../platform/system-error.ts'
import { decodeRecords, type StoredRecord } from '../record/decode.ts'
import { RecordBatch, totalSizeBytes } from '../record/record-batch.ts'
import { copyFromAll } from '../record/record-copies.ts'
import type { BackwardLimits } from './backward-read.ts'
import { LOOKS_BESIDE_A_WRITER } from './beside-writer.ts'
import type { FewLimits, FewRecords } from './few-records.ts'
import type { LocalLog } from './local-log.ts'
import type { LogGuard } from './log-guard.ts'
import { RetentionOutlook } from './log-retention.ts'

/** The partition of a log. */
export interface LogPlace {
  readonly topic: string
  readonly partition: number
  /** See `LogContext`. */
  readonly whyGone?: () => Promise<VarveError | null>
}

/** How much {@link LogReader.readBatches} returns. */
export interface BatchLimits {
  /** Limit for all batches together; the first one is returned even if it is larger. */
  readonly maxBytes: number
  /** Batches at or above it are left out. @defaultValue the end of the log */
  readonly endOffset?: number
  /** Batches at or above it are not needed, except for the first one. @defaultValue `endOffset` */
  readonly wantedEnd?: number
}

/** How much {@link LogReader.readBatchesNow} returns. */
export interface PromptBatchLimits extends BatchLimits {
  /** Whether `maxBytes` applies to the first batch too: it follows others of the same read. */
  readonly mustFit?: boolean
}

/**
 * Reads from a log while it changes: a read that overlaps with a truncation or a removal is
 * repeated.
 *
 * All calls may overlap.
 */
export class LogReader {
  /** What is to be deleted, as far as it is known without waiting. */
  readonly outlook: RetentionOutlook
  readonly #place: LogPlace
  readonly #log: LocalLog
  readonly #guard: LogGuard
  readonly #lookAgain: (() => Promise<unknown>) | null
  /** Epoch of a batch that no look could explain: this happens with damage. */
  #unexplainedEpoch = -1

  /**
   * @param lookAgain refreshes a log that another process writes to; `null` if this process does.
   */
  constructor(
    place: LogPlace,
    log: LocalLog,
    guard: LogGuard,
    lookAgain: (() => Promise<unknown>) | null,
  ) {
    this.#place = place
    this.#log = log
    this.outlook = new RetentionOutlook(log)
    this.#guard = guard
    this.#lookAgain = lookAgain
  }

  /** Whether the log is open, undamaged and without failures. */
  get isSound(): boolean {
    return !this.#guard.isTroubled
  }

  /** Changes whenever records are removed or replaced. */
  get generation(): number {
    return this.#log.segments.generation
  }

  /** Base offset of the active segment: records below are in other segments. */
  get activeBaseOffset(): number {
    return this.#log.segments.active?.baseOffset ?? 0
  }

  /** The epoch that wrote `offset`; `null` if unknown. */
  epochOf(offset: number): number | null {
    const epoch = this.#log.epochs.epochOf(offset)
    return epoch < 0 ? null : epoch
  }

  /**
   * End of the records of `epoch` and all earlier ones, exclusive. A reader that has read further
   * in that epoch has seen records that no longer exist, and others may have replaced them
   * (KIP-320).
   *
   * @param epoch `null` if unknown: the end of the log.
   * @returns `null` if the log is damaged: records beyond the damage may become readable again.
   */
  endOffsetForEpoch(epoch: number | null): number | null {
    if (this.#guard.damage !== null) return null
    return this.#log.endOffsetForEpoch(epoch ?? Infinity)
  }

  /** See `Log.read`. */
  async read(offset: number, maxBytes: number): Promise<StoredRecord[]> {
    checkWholeNumber('maxBytes', maxBytes, 1, Number.MAX_SAFE_INTEGER)
    const records: StoredRecord[] = []
    let from = offset
    for (;;) {
      const { logEndOffset: endOffset } = this.#log
      const batches = await this.readBatches(from, { maxBytes, endOffset })
      for (const batch of batches) {
        try {
          for (const record of await this.#decode(batch, offset)) records.push(record)
        } catch (error) {
          // Records before the damage are delivered; the next read starts at the damage.
          if (records.length > 0) return records
          throw error
        }
      }
      // Batches may contain no records: control batches, or batches that compaction has emptied.
      from = batches.at(-1)?.nextOffset ?? from
      if (records.length > 0 || batches.length === 0) return records
    }
  }

  /** See `Log.readBatches`. */
  async readBatches(
    offset: number,
    { maxBytes, endOffset = Infinity, wantedEnd = Infinity }: BatchLimits,
  ): Promise<readonly RecordBatch[]> {
    const { segments } = this.#log
    checkWholeNumber('offset', offset, 0, Number.MAX_SAFE_INTEGER)
    return this.#consistently(async () => {
      const { logEndOffset } = this.#log
      const { damage } = this.#guard
      // The log may continue beyond the damage, and it is unknown how far.
      if (offset >= logEndOffset && damage !== null) throw damage
      ensureInRange(this.#log, this.#place, offset)
      const end = Math.min(endOffset, logEndOffset)
      if (offset >= end) return []
      const nearEnd = Math.min(end, wantedEnd)
      const batches = await segments.read(offset, { maxBytes, endOffset: nearEnd })
      if (batches.length > 0 || nearEnd === end) return batches
      // Compaction has left nothing that near: return one batch, however far away it is.
      return segments.read(offset, { maxBytes: 1, endOffset: end })
    })
  }

  /**
   * Returns the last whole batches that hold offsets in [`limits.fromOffset`, `endOffset`), in
   * offset order: the next ones for a reader that goes backwards.
   *
   * @param endOffset the offset below it must be in the log.
   * @returns no batches if none of these offsets has a record any more.
   * @throws {@link OffsetOutOfRangeError} if the offset below `endOffset` is not in the log;
   * {@link CorruptRecordError} if the last batch is damaged or beyond damage.
   */
  async readBatchesBefore(
    endOffset: number,
    limits: BackwardLimits,
  ): Promise<readonly RecordBatch[]> {
    return this.#consistently(async () => {
      const { logStartOffset, logEndOffset, segments } = this.#log
      const { damage } = this.#guard
      if (endOffset > logEndOffset && damage !== null) throw damage
      if (endOffset > logEndOffset || endOffset <= logStartOffset) {
        throw outOfRange(this.#log, this.#place, endOffset - 1)
      }
      const fromOffset = Math.max(limits.fromOffset, logStartOffset)
      return segments.readBefore(endOffset, { ...limits, fromOffset })
    })
  }

  /**
   * Synchronous variant of {@link LogReader.readBatches}.
   *
   * @returns no batches if only {@link LogReader.readBatches} can tell; `NONE_FITS` if the first
   * one does not fit.
   */
  readBatchesNow(
    offset: number,
    { maxBytes, endOffset = Infinity, wantedEnd = Infinity, mustFit }: PromptBatchLimits,
  ): readonly RecordBatch[] {
    const end = Math.min(endOffset, this.#log.logEndOffset)
    if (!this.#isReadable(offset, end) || wantedEnd <= offset) return []
    try {
      const nearEnd = Math.min(end, wantedEnd)
      const limits = { maxBytes, endOffset: nearEnd, mustFit }
      const batches = this.#log.segments.usableNow(offset)?.readNow(offset, limits) ?? []
      return this.#newEpochIn(batches) === null ? batches : []
    } catch (error) {
      throw this.#guard.failed('read', error, 'not-written')
    }
  }

  /**
   * Synchronously reads a few records at `offset`, as copies; see `readFewPromptly`.
   *
   * @returns `null` if only {@link LogReader.readBatches} can tell.
   */
  readFewNow(offset: number, limits: FewLimits): FewRecords | null {
    const endOffset = Math.min(limits.endOffset, this.#log.logEndOffset)
    if (!this.#isReadable(offset, endOffset)) return null
    // Records do not contain their epoch, and data written by another process is not cached.
    if (this.#lookAgain !== null) return this.#copiesNow(offset, limits)
    try {
      const segment = this.#log.segments.usableNow(offset)
      return segment?.readFewNow(offset, { ...limits, endOffset }, this.#place) ?? null
    } catch (error) {
      throw this.#guard.failed('read', error, 'not-written')
    }
  }

  #copiesNow(offset: number, { maxRecords, maxBytes, endOffset }: FewLimits): FewRecords | null {
    const wantedEnd = offset + maxRecords
    const batches = this.readBatchesNow(offset, { maxBytes, endOffset, wantedEnd })
    const last = batches.at(-1)
    const records = copyFromAll(batches, this.#place, { fromOffset: offset, maxRecords })
    if (last === undefined || records === null || records.length === 0) return null
    return { records, nextOffset: last.nextOffset, restBytes: maxBytes - totalSizeBytes(batches) }
  }

  #isReadable(offset: number, endOffset: number): boolean {
    return offset >= this.#log.logStartOffset && offset < endOffset && !this.#guard.isTroubled
  }

  /** See `Log.offsetForTimestamp`. */
  async offsetForTimestamp(
    timestamp: number,
    endOffset: number,
  ): Promise<{ offset: number; timestamp: number } | null> {
    checkWholeNumber('timestamp', timestamp, 0, Number.MAX_SAFE_INTEGER)
    checkWholeNumber('endOffset', endOffset, 0, Number.MAX_SAFE_INTEGER)
    let from = this.#log.logStartOffset
    for (;;) {
      const startOffset = Math.max(from, this.#log.logStartOffset)
      const batch = await this.#consistently(async () => {
        const { segments } = this.#log
        const found = await segments.findByTimestamp(timestamp, startOffset, endOffset)
        const { damage } = this.#guard
        // The record may be one of those that cannot be read.
        if (found === null && damage !== null && endOffset >= this.#log.logEndOffset) throw damage
        return found
      })
      if (batch === null) return null
      for (const record of await this.#decode(batch, startOffset)) {
        if (record.timestamp < timestamp || record.offset >= endOffset) continue
        return { offset: record.offset, timestamp: record.timestamp }
      }
      from = batch.nextOffset
    }
  }

  /**
   * The epoch of the read batches if the writer has begun it since the last look. Then the log was
   * truncated, and the batches do not match the known state. `null` otherwise. Epochs never fall
   * from one batch to the next.
   */
  #newEpochIn(read: readonly RecordBatch[] | RecordBatch | null): number | null {
    if (this.#lookAgain === null) return null
    const { latestEpoch } = this.#log.epochs
    const last = read instanceof RecordBatch ? read : read?.at(-1)
    const epoch = last?.partitionLeaderEpoch ?? -1
    // If none is known, no look finds one.
    const isNew = latestEpoch >= 0 && epoch > latestEpoch && epoch !== this.#unexplainedEpoch
    return isNew ? epoch : null
  }

  /**
   * Repeats `task` until no record was removed or replaced while it ran. Refreshes a log of another
   * process if necessary.
   */
  async #consistently<T extends readonly RecordBatch[] | RecordBatch | null>(
    task: () => Promise<T>,
  ): Promise<T> {
    const { segments } = this.#log
    for (let looks = 0; ;) {
      this.#guard.ensureOpen()
      const { generation } = segments
      try {
        const result = await task()
        if (generation !== segments.generation) continue
        const newEpoch = this.#newEpochIn(result)
        if (newEpoch === null) return result
        if (looks === LOOKS_BESIDE_A_WRITER) {
          this.#unexplainedEpoch = newEpoch
          return result
        }
      } catch (error) {
        if (generation !== segments.generation) continue
        // Closing a log closes its files even while they are read.
        this.#guard.ensureOpen()
        // The writer may have removed or replaced the file.
        const isGone = isSystemError(error, 'ENOENT') || error instanceof CorruptRecordError
        if (this.#lookAgain === null || looks === LOOKS_BESIDE_A_WRITER || !isGone) {
          const reason = this.#lookAgain !== null && isGone ? await this.#place.whyGone?.() : null
          throw reason ?? this.#guard.failed('read', error, 'not-written')
        }
      }
      looks += 1
      await this.#lookAgain?.()
    }
  }

  /** See `LogPlace.whyGone`; `null` if nobody can tell. */
  async whyGone(): Promise<VarveError | null> {
    return (await this.#place.whyGone?.()) ?? null
  }

  /** Decodes a batch. Damage inside it is reported with its position in the file. */
  async #decode(batch: RecordBatch, fromOffset: number): Promise<StoredRecord[]> {
    try {
      return await decodeRecords(batch, this.#place, { fromOffset })
    } catch (error) {
      if (!(error instanceof CorruptRecordError)) throw error
      const { baseOffset: firstOffset, lastOffset } = batch
      const { segments } = this.#log
      const segment = segments.all[segments.floorSlot(firstOffset)]
      const batchPosition = (await segment?.restBelow(firstOffset))?.sizeBytes ?? 0
      throw new CorruptRecordError(
        error.reason,
        {
          path: segment?.path ?? null,
          position: batchPosition + error.position,
          firstOffset,
          lastOffset,
        },
        { cause: error },
      )
    }
  }
}

/**
 * @throws {@link OffsetOutOfRangeError} if `offset` is outside [`logStartOffset`, `logEndOffset`];
 * TypeError or RangeError if it is not an offset at all.
 */
export function ensureInRange(log: LocalLog, place: LogPlace, offset: number): void {
  checkWholeNumber('offset', offset, 0, Number.MAX_SAFE_INTEGER)
  if (offset >= log.logStartOffset && offset <= log.logEndOffset) return
  throw outOfRange(log, place, offset)
}

function outOfRange(log: LocalLog, place: LogPlace, offset: number): OffsetOutOfRangeError {
  const { logStartOffset, logEndOffset } = log
  const { topic, partition } = place
  return new OffsetOutOfRangeError({ topic, partition, offset, logStartOffset, logEndOffset })
}
