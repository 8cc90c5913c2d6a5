import type { File } from '../platform/file-system.ts'
import { buffersOf, type RecordBatch } from '../record/record-batch.ts'
import type { BatchPlace } from '../record/record-reader.ts'
import { CachedBatches } from './batch-cache.ts'
import { readFewPromptly, type FewLimits, type FewRecords } from './few-records.ts'
import { IndexHolder, type IndexedSegment } from './index-holder.ts'
import { segmentFilePath } from './log-files.ts'
import { readPromptly, type PromptLimits } from './prompt-read.ts'
import { readRangeBefore, type BackwardLimits } from './backward-read.ts'
import { isPreallocated, Preallocation } from './preallocation.ts'
import { SegmentFile } from './segment-file.ts'
import type { SegmentIndexes } from './segment-indexes.ts'
import { recoverSegment, type SegmentScan } from './segment-recovery.ts'
import type { RecoverChecks, SegmentOptions } from './segment-options.ts'
import type { SegmentEntry } from './segment-record.ts'
import {
  LARGEST_RELATIVE_OFFSET,
  scanBatches,
  type ScanRange,
  type ScanResult,
} from './segment-scan.ts'
import {
  isBatchThere,
  noteAgain,
  readRange,
  restBelow,
  type ReadLimits,
  type SegmentView,
} from './segment-search.ts'
import { SegmentSum, sumAgain } from './segment-sum.ts'
import { SegmentTimes } from './segment-times.ts'

/**
 * One segment of a log: the file `NNN.log` and its two indexes.
 *
 * With base offset B and next offset N, every record r of the segment has B <= r.offset < N, and
 * every record of the next segment has r.offset >= N. B need not be the offset of a record.
 *
 * The end of the segment is `sizeBytes`, not the size of the file: bytes beyond it are
 * preallocated, or belong to a write that failed or is in progress. Reads may overlap with
 * everything; their results are invalid if the segment was truncated meanwhile. All other calls
 * must not overlap.
 */
export class LogSegment implements IndexedSegment {
  readonly baseOffset: number
  readonly path: string
  /** The log file. */
  readonly file: SegmentFile
  /** Its indexes, as far as they are in memory. */
  readonly held: IndexHolder
  readonly times: SegmentTimes
  /** The preallocated bytes after its batches. */
  readonly preallocation: Preallocation
  /** Checksum of the file as far as it is known. */
  readonly sum: SegmentSum
  /** The part of the segment that is covered by a successful sync. */
  durable: SegmentEntry
  /** Size of all whole batches. */
  sizeBytes = 0
  /** One above the last offset of the last batch; `baseOffset` if there is none. */
  nextOffset: number
  readonly #cached: CachedBatches | null
  /** Last batch that a scan found; `null` if there is none. */
  #lastBatch: { position: number; crc: number; nextOffset: number } | null = null

  /** @param suffix is appended to the names of its files. */
  constructor(baseOffset: number, options: SegmentOptions, suffix = '') {
    const { dir, readOnly, batchCache } = options
    this.baseOffset = baseOffset
    this.nextOffset = baseOffset
    this.sum = new SegmentSum(baseOffset)
    this.durable = this.entry
    this.path = segmentFilePath(dir, baseOffset, 'log') + suffix
    this.file = new SegmentFile(this.path, options)
    this.held = new IndexHolder(this, options, suffix)
    this.times = new SegmentTimes(this)
    this.preallocation = new Preallocation(this)
    // Changes that another process makes to the file are not noticed at once.
    this.#cached = readOnly || batchCache === undefined ? null : new CachedBatches(batchCache)
  }

  /** Creates a new, empty segment, reusing files of that name that a crash left behind. */
  static async create(baseOffset: number, options: SegmentOptions): Promise<LogSegment> {
    const segment = new LogSegment(baseOffset, options)
    await segment.create()
    return segment
  }

  /** Creates an empty file, reusing one of that name. The name is not yet durable. */
  async create(): Promise<void> {
    try {
      await this.file.create()
      if ((await this.file.use((file) => file.stat())).sizeBytes > 0) await this.cutFile()
      await this.indexes.loadEnd()
      this.indexes.clear()
      this.held.setLoaded()
    } catch (error) {
      await this.close().catch(() => undefined)
      throw error
    }
  }

  /** Empty while they are not loaded. */
  get indexes(): SegmentIndexes {
    return this.held.indexes
  }

  /** The current state of the segment, for the record. */
  get entry(): SegmentEntry {
    return this.sum.entryOf(this)
  }

  /** Whether a batch with this last offset can be addressed relative to the base offset. */
  fits(lastOffset: number): boolean {
    return lastOffset - this.baseOffset <= LARGEST_RELATIVE_OFFSET
  }

