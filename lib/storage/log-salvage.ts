import { join } from 'node:path'
import { CorruptRecordError, StorageError } from '../errors.ts'
import { readFully, readWholeFile, replaceFile, writeFully } from '../platform/file-io.ts'
import type { File, FileSystem } from '../platform/file-system.ts'
import { isSystemError } from '../platform/system-error.ts'
import { BATCH_LENGTH_POSITION, MAGIC_POSITION } from '../record/batch-layout.ts'
import {
  LOG_OVERHEAD,
  MAGIC_V2,
  RECORD_BATCH_OVERHEAD,
  type RecordBatch,
} from '../record/record-batch.ts'
import { segmentFilePath } from './log-files.ts'
import { loadEpochs } from './epoch-refill.ts'
import { LEADER_EPOCH_FILE, LeaderEpochCache } from './leader-epoch-cache.ts'
import { entryOf, isDenseOnRecord } from './log-inventory.ts'
import { checkLogOptions, createDurably, type LogOptions } from './log-options.ts'
import { PARTITION_METADATA_FILE } from './partition-metadata.ts'
import { isIntruder } from './segment-audit.ts'
import { SegmentRecordFile, type SegmentEntry, type SegmentRecord } from './segment-record.ts'
import { isPreallocated } from './preallocation.ts'
import { scanBatches } from './segment-scan.ts'
import { findLogFiles } from './swap-files.ts'
import { liesInValue, valuesOfTornBatches, type ValueRange } from './torn-batch.ts'

/** Offsets that a salvage could not save. */
export interface LostRange {
  readonly firstOffset: number
  /** Inclusive; `null` where nothing tells how far the log once went. */
  readonly lastOffset: number | null
  /** The file that should hold them, `null` when it is missing. */
  readonly path: string | null
  /** Where in the file the bytes begin that could not be used. */
  readonly position: number
  readonly reason: string
}

/** What a salvage has saved, and what not. */
export interface SalvageReport {
  /** Whole batches that were copied, byte for byte. */
  readonly batchCount: number
  /** Records in them. */
  readonly recordCount: number
  readonly logStartOffset: number
  /** Where the new log ends: behind everything that is known to have been there, saved or not. */
  readonly logEndOffset: number
  /** In offset order. */
  readonly lost: readonly LostRange[]
}

interface SourceSegment {
  readonly baseOffset: number
  readonly path: string
  /** No batch of the segment has this offset or a higher one. */
  readonly nextOffset: number
}

const CHUNK_BYTES = 1024 * 1024
const MAX_FILE_BYTES = 64 * 1024 * 1024

/** Does the work of {@link LogSalvage} on a target that is made if it is not there. */
export async function salvageSegments(
  dir: string,
  targetDir: string,
  options: LogOptions,
): Promise<SalvageReport> {
  // Whoever finds out behind the copy has to make it again.
  const { fileSystem } = checkLogOptions(targetDir, options)
  try {
    await createDurably(fileSystem, targetDir)
    return await new LogSalvage(fileSystem, dir, targetDir).run()
  } catch (error) {
    if (!isSystemError(error)) throw error
    const message = `${dir} could not be salvaged: ${error.message}`
    throw new StorageError(message, { path: dir, outcome: 'not-written' }, { cause: error })
  }
}

/**
 * Copies every sound batch of a damaged log into an empty directory, segment by segment, under the
 * offsets it has. The source is only read.
 */
class LogSalvage {
  readonly #fileSystem: FileSystem
  readonly #dir: string
  readonly #targetDir: string
  readonly #lost: LostRange[] = []
  #batchCount = 0
  #recordCount = 0
  /** Whether the last file has more bytes than are on record of it. */
  #goesOn = false
  /** Behind the last batch that was copied, or the last offset that was given up. */
  #nextOffset = 0

  constructor(fileSystem: FileSystem, dir: string, targetDir: string) {
    this.#fileSystem = fileSystem
    this.#dir = dir
    this.#targetDir = targetDir
  }

