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

/** The partition that a log holds. */
export interface LogPlace {
  readonly topic: string
  readonly partition: number
  /** See `LogContext`. */
  readonly whyGone?: () => Promise<VarveError | null>
}

/** How much {@link LogReader.readBatches} returns. */
export interface BatchLimits {
  /** Limit for all batches together; the first one is returned however large. */
  readonly maxBytes: number
  /** Batches at or above it are left out. @defaultValue the end of the log */
  readonly endOffset?: number
  /** Batches at or above it are not needed, but for the first one. @defaultValue `endOffset` */
  readonly wantedEnd?: number
}

/** How much {@link LogReader.readBatchesNow} returns. */
export interface PromptBatchLimits extends BatchLimits {
  /** Whether the first batch has to keep to `maxBytes` too, as where it follows others of the same read. */
  readonly mustFit?: boolean
}

/**
 * Reads from a log while it changes: what was read across a truncation or a removal is read again.
 *
 * All calls may overlap.
 */
export class LogReader {
  /** What is to be deleted, as far as it can be told at once. */
  readonly outlook: RetentionOutlook
  readonly #place: LogPlace
  readonly #log: LocalLog
  readonly #guard: LogGuard
  readonly #lookAgain: (() => Promise<unknown>) | null
  /** Of a batch that was read though no look has found that it has begun: so it is with damage. */
  #unexplainedEpoch = -1

  /**
   * @param lookAgain looks again at a directory that another process writes to; `null` where this
   * one does.
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

  /** Whether the log is open and nothing has happened to it that a reader has to be told. */
  get isSound(): boolean {
    return !this.#guard.isTroubled
  }

  /** Is another one once records were taken away or replaced. */
  get generation(): number {
    return this.#log.segments.generation
  }

  /** Where the segment begins that is appended to: what lies below it is in segments of its own. */
  get activeBaseOffset(): number {
    return this.#log.segments.active?.baseOffset ?? 0
  }

  /** The epoch that wrote `offset`, `null` where that is not known. */
  epochOf(offset: number): number | null {
    const epoch = this.#log.epochs.epochOf(offset)
    return epoch < 0 ? null : epoch
  }

  /**
   * Where the records of `epoch` and all before it end, exclusive. Who has read further in that
   * epoch has seen records that are no more, and others may be in their place (KIP-320).
   *
   * @param epoch `null` where it is not known: the end of the log.
   * @returns `null` when nobody can tell: what is behind damage may be there again one day.
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
          // What is sound before the damage is delivered; the next read starts at the damage.
          if (records.length > 0) return records
          throw error
        }
      }
      // Batches may hold nothing for readers: markers, or what compaction left of them.
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
      // The log may go on behind the damage, and nobody can tell how far.
      if (offset >= logEndOffset && damage !== null) throw damage
      ensureInRange(this.#log, this.#place, offset)
      const end = Math.min(endOffset, logEndOffset)
      if (offset >= end) return []
      const nearEnd = Math.min(end, wantedEnd)
      const batches = await segments.read(offset, { maxBytes, endOffset: nearEnd })
      if (batches.length > 0 || nearEnd === end) return batches
      // Compaction has left nothing so near: one batch, however far it is.
      return segments.read(offset, { maxBytes: 1, endOffset: end })
    })
  }

  /**
   * The last whole batches that hold offsets in [`limits.fromOffset`, `endOffset`), in offset order:
   * what a reader that goes backwards needs next.
   *
   * @param endOffset the offset below it must be in the log.
   * @returns no batches when none of these offsets has a record any more.
   * @throws {@link OffsetOutOfRangeError} when the offset below `endOffset` is not in the log;
   * {@link CorruptRecordError} when the last batch is damaged, or damage has cut it off.
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
   * Reads like {@link LogReader.readBatches}, inside of the call, as far as that is possible.
   *
   * @returns no batches where only {@link LogReader.readBatches} can tell; `NONE_FITS` where the first
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
   * Reads a few records at `offset`, inside of the call, as copies; see `readFewPromptly`.
   *
   * @returns `null` where only {@link LogReader.readBatches} can tell.
   */
  readFewNow(offset: number, limits: FewLimits): FewRecords | null {
    const endOffset = Math.min(limits.endOffset, this.#log.logEndOffset)
    if (!this.#isReadable(offset, endOffset)) return null
    // Records do not say of which epoch they are, and nothing is kept of what another process writes.
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
   * The epoch of what was read, where the writer has begun it since the last look, so that the log was cut:
   * what is known of it and what was read are of two histories. `null` where that is not so. A batch is
   * never of an earlier epoch than those in front of it.
   */
  #newEpochIn(read: readonly RecordBatch[] | RecordBatch | null): number | null {
    if (this.#lookAgain === null) return null
    const { latestEpoch } = this.#log.epochs
    const last = read instanceof RecordBatch ? read : read?.at(-1)
    const epoch = last?.partitionLeaderEpoch ?? -1
    // Where none is known, no look finds one.
    const isNew = latestEpoch >= 0 && epoch > latestEpoch && epoch !== this.#unexplainedEpoch
    return isNew ? epoch : null
  }

  /**
   * Repeats `task` until no record was taken away or replaced while it ran, and looks at a log of another
   * process again where it has to.
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
        // Closing a log closes its files under those who read them.
        this.#guard.ensureOpen()
        // Who writes the log may have removed the file, or put another one in its place.
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

  /** The records of a batch; damage that is found inside gets its place in the file. */
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
 * @throws {@link OffsetOutOfRangeError} when `offset` is outside of [`logStartOffset`,
 * `logEndOffset`]; TypeError or RangeError when it is no offset at all.
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
