import { CorruptRecordError } from '../errors.ts'
import { writeFully } from '../platform/file-io.ts'
import type { File, FileSystem } from '../platform/file-system.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import { BatchReader } from './batch-reader.ts'
import { segmentFilePath } from './log-files.ts'
import { SegmentFile } from './segment-file.ts'
import { SegmentIndexes } from './segment-indexes.ts'
import { LARGEST_RELATIVE_OFFSET, scanBatches, type ScanResult } from './segment-scan.ts'
import {
  findBatchByTimestamp,
  findMaxTimestamp,
  misplaced,
  readRange,
  seek,
  walk,
  type BatchRange,
  type ReadLimits,
  type SegmentView,
} from './segment-search.ts'
import type { TimestampOffset } from './time-index.ts'

export type { BatchRange, ReadLimits } from './segment-search.ts'

/** What a segment needs to know of its log. */
export interface SegmentOptions {
  readonly fileSystem: FileSystem
  readonly dir: string
  readonly indexIntervalBytes: number
  readonly segmentIndexBytes: number
  /** Whether nothing on disk may be changed: indexes are then rebuilt in memory only. */
  readonly readOnly: boolean
}

/**
 * One segment of a log: the file `NNN.log` and its two indexes.
 *
 * With base offset B and next offset N, every record r of the segment has B <= r.offset < N, and
 * every record of the next segment has r.offset >= N. B need not be the offset of a record.
 *
 * `sizeBytes` is what counts, not the size of the file: bytes behind it are left-overs of a write
 * that failed, or of one that is going on. Reads may overlap with everything; what they return is
 * of no use when the segment was truncated meanwhile. All other calls must not overlap.
 */
export class LogSegment {
  readonly baseOffset: number
  readonly path: string
  readonly indexes: SegmentIndexes
  /** Bytes of whole batches. */
  sizeBytes = 0
  /** One above the last offset of the last batch; `baseOffset` while there is none. */
  nextOffset: number
  readonly #file: SegmentFile
  #loading: Promise<void> | null = null
  #firstBatchTimestamp: number | null = null
  #lastBatch: { position: number; crc: number } | null = null

  /** @param suffix stands behind the names of its files. */
  constructor(baseOffset: number, options: SegmentOptions, suffix = '') {
    const { dir, ...rest } = options
    this.baseOffset = baseOffset
    this.nextOffset = baseOffset
    this.path = segmentFilePath(dir, baseOffset, 'log') + suffix
    this.#file = new SegmentFile(this.path, options)
    this.indexes = new SegmentIndexes({
      ...rest,
      baseOffset,
      offsetIndexPath: segmentFilePath(dir, baseOffset, 'index') + suffix,
      timeIndexPath: segmentFilePath(dir, baseOffset, 'timeindex') + suffix,
    })
  }

  /** Makes a new, empty segment, taking over files of that name that a crash left behind. */
  static async create(baseOffset: number, options: SegmentOptions): Promise<LogSegment> {
    const segment = new LogSegment(baseOffset, options)
    await segment.create()
    return segment
  }