  /**
   * Does the work. The directories must exist. What is written is not synced: whoever opens the
   * target makes all of it durable, and before that nobody was told of it.
   */
  async run(): Promise<SalvageReport> {
    if ((await this.#fileSystem.list(this.#targetDir)).length > 0) {
      throw new StorageError(`${this.#targetDir} is not empty`, {
        path: this.#targetDir,
        outcome: 'not-written',
      })
    }
    const record = await this.#readRecord()
    const sources = await this.#listSegments(record)
    const firstOffset = sources[0]?.baseOffset ?? 0
    const logStartOffset = record?.logStartOffset ?? firstOffset
    const knownEnd = record?.segments.at(-1)?.nextOffset ?? 0
    // Batches below the start may share a segment with those above it.
    this.#nextOffset = Math.min(logStartOffset, Math.max(firstOffset, 0))
    for (const source of sources) {
      if (source.nextOffset > logStartOffset) await this.#copySegment(source, record)
    }
    this.#giveUpTo(knownEnd, {
      path: null,
      position: 0,
      reason: 'the file is missing or too short',
    })
    await this.#finish()
    return {
      batchCount: this.#batchCount,
      recordCount: this.#recordCount,
      logStartOffset,
      logEndOffset: this.#nextOffset,
      lost: this.#lost.filter(({ lastOffset }) => (lastOffset ?? Infinity) >= logStartOffset),
    }
  }

  async #readRecord(): Promise<SegmentRecord | null> {
    try {
      return await new SegmentRecordFile(this.#fileSystem, this.#dir).read()
    } catch (error) {
      if (error instanceof CorruptRecordError) return null
      throw error
    }
  }

  /** Those that begin inside of one that is as on record are none of the log's, and hold nothing more. */
  async #listSegments(record: SegmentRecord | null): Promise<SourceSegment[]> {
    const files = await findLogFiles(this.#fileSystem, this.#dir)
    const logs: { readonly offset: number; readonly path: string }[] = []
    let whole: SegmentEntry | null = null
    for (const { kind, offset, path } of files) {
      if (kind !== 'log' || isIntruder(whole, { baseOffset: offset })) continue
      logs.push({ offset, path })
      const entry = sealedOf(record, offset)
      const { sizeBytes } = (await this.#fileSystem.stat(path)) ?? {}
      whole = entry?.sizeBytes === sizeBytes ? entry : null
    }
    return logs.map(({ offset, path }, slot) => {
      const nextBase = logs[slot + 1]?.offset ?? Infinity
      const nextOffset = Math.min(sealedOf(record, offset)?.nextOffset ?? Infinity, nextBase)
      return { baseOffset: offset, path, nextOffset }
    })
  }

  async #copySegment(source: SourceSegment, record: SegmentRecord | null): Promise<void> {
    const { baseOffset, path, nextOffset: limit } = source
    this.#giveUpTo(baseOffset, { path: null, position: 0, reason: 'a segment is missing' })
    const from = await this.#fileSystem.open(path, 'read')
    try {
      const to = await this.#createSegment(Math.max(baseOffset, this.#nextOffset))
      try {
        const entry = entryOf(record, baseOffset)
        const { sizeBytes } = await from.stat()
        this.#goesOn = entry === null || sizeBytes > entry.sizeBytes
        await this.#copyBatches(source, from, to, isDenseOnRecord(record, baseOffset))
        if (entry !== null && sizeBytes < entry.sizeBytes) {
          const reason = `${entry.sizeBytes - sizeBytes} bytes on record are missing`
          this.#giveUpTo(entry.nextOffset, { path, position: sizeBytes, reason })
        }
      } finally {
        await to.close()
      }
    } finally {
      await from.close()
    }
    if (limit !== Infinity && sealedOf(record, baseOffset) === null) {
      this.#giveUpTo(limit, { path, position: 0, reason: 'offsets are missing behind it' })
    }
    // Offsets behind the last batch on record belong to damage that was noted, or to a truncation.
    if (limit !== Infinity) this.#nextOffset = Math.max(this.#nextOffset, limit)
  }

  async #copyBatches(source: SourceSegment, from: File, to: File, isDense: boolean): Promise<void> {
    const { baseOffset, path, nextOffset: limit } = source
    const { sizeBytes: end } = await from.stat()
    let size = 0
    let position = 0
    let damage: { position: number; reason: string } | null = null
    let values: readonly ValueRange[] = []
    while (position < end) {
      const objection = ({ nextOffset, baseOffset: offset }: RecordBatch): string | null => {
        if (nextOffset > limit)
          return `it ends at ${nextOffset}, the next segment begins at ${limit}`
        // No checksum covers it, and behind a sound batch there is one that it can be.
        const isElsewhere = isDense && damage === null && offset !== this.#nextOffset
        return isElsewhere ? `its base offset is ${offset}, not ${this.#nextOffset}` : null
      }
      const range = { position, end, baseOffset, nextOffset: this.#nextOffset, objection }
      const scan = await scanBatches(from, range, (batch, at) => {
        const place = damage ?? { position: at, reason: 'offsets are missing before it' }
        this.#giveUpTo(batch.baseOffset, { path, ...place })
        damage = null
        this.#nextOffset = batch.nextOffset
        this.#batchCount += 1
        this.#recordCount += batch.recordCount
      })
      size += await copyBytes(from, position, scan.position - position, to, size)
      if (scan.reason === null) break
      if (damage === null) values = await valuesOfTornBatches(from, { ...scan, end })
      damage ??= { position: scan.position, reason: scan.reason }
      position = await nextCandidate(from, scan.position, end, values)
    }
    if (damage === null) return
    if (limit !== Infinity) this.#giveUpTo(limit, { path, ...damage })
    else if (!(await isPreallocated(from, damage.position, end))) {
      this.#lost.push({ firstOffset: this.#nextOffset, lastOffset: null, path, ...damage })
    }
  }

  #giveUpTo(endOffset: number, place: Omit<LostRange, 'firstOffset' | 'lastOffset'>): void {
    if (endOffset <= this.#nextOffset) return
    const firstOffset = this.#nextOffset
    this.#nextOffset = endOffset
    const open = this.#lost.at(-1)
    const lastOffset = endOffset - 1
    // The damage at the end of the last file has no end of its own; the record may know it, unless the
    // file goes on behind what was on record.
    if (open?.lastOffset !== null) this.#lost.push({ firstOffset, lastOffset, ...place })
    else if (!this.#goesOn) this.#lost.splice(-1, 1, { ...open, lastOffset })
  }

  async #createSegment(baseOffset: number): Promise<File> {
    const path = segmentFilePath(this.#targetDir, baseOffset, 'log')
    return this.#fileSystem.open(path, 'create-new')
  }

  /**
   * As far as they are known otherwise than from the batches: an epoch may be all that is wrong with one of
   * them, and one whose records are lost must not be given to others.
   */
  async #copyEpochs(): Promise<void> {
    if (!(await loadEpochs(new LeaderEpochCache(this.#fileSystem, this.#dir)))) return
    await this.#copyFile(LEADER_EPOCH_FILE)
  }

  /** The name of the last segment says where the log goes on: no lost offset is given out again. */
  async #finish(): Promise<void> {
    const path = segmentFilePath(this.#targetDir, this.#nextOffset, 'log')
    if ((await this.#fileSystem.stat(path)) === null) {
      await (await this.#createSegment(this.#nextOffset)).close()
    }
    await this.#copyEpochs()
    await this.#copyFile(PARTITION_METADATA_FILE)
  }

  async #copyFile(name: string): Promise<void> {
    const content = await readWholeFile(this.#fileSystem, join(this.#dir, name), MAX_FILE_BYTES)
    if (content === null) return
    await replaceFile(this.#fileSystem, join(this.#targetDir, name), content)
  }
}

/** Of the last one on record it is what was durable then: it may have grown, and been rolled. */
function sealedOf(record: SegmentRecord | null, baseOffset: number): SegmentEntry | null {
  const entry = entryOf(record, baseOffset)
  return entry === record?.segments.at(-1) ? null : entry
}

/** @returns how many bytes were copied. */
async function copyBytes(
  from: File,
  fromPosition: number,
  sizeBytes: number,
  to: File,
  toPosition: number,
): Promise<number> {
  const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, sizeBytes))
  for (let done = 0; done < sizeBytes; done += chunk.length) {
    const wanted = chunk.subarray(0, Math.min(chunk.length, sizeBytes - done))
    const count = await readFully(from, wanted, fromPosition + done)
    await writeFully(to, [wanted.subarray(0, count)], toPosition + done)
  }
  return sizeBytes
}

/**
 * Where a batch may begin behind damage at `position`; `end` for nowhere. A length that leads to
 * another batch is believed: what lies inside of a damaged batch may look like one, and is none.
 *
 * @param values of the damaged batch, and those behind it; what lies in one of them is none either.
 */
async function nextCandidate(
  file: File,
  position: number,
  end: number,
  values: readonly ValueRange[],
): Promise<number> {
  const header = Buffer.alloc(RECORD_BATCH_OVERHEAD)
  if ((await readFully(file, header, position)) === header.length) {
    const behind = position + Math.max(1, claimedSize(header, 0))
    if (behind === end) return end
    if (behind + RECORD_BATCH_OVERHEAD <= end && behind >= position + RECORD_BATCH_OVERHEAD) {
      await readFully(file, header, behind)
      if (mayBeHeader(header, 0, end - behind)) return behind
    }
  }
  for (let at = position + 1; at + RECORD_BATCH_OVERHEAD <= end; at += CHUNK_BYTES) {
    const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES + RECORD_BATCH_OVERHEAD, end - at))
    const count = await readFully(file, chunk, at)
    const last = Math.min(CHUNK_BYTES - 1, count - RECORD_BATCH_OVERHEAD)
    for (let each = 0; each <= last; each += 1) {
      const found = at + each
      if (!mayBeHeader(chunk, each, end - found)) continue
      if (!liesInValue(values, found, found + claimedSize(chunk, each))) return found
    }
  }
  return end
}

function mayBeHeader(bytes: Buffer, at: number, remainingBytes: number): boolean {
  if (bytes[at + MAGIC_POSITION] !== MAGIC_V2) return false
  const size = claimedSize(bytes, at)
  return size >= RECORD_BATCH_OVERHEAD && size <= remainingBytes
}

function claimedSize(bytes: Buffer, at: number): number {
  return bytes.readInt32BE(at + BATCH_LENGTH_POSITION) + LOG_OVERHEAD
}