  /**
   * Appends stamped batches and indexes them. They are not durable before {@link LogSegment.flush}.
   * If it rejects, memory is unchanged. Bytes may then be in the file beyond `sizeBytes`, but only
   * if `onBegin` was called.
   */
  async append(batches: readonly RecordBatch[], onBegin?: () => void): Promise<void> {
    if (!this.held.canAppend) await this.loadIndexes()
    await this.file.write(buffersOf(batches), this.sizeBytes, onBegin)
    for (const batch of batches) this.#note(batch)
  }

  /**
   * Synchronous variant of {@link LogSegment.append}.
   *
   * @param sizeBytes of all batches.
   * @returns the number of bytes written; -1 if no write was attempted. If it is not all of them,
   * or if it throws, memory is unchanged, and bytes may be in the file after the last batch.
   */
  appendNow(batches: readonly RecordBatch[], sizeBytes: number): number {
    if (!this.held.canAppend) return -1
    const count = this.file.writeNow(buffersOf(batches), this.sizeBytes)
    if (count === sizeBytes) for (const batch of batches) this.#note(batch)
    return count
  }

  /** Synchronous variant of {@link LogSegment.flush}. @returns false if it has to wait */
  flushNow(): boolean {
    const { entry } = this
    if (!this.file.datasyncNow()) return false
    this.durable = entry
    return true
  }

  /** Notes that all of the segment is durable. */
  noteDurable(): void {
    this.durable = this.entry
  }

  /** Makes the log file durable up to `sizeBytes`. A rejection must not be retried. */
  async flush(): Promise<void> {
    const { entry } = this
    await this.file.datasync()
    this.durable = entry
  }

  /**
   * Reads the batch that holds `offset`, or the first one after it, and those that follow.
   *
   * @returns no batches if there are none in [`offset`, `limits.endOffset`).
   * @throws {@link CorruptRecordError} if the first batch is damaged; later damage ends the range.
   */
  read(offset: number, limits: ReadLimits): Promise<readonly RecordBatch[]> {
    return this.#lookUp((view) => readRange(view, offset, limits))
  }

  /** See {@link readRangeBefore}. */
  readBefore(endOffset: number, limits: BackwardLimits): Promise<readonly RecordBatch[]> {
    return this.#lookUp((view) => readRangeBefore(view, endOffset, limits))
  }

  /** Synchronous variant of {@link LogSegment.read}; see {@link readPromptly}. */
  readNow(offset: number, limits: PromptLimits): readonly RecordBatch[] {
    const view = this.#viewNow
    return view === null ? [] : readPromptly(view, offset, limits, null)
  }

