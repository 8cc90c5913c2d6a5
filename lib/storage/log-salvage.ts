import { join } from 'node:path'
import { CorruptRecordError, StorageError } from '../errors.ts'
import { readWholeFile, replaceFile, writeFully } from '../platform/file-io.ts'
import type { File, FileSystem } from '../platform/file-system.ts'
import { isSystemError } from '../platform/system-error.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import { segmentFilePath } from './log-files.ts'
import { LEADER_EPOCH_FILE } from './leader-epoch-cache.ts'
import { entryOf, isDenseOnRecord, sealedOf } from './log-inventory.ts'
import { checkLogOptions, createDurably, type LogOptions } from './log-options.ts'
import { isBadMedium } from './read-failure.ts'
import { ensureHoldsLog } from './salvage-directory.ts'
import { nextCandidate } from './salvage-search.ts'
import { SalvageSource } from './salvage-source.ts'
import { SalvagedEpochs } from './salvaged-epochs.ts'
import { SalvagedSegment } from './salvaged-segment.ts'
import { PARTITION_METADATA_FILE } from './partition-metadata.ts'
import { isIntruder } from './segment-audit.ts'
import { SegmentRecordFile, type SegmentEntry, type SegmentRecord } from './segment-record.ts'
import { isPreallocated } from './preallocation.ts'
import { scanBatches } from './segment-scan.ts'
import { findLogFiles } from './swap-files.ts'
import { valuesOfTornBatches, type ValueRange } from './torn-batch.ts'
import { copyTransactionIndex } from './transaction-index.ts'

/** A range of offsets that a salvage could not save. */
export interface LostRange {
  readonly firstOffset: number
  /** Inclusive; `null` if it is unknown how far the log went. */
  readonly lastOffset: number | null
  /** The file that should hold the range; `null` if it is missing. */
  readonly path: string | null
  /** Position in the file of the first unusable byte. */
  readonly position: number
  /** What is wrong with the bytes; the system's error if they could not be read. */
  readonly reason: string
}

/** What a salvage has saved, and what it has lost. */
export interface SalvageReport {
  /** Number of whole batches copied, byte for byte except for damaged leader epochs. */
  readonly batchCount: number
  /** Number of records in these batches. */
  readonly recordCount: number
  readonly logStartOffset: number
  /** End of the new log: above every offset known to have been in the old one, saved or not. */
  readonly logEndOffset: number
  /** In offset order. */
  readonly lost: readonly LostRange[]
}

interface SourceSegment {
  readonly baseOffset: number
  readonly path: string
  /** The file of its aborted transactions; `null` if a broker has written none. */
  readonly transactions: string | null
  /** No batch of the segment has this offset or a higher one. */
  readonly nextOffset: number
}

/** Approximate limit on the memory that holds checked batches until they are copied. */
const PIECE_BYTES = 8 * 1024 * 1024
const MAX_FILE_BYTES = 64 * 1024 * 1024

/** Runs {@link LogSalvage}. Creates the target if it does not exist. */
export async function salvageSegments(
  dir: string,
  targetDir: string,
  options: LogOptions,
): Promise<SalvageReport> {
  // Checked before the copy: otherwise the copy would have to be repeated.
  const { fileSystem } = checkLogOptions(targetDir, options)
  try {
    await ensureHoldsLog(fileSystem, dir)
    await createDurably(fileSystem, targetDir)
    return await new LogSalvage(fileSystem, dir, targetDir).run()
  } catch (error) {
    if (!isSystemError(error)) throw error
    const message = `${dir} could not be salvaged: ${error.message}`
    throw new StorageError(message, { path: dir, outcome: 'not-written' }, { cause: error })
  }
}

/**
 * Copies every sound batch of a damaged log into an empty directory, segment by segment, under its
 * original offsets. The source is only read.
 */