  /** Makes its file, empty, taking over one of that name; the name is not yet durable. */
  async create(): Promise<void> {
    try {
      await this.#file.create()
      if ((await this.#file.use((file) => file.stat())).sizeBytes > 0) await this.cutFile()
      await this.indexes.load()
      this.indexes.clear()
      this.#loading = Promise.resolve()
    } catch (error) {
      await this.close().catch(() => undefined)
      throw error
    }
  }

  /** Whether a batch with this last offset can be addressed relative to the base offset. */
  fits(lastOffset: number): boolean {
    return lastOffset - this.baseOffset <= LARGEST_RELATIVE_OFFSET
  }

  /**
   * Writes stamped batches behind the last one and indexes them. Not durable before
   * {@link LogSegment.flush}. When it rejects, memory is as before and bytes may stand behind
   * `sizeBytes`.
   */
  async append(batches: readonly RecordBatch[]): Promise<void> {
    await this.loadIndexes()
    const buffers = batches.map((batch) => batch.buffer)
    await this.#file.use((file) => writeFully(file, buffers, this.sizeBytes))
    for (const batch of batches) this.#note(batch)
  }

  /** Makes the log file durable up to `sizeBytes`. A rejection must not be retried. */
  async flush(): Promise<void> {
    await this.#file.use((file) => file.datasync())
  }

  /**
   * Reads the batch that holds `offset`, or the first one behind it, and those that follow.
   *
   * @returns no batches when nothing lies in [`offset`, `limits.endOffset`).
   * @throws {@link CorruptRecordError} when the first batch is damaged; damage behind it ends the range.
   */
  async read(offset: number, limits: ReadLimits): Promise<BatchRange> {
    await this.loadIndexes()
    return this.#file.use((file) => readRange(this.#view(file), offset, limits))
  }

  /**
   * What a truncation to `offset` leaves, which ends before the batch that holds `offset`.
   *
   * @returns where the rest ends: the position, and one above the last offset of its last batch.
   */
  async restBelow(offset: number): Promise<{ sizeBytes: number; endOffset: number }> {
    await this.loadIndexes()
    return this.#file.use(async (file) => {
      const { reader, isFound, expectedOffset } = await seek(this.#view(file), offset)
      const sizeBytes = reader.position
      if (!isFound || sizeBytes === 0) return { sizeBytes, endOffset: expectedOffset }
      const { baseOffset } = await reader.header()
      const before = await seek(this.#view(file), baseOffset - 1)
      return { sizeBytes, endOffset: before.isFound ? baseOffset : before.expectedOffset }
    })
  }

  /**
   * The first batch, at or behind `startOffset`, that holds a record at least as young as
   * `timestamp`; `null` when there is none.
   */
  async findByTimestamp(timestamp: number, startOffset: number): Promise<RecordBatch | null> {
    if ((await this.maxTimestamp()).timestamp < timestamp) return null
    return this.#file.use((file) => findBatchByTimestamp(this.#view(file), timestamp, startOffset))
  }

  /**
   * Largest timestamp and the last offset of the earliest batch that has it; timestamp -1 for none.
   * What the time index says is compared with the log once: records are deleted by it.
   */
  async maxTimestamp(): Promise<TimestampOffset> {
    await this.loadIndexes()
    const claim = this.indexes.unprovenMax
    if (claim === null) return this.indexes.max
    await this.#file.use(async (file) => {
      for (;;) {
        const view = this.#view(file)
        const max = await findMaxTimestamp(view, claim)
        if (view.sizeBytes !== this.sizeBytes) continue
        this.indexes.max = max
        return
      }
    })
    return this.indexes.max
  }