  /** See {@link readFewPromptly}. */
  readFewNow(offset: number, limits: FewLimits, place: BatchPlace): FewRecords | null {
    const view = this.#viewNow
    return view && readFewPromptly(view, offset, limits, { place, cached: this.#cached })
  }

  /** What a truncation to `offset` leaves: everything before the batch that holds `offset`. */
  restBelow(offset: number): Promise<{ sizeBytes: number; endOffset: number }> {
    return this.#lookUp((view) => restBelow(view, offset))
  }

  /**
   * Truncates the segment before the batch that holds `offset`. `nextOffset` becomes exactly
   * `offset`, even inside a batch. Durable when it resolves.
   */
  async truncateTo(offset: number): Promise<void> {
    const rest = await this.restBelow(offset)
    await this.held.loadTimes()
    this.nextOffset = Math.max(offset, this.baseOffset)
    // Reads that begin now end there.
    this.sizeBytes = rest.sizeBytes
    this.#lastBatch = null
    this.#cached?.clear()
    this.times.truncated()
    this.indexes.truncateTo(rest.endOffset)
    // Until the truncation has succeeded, nothing is known about the remaining bytes.
    this.sum.forget(this)
    if (this.durable.sizeBytes > rest.sizeBytes) this.durable = this.entry
    try {
      await this.cutFile()
      await this.file.use((file) => noteAgain(this.view(file)))
      this.sum.restore(await this.file.use((file) => sumAgain(file, this)))
      this.durable = this.entry
    } catch (error) {
      // The indexes of the remaining batches may be incomplete.
      this.held.distrust()
      throw error
    } finally {
      // Queries during the truncation may have seen removed batches.
      this.times.truncated()
    }
  }

  /** Durably truncates the file to `sizeBytes`. @throws InDoubtError if the sync fails */
  async cutFile(): Promise<void> {
    await this.file.cut(this.sizeBytes)
    this.preallocation.noteCut()
  }

  /** Loads what appends need of the indexes; rebuilds them in memory if they do not match. */
  loadIndexes(): Promise<void> {
    return this.held.load()
  }

  /** See {@link IndexedSegment}. */
  async noteAgain(indexes: SegmentIndexes, onDone?: () => void): Promise<void> {
    await this.file.use(async (file) => {
      let sizeBytes: number
      do {
        sizeBytes = this.sizeBytes
        await noteAgain({ ...this.view(file), indexes })
      } while (sizeBytes !== this.sizeBytes)
      onDone?.()
    })
  }

  /**
   * Recovers a segment whose last bytes are in doubt: trusts the index files below `trustedOffset`,
   * and reads everything from there on from the log file. `sizeBytes` becomes the end of the last
   * valid batch.
   */
  async recover(
    fileSizeBytes: number,
    trustedOffset: number,
    checks: RecoverChecks = {},
  ): Promise<ScanResult & { wasRebuilt: boolean }> {
    const isTrusted = trustedOffset === Number.MAX_SAFE_INTEGER
    let isLoaded = await (isTrusted ? this.indexes.loadEnd() : this.indexes.load())
    if (!isTrusted) this.indexes.truncateTo(trustedOffset)
    if (this.indexes.lacksTimes && (await this.times.first()) >= 0) {
      this.indexes.clear()
      isLoaded = false
    }
    this.held.setLoaded()
    const scan: SegmentScan = (from, each) => this.#scan(fileSizeBytes, from, each)
    const { isTrue, ...result } = await recoverSegment(this, scan, checks)
    return { wasRebuilt: !isTrue || !isLoaded, ...result }
  }

  /** Picks up appends of another process; false, without a change, if known batches are gone. */
  async follow(fileSizeBytes: number): Promise<boolean> {
    const last = this.#lastBatch
    const { sizeBytes: position } = this
    // For a segment that was sealed when it was found, the end of its last batch is unknown.
    if (fileSizeBytes < position || (last === null && position > 0)) return false
    if (last !== null) {
      const batch = { ...last, end: position }
      if (!(await this.file.use((file) => isBatchThere(file, batch)))) return false
    }
    // While another segment followed, this one ended where that one begins.
    this.nextOffset = last?.nextOffset ?? this.baseOffset
    if (fileSizeBytes <= position) return true
    if (await this.file.use((file) => isPreallocated(file, position, position + 1))) return true
    await this.#scan(fileSizeBytes, { position, lowestOffset: this.nextOffset }, { gaps: 'any' })
    return true
  }

  /** Adds the final time entry and makes both indexes durable. @returns whether a name is new. */
  async seal(): Promise<boolean> {
    if (!this.held.canAppend) await this.loadIndexes()
    this.indexes.addFinalTimeEntry()
    return this.indexes.write()
  }

  /** Closes the file for good. */
  async close(): Promise<void> {
    this.#cached?.clear()
    await this.file.close()
  }

  /** The current state of the segment, for searches in its file. */
  view(file: File): SegmentView {
    const { baseOffset, nextOffset, sizeBytes, indexes } = this
    return { file, baseOffset, nextOffset, sizeBytes, indexes }
  }

  get #viewNow(): SegmentView | null {
    const file = this.file.openNow
    return file === null || !this.held.areOffsetsLoaded ? null : this.view(file)
  }

  #note(batch: RecordBatch): void {
    const position = this.sizeBytes
    if (position === 0) this.times.ofFirstBatch = batch.maxTimestamp
    this.indexes.note(batch, position)
    this.sum.note(batch, position)
    this.sizeBytes = position + batch.sizeBytes
    this.nextOffset = batch.nextOffset
  }

  /** Adds the valid batches between `from` and `end` in the file, and ends after the last one. */
  async #scan(
    end: number,
    from: { position: number; lowestOffset: number },
    checks: RecoverChecks & Pick<ScanRange, 'gaps'> = {},
  ): Promise<ScanResult> {
    const { baseOffset } = this
    const { gaps = 'any', objection, onBatch } = checks
    const { position, lowestOffset: nextOffset } = from
    this.sizeBytes = position
    return this.file.use((file) =>
      scanBatches(file, { position, end, baseOffset, nextOffset, gaps, objection }, (batch, at) => {
        this.#note(batch)
        this.#lastBatch = { position: at, crc: batch.crc, nextOffset: batch.nextOffset }
        onBatch?.(batch, at)
      }),
    )
  }

  /** Runs a search by offset over the current state of the segment. */
  #lookUp<T>(search: (view: SegmentView) => Promise<T>): Promise<T> {
    return this.file.use(async (file) => {
      await this.held.loadOffsets()
      return search(this.view(file))
    })
  }
}