class LogSalvage {
  readonly #fileSystem: FileSystem
  readonly #dir: string
  readonly #targetDir: string
  readonly #epochs: SalvagedEpochs
  #lost: LostRange[] = []
  #batchCount = 0
  #recordCount = 0
  /** Whether the last file has more bytes than its entry in the record. */
  #goesOn = false
  /** One above the last offset that was copied or given up. */
  #nextOffset = 0

  constructor(fileSystem: FileSystem, dir: string, targetDir: string) {
    this.#fileSystem = fileSystem
    this.#dir = dir
    this.#targetDir = targetDir
    this.#epochs = new SalvagedEpochs(fileSystem, dir)
  }

  /**
   * Does the work. The directories must exist. The files are not synced: opening the target makes
   * them durable, and before that nothing is reported.
   */
  async run(): Promise<SalvageReport> {
    if ((await this.#fileSystem.list(this.#targetDir)).length > 0) {
      throw new StorageError(`${this.#targetDir} is not empty`, {
        path: this.#targetDir,
        outcome: 'not-written',
      })
    }
    const { record, start } = await this.#readRecord()
    await this.#epochs.load()
    const sources = await this.#listSegments(record)
    const firstOffset = sources[0]?.baseOffset ?? 0
    const logStartOffset = start ?? firstOffset
    const knownEnd = record?.segments.at(-1)?.nextOffset ?? 0
    // Batches below the start may share a segment with those above it.
    this.#nextOffset = Math.min(logStartOffset, Math.max(firstOffset, 0))
    for (const source of sources) {
      if (source.nextOffset > logStartOffset) await this.#copySegment(source, record)
    }
    const reason = 'the file is missing or too short'
    this.#giveUpTo(knownEnd, { path: null, position: 0, reason })
    // A crash may have cut the batch that the start lies in.
    this.#nextOffset = Math.max(this.#nextOffset, logStartOffset)
    await this.#finish()
    return {
      batchCount: this.#batchCount,
      recordCount: this.#recordCount,
      logStartOffset,
      logEndOffset: this.#nextOffset,
      lost: this.#lost.filter(({ lastOffset }) => (lastOffset ?? Infinity) >= logStartOffset),
    }
  }

  async #readRecord(): Promise<{ record: SegmentRecord | null; start: number | null }> {
    const file = new SegmentRecordFile(this.#fileSystem, this.#dir)
    try {
      const record = await file.read()
      return { record, start: record?.logStartOffset ?? null }
    } catch (error) {
      if (!(error instanceof CorruptRecordError || isBadMedium(error))) throw error
      return { record: null, start: file.beforeLastEdit?.logStartOffset ?? null }
    }
  }

  /** Excludes segments that begin inside one that is as on record: they are not the log's. */
  async #listSegments(record: SegmentRecord | null): Promise<SourceSegment[]> {
    const files = await findLogFiles(this.#fileSystem, this.#dir)
    const transactions = new Map<number, string>()
    const logs: { readonly offset: number; readonly path: string }[] = []
    let whole: SegmentEntry | null = null
    for (const { kind, offset, path } of files) {
      if (kind === 'txnindex') transactions.set(offset, path)
      if (kind !== 'log' || isIntruder(whole, { baseOffset: offset })) continue
      logs.push({ offset, path })
      const entry = entryOf(record, offset)
      const { sizeBytes = 0 } = (await this.#fileSystem.stat(path)) ?? {}
      // The last segment on record may have grown since.
      const mostBytes = sealedOf(record, offset)?.sizeBytes ?? Infinity
      const isWhole = entry !== null && entry.sizeBytes <= sizeBytes && sizeBytes <= mostBytes
      whole = isWhole ? entry : null
    }
    return logs.map(({ offset, path }, slot) => {
      const nextBase = logs[slot + 1]?.offset ?? Infinity
      const nextOffset = Math.min(sealedOf(record, offset)?.nextOffset ?? Infinity, nextBase)
      return {
        baseOffset: offset,
        path,
        nextOffset,
        transactions: transactions.get(offset) ?? null,
      }
    })
  }

  async #copySegment(source: SourceSegment, record: SegmentRecord | null): Promise<void> {
    const { baseOffset, path, nextOffset: limit } = source
    this.#giveUpTo(baseOffset, { path: null, position: 0, reason: 'a segment is missing' })
    const entry = entryOf(record, baseOffset)
    const from = await this.#openSource(source, entry)
    if (from === null) return
    try {
      const to = await this.#createSegment(Math.max(baseOffset, this.#nextOffset))
      try {
        const { sizeBytes } = await from.stat()
        this.#goesOn = entry === null || sizeBytes > entry.sizeBytes
        const isDense = isDenseOnRecord(record, baseOffset)
        await this.#copyBatches(source, from, to, { entry, isDense })
        if (entry !== null && sizeBytes < entry.sizeBytes) {
          const reason = `${entry.sizeBytes - sizeBytes} recorded bytes are missing`
          this.#giveUpTo(entry.nextOffset, { path, position: sizeBytes, reason })
        }
      } finally {
        await to.close()
      }
    } finally {
      await from.close()
    }
    if (limit !== Infinity && sealedOf(record, baseOffset) === null) {
      this.#giveUpTo(limit, { path, position: 0, reason: 'offsets are missing after it' })
    }
    // Gaps after the last batch on record belong to damage already listed, or to a truncation.
    if (limit !== Infinity) this.#nextOffset = Math.max(this.#nextOffset, limit)
  }

  /** @returns `null` if the disk does not let the file be opened: all of it is lost. */
  async #openSource(
    { path, nextOffset: limit }: SourceSegment,
    entry: SegmentEntry | null,
  ): Promise<SalvageSource | null> {
    try {
      return new SalvageSource(await this.#fileSystem.open(path, 'read'))
    } catch (error) {
      if (!isBadMedium(error)) throw error
      const { sizeBytes = 0 } = (await this.#fileSystem.stat(path)) ?? {}
      this.#goesOn = entry === null || sizeBytes > entry.sizeBytes
      const place = { path, position: 0, reason: error.message }
      if (limit !== Infinity) this.#giveUpTo(limit, place)
      else if (sizeBytes > 0) {
        this.#lost.push({ firstOffset: this.#nextOffset, lastOffset: null, ...place })
      }
      return null
    }
  }

  async #copyBatches(
    source: SourceSegment,
    from: SalvageSource,
    to: File,
    { entry, isDense }: { readonly entry: SegmentEntry | null; readonly isDense: boolean },
  ): Promise<void> {
    const { path, nextOffset: limit } = source
    const { sizeBytes: end } = await from.stat()
    const found = new SalvagedSegment(source.baseOffset, entry)
    let size = 0
    let position = 0
    let damage: { position: number; reason: string } | null = null
    let values: readonly ValueRange[] = []
    while (position < end) {
      const objection = (batch: RecordBatch, at: number): string | null => {
        // Bytes that no checksum covers may not have been read.
        const unread = from.whyUnreadable(at, at + batch.sizeBytes)
        if (unread !== null) return unread
        const { nextOffset, baseOffset: offset } = batch
        if (nextOffset > limit)
          return `it ends at ${nextOffset}, but the next segment begins at ${limit}`
        // No checksum covers the base offset. Behind a sound batch only one value is possible.
        const isElsewhere = isDense && damage === null && offset !== this.#nextOffset
        return isElsewhere ? `its base offset is ${offset}, not ${this.#nextOffset}` : null
      }
      const { baseOffset } = source
      const nextOffset = this.#nextOffset
      const range = { position, end, nextOffset, baseOffset, mostBytes: PIECE_BYTES, objection }
      const sound: Buffer[] = []
      const scan = await scanBatches(from, range, (batch, at) => {
        const place = damage ?? { position: at, reason: 'offsets are missing before it' }
        const lost = this.#giveUpTo(batch.baseOffset, { path, ...place })
        if (damage === null && lost !== null) found.gaps.add(lost)
        damage = null
        found.note(batch, at, this.#epochs.note(batch))
        this.#nextOffset = batch.nextOffset
        this.#batchCount += 1
        this.#recordCount += batch.recordCount
        sound.push(Buffer.from(batch.buffer.subarray(0, batch.sizeBytes)))
      })
      // The checked bytes are copied: a bad sector may be readable once and never again.
      const copy = Buffer.concat(sound)
      await writeFully(to, [copy], size)
      size += copy.length
      position = scan.position
      if (scan.reason === null) continue
      if (damage === null) values = await valuesOfTornBatches(from, { ...scan, end })
      damage ??= { position: scan.position, reason: scan.reason }
      found.isDamaged = true
      position = await nextCandidate(from, scan.position, end, values)
      const reason = from.whyUnreadable(scan.position, position)
      if (reason !== null) damage = { ...damage, reason }
    }
    if (end < (entry?.sizeBytes ?? 0)) found.isDamaged = true
    if (found.areGapsOnRecord) this.#lost = this.#lost.filter((range) => !found.gaps.has(range))
    await copyTransactionIndex(this.#fileSystem, source.transactions, to.path, found.markers)
    if (found.isEpochDisputed) this.#epochs.dispute(to.path, found.areEpochsOnRecord)
    if (damage === null) return
    if (limit !== Infinity) this.#giveUpTo(limit, { path, ...damage })
    else if (!(await isPreallocated(from, damage.position, end))) {
      this.#lost.push({ firstOffset: this.#nextOffset, lastOffset: null, path, ...damage })
    }
  }

  /** @returns the listed range; `null` if there is none, or the previous one extends to there. */
  #giveUpTo(
    endOffset: number,
    place: Omit<LostRange, 'firstOffset' | 'lastOffset'>,
  ): LostRange | null {
    if (endOffset <= this.#nextOffset) return null
    const firstOffset = this.#nextOffset
    this.#nextOffset = endOffset
    const open = this.#lost.at(-1)
    const lastOffset = endOffset - 1
    // The damage at the end of the last file has no known end. The record may supply it, unless the
    // file has grown since then.
    if (open?.lastOffset === null) {
      if (!this.#goesOn) this.#lost.splice(-1, 1, { ...open, lastOffset })
      return null
    }
    const range = { firstOffset, lastOffset, ...place }
    this.#lost.push(range)
    return range
  }

  async #createSegment(baseOffset: number): Promise<File> {
    const path = segmentFilePath(this.#targetDir, baseOffset, 'log')
    return this.#fileSystem.open(path, 'create-new')
  }

  /** The name of the last segment sets the next offset, so that lost offsets are not reused. */
  async #finish(): Promise<void> {
    const path = segmentFilePath(this.#targetDir, this.#nextOffset, 'log')
    if ((await this.#fileSystem.stat(path)) === null) {
      await (await this.#createSegment(this.#nextOffset)).close()
    }
    // The checkpoint may know more epochs. One whose records are lost must not be reused.
    if (await this.#epochs.settle()) await this.#copyFile(LEADER_EPOCH_FILE)
    await this.#copyFile(PARTITION_METADATA_FILE)
  }

  async #copyFile(name: string): Promise<void> {
    const content = await this.#readFile(name)
    if (content === null) return
    await replaceFile(this.#fileSystem, join(this.#targetDir, name), content)
  }

  /** `null` if the file does not exist or cannot be read from the disk. */
  async #readFile(name: string): Promise<Buffer | null> {
    try {
      return await readWholeFile(this.#fileSystem, join(this.#dir, name), MAX_FILE_BYTES)
    } catch (error) {
      if (isBadMedium(error)) return null
      throw error
    }
  }
}