  /** Timestamp that a roll by time counts from: the largest of the first batch; -1 when there is none. */
  async firstBatchTimestamp(): Promise<number> {
    if (this.sizeBytes === 0) return -1
    this.#firstBatchTimestamp ??= await this.#file.use(async (file) => {
      return (await new BatchReader(file, 0, this.sizeBytes).header()).maxTimestamp
    })
    return this.#firstBatchTimestamp
  }

  /**
   * Cuts everything from the batch that holds `offset` on. `nextOffset` becomes `offset` exactly,
   * even inside a batch. Durable when it resolves.
   */
  async truncateTo(offset: number): Promise<void> {
    const rest = await this.restBelow(offset)
    this.nextOffset = Math.max(offset, this.baseOffset)
    // Reads that begin now look no further than that.
    this.sizeBytes = rest.sizeBytes
    this.#lastBatch = null
    if (rest.sizeBytes === 0) this.#firstBatchTimestamp = null
    this.indexes.truncateTo(rest.endOffset)
    try {
      await this.cutFile()
      await this.#noteAgain()
    } catch (error) {
      // What they say of the batches that are left is not complete.
      this.#loading = null
      throw error
    }
  }

  /** Cuts the file at `sizeBytes`; durable when it resolves. @throws InDoubtError when the sync fails */
  async cutFile(): Promise<void> {
    await this.#file.cut(this.sizeBytes)
  }

  /** Whether the file that is written to is still the one that its name stands for. */
  isInPlace(): Promise<boolean> {
    return this.#file.isInPlace()
  }

  /** Loads the indexes if that has not happened; rebuilds them in memory where they do not fit. */
  loadIndexes(): Promise<void> {
    this.#loading ??= this.#loadOrRebuildIndexes().catch((error: unknown) => {
      this.#loading = null
      throw error
    })
    return this.#loading
  }

  /**
   * Takes a segment over whose last bytes are in doubt: trusts the index files below
   * `trustedOffset` and takes everything behind from the log file, batch by batch.
   *
   * @param fileSizeBytes size of the log file.
   * @param onBatch is called for every batch that is read. It may be called again from the start of
   * the segment when the index files turn out to be wrong.
   * @returns where the last valid batch ends, and why no other follows. `sizeBytes` is that position.
   */
  async recover(
    fileSizeBytes: number,
    trustedOffset: number,
    onBatch?: (batch: RecordBatch) => void,
  ): Promise<ScanResult & { wasRebuilt: boolean }> {
    const isLoaded = await this.indexes.load()
    this.indexes.truncateTo(trustedOffset)
    this.#loading = Promise.resolve()
    const { lastOffset, count } = this.indexes.offsetIndex
    this.nextOffset = lastOffset
    const result = await this.#scan(fileSizeBytes, this.indexes.rewind(), onBatch)
    if (count === 0 || this.nextOffset > lastOffset) return { ...result, wasRebuilt: !isLoaded }
    // The batch that the last entry names is not there: nothing in the indexes can be believed.
    this.indexes.clear()
    this.nextOffset = this.baseOffset
    const rescan = await this.#scan(fileSizeBytes, this.indexes.rewind(), onBatch)
    return { ...rescan, wasRebuilt: true }
  }

  /**
   * Takes in what another process has appended.
   *
   * @param fileSizeBytes size of the log file now.
   * @returns whether what was known before is still there; if not, nothing has changed.
   */
  async follow(fileSizeBytes: number): Promise<boolean> {
    if (fileSizeBytes < this.sizeBytes || !(await this.#isLastBatchThere())) return false
    const { sizeBytes: position, nextOffset: lowestOffset } = this
    if (fileSizeBytes > position) await this.#scan(fileSizeBytes, { position, lowestOffset })
    return true
  }

  /** Adds the final time entry and makes both index files durable. @returns whether a name is new. */
  async seal(): Promise<boolean> {
    await this.loadIndexes()
    this.indexes.addFinalTimeEntry()
    return this.indexes.write()
  }

  /** Makes index files durable that are in memory. @returns whether a name was added to the directory. */
  async writeIndexes(): Promise<boolean> {
    if (this.#loading === null) return false
    await this.#loading
    return this.indexes.write()
  }

  /** Closes the file while nobody reads it. All that was appended must be durable. */
  async park(): Promise<void> {
    await this.#file.park()
  }

  /** Closes the file for good. */
  async close(): Promise<void> {
    await this.#file.close()
  }

  #note(batch: RecordBatch): void {
    const position = this.sizeBytes
    if (position === 0) this.#firstBatchTimestamp = batch.maxTimestamp
    this.indexes.note(batch, position)
    this.sizeBytes = position + batch.sizeBytes
    this.nextOffset = batch.nextOffset
  }

  /** Takes valid batches into account from where `from` says to `end`, and ends behind the last one. */
  async #scan(
    end: number,
    from: { position: number; lowestOffset: number },
    onBatch?: (batch: RecordBatch) => void,
  ): Promise<ScanResult> {
    const { baseOffset } = this
    const range = { position: from.position, end, baseOffset, nextOffset: from.lowestOffset }
    this.sizeBytes = from.position
    return this.#file.use((file) =>
      scanBatches(file, range, (batch, position) => {
        this.#note(batch)
        this.#lastBatch = { position, crc: batch.crc }
        onBatch?.(batch)
      }),
    )
  }

  async #isLastBatchThere(): Promise<boolean> {
    const last = this.#lastBatch
    if (last === null) return true
    return this.#file.use(async (file) => {
      try {
        const batch = await new BatchReader(file, last.position, this.sizeBytes).batch()
        return batch.crc === last.crc && batch.nextOffset === this.nextOffset
      } catch (error) {
        if (error instanceof CorruptRecordError) return false
        throw error
      }
    })
  }

  async #loadOrRebuildIndexes(): Promise<void> {
    const isLoaded = await this.indexes.load()
    if (!isLoaded || !this.indexes.fit(this.sizeBytes, this.nextOffset)) this.indexes.clear()
    await this.#noteAgain()
  }

  /** Notes the batches from the last index entry on, by their headers. */
  async #noteAgain(): Promise<void> {
    const start = this.indexes.rewind()
    let { lowestOffset } = start
    if (this.sizeBytes === 0) return
    await this.#file.use(async (file) => {
      await walk(new BatchReader(file, start.position, this.sizeBytes), (header, at) => {
        if (misplaced(this, header, lowestOffset) !== null) return
        this.indexes.note(header, at)
        lowestOffset = header.lastOffset + 1
      })
    })
  }

  #view(file: File): SegmentView {
    const { baseOffset, nextOffset, sizeBytes, indexes } = this
    return { file, baseOffset, nextOffset, sizeBytes, indexes }
  }
}
