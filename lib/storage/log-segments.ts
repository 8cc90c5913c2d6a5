import type { FileSystem } from '../platform/file-system.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import type { BackwardLimits } from './backward-read.ts'
import { sharedIndexCache, type IndexCache } from './index-cache.ts'
import { LeftOverSegments } from './left-over-segments.ts'
import type { SegmentFileKind } from './log-files.ts'
import { NOTHING_FREED, totalFreed, type FreedSpace } from './log-retention.ts'
import type { LogSegment } from './log-segment.ts'
import { RecentSegments } from './recent-segments.ts'
import { INDEX_KINDS, LOG_KINDS, removeSegmentFiles } from './segment-removal.ts'
import type { ReadLimits } from './segment-search.ts'

/** Number of inactive segments, the most recently read ones, whose files stay open. */
const MAX_OPEN_SEGMENTS = 32

/**
 * The segments of a log in offset order. Only the last one is active, that is, receives appends.
 *
 * Changes must not overlap with each other; lookups may overlap with everything.
 */
export class LogSegments {
  readonly #fileSystem: FileSystem
  readonly #dir: string
  readonly #indexCache: IndexCache
  #segments: readonly LogSegment[]
  readonly #recent = new RecentSegments<LogSegment>(MAX_OPEN_SEGMENTS)
  #generation = 0
  /** Number of changes in progress. */
  #changeCount = 0
  /** No longer listed, and below the start of the log: their files are still to be removed. */
  dead: readonly LogSegment[] = []
  readonly #leftOvers: LeftOverSegments
  /** The bytes that were truncated from segments and kept; `null` if there are none. */
  torn: { removeBelow(offset: number): Promise<void> } | null = null

  /** @param indexCache limits the indexes in memory; for specs only. */
  constructor(
    fileSystem: FileSystem,
    dir: string,
    segments: readonly LogSegment[],
    indexCache: IndexCache = sharedIndexCache,
  ) {
    this.#indexCache = indexCache
    this.#fileSystem = fileSystem
    this.#dir = dir
    this.#segments = [...segments]
    this.#leftOvers = new LeftOverSegments(fileSystem, dir, (one) => this.#remove([one], LOG_KINDS))
  }

  get all(): readonly LogSegment[] {
    return this.#segments
  }

  /** The active segment; `undefined` only for a read-only view of an empty directory. */
  get active(): LogSegment | undefined {
    return this.#segments.at(-1)
  }

  get baseOffsets(): number[] {
    return this.#segments.map((segment) => segment.baseOffset)
  }

  get sizeBytes(): number {
    return this.#segments.reduce((sum, segment) => sum + segment.sizeBytes, 0)
  }

  /**
   * Rises before and after records are removed or replaced. What was read between two values may be
   * a mixture of old and new.
   */
  get generation(): number {
    return this.#generation
  }

  /** Whether files of segments that were removed from the end of the log may still exist. */
  get hasLeftOvers(): boolean {
    return this.#leftOvers.all.length > 0
  }

  /** Runs a change that removes or replaces records. */
  async changing<T>(change: () => Promise<T>): Promise<T> {
    this.#generation += 1
    this.#changeCount += 1
    try {
      return await change()
    } finally {
      this.#changeCount -= 1
      this.#generation += 1
    }
  }

  /** Slot of the segment for an offset; 0 for offsets below the first one, -1 if there is none. */
  floorSlot(offset: number): number {
    let low = 0
    let high = this.#segments.length - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if ((this.#segments[middle]?.baseOffset ?? 0) <= offset) low = middle
      else high = middle - 1
    }
    return high
  }

  /**
   * Reads whole batches from the one that holds `offset` on, or the first one after it. One read
   * never spans two segments.
   *
   * @throws {@link CorruptRecordError} if the first batch is damaged.
   */
  async read(offset: number, limits: ReadLimits): Promise<readonly RecordBatch[]> {
    const segments = this.#segments
    for (let slot = this.floorSlot(offset); slot < segments.length; slot += 1) {
      const segment = segments[slot]
      if (segment === undefined || segment.baseOffset >= limits.endOffset) break
      const batches = await segment.read(offset, limits)
      await this.touch(segment)
      // Compaction may have left nothing in this segment from here on: continue with the next one.
      if (batches.length > 0) return batches
    }
    return []
  }

  /**
   * Reads the last whole batches in [`limits.fromOffset`, `endOffset`), in offset order. One read
   * never spans two segments.
   *
   * @returns no batches if there are none.
   * @throws {@link CorruptRecordError} if the last batch is damaged.
   */
  async readBefore(endOffset: number, limits: BackwardLimits): Promise<readonly RecordBatch[]> {
    const segments = this.#segments
    for (let slot = this.floorSlot(endOffset - 1); slot >= 0; slot -= 1) {
      const segment = segments[slot]
      if (segment === undefined || segment.nextOffset <= limits.fromOffset) break
      const batches = await segment.readBefore(endOffset, limits)
      await this.touch(segment)
      if (batches.length > 0) return batches
    }
    return []
  }

  /** The segment that holds `offset`, if it can be read synchronously; `undefined` otherwise. */
  usableNow(offset: number): LogSegment | undefined {
    const segment = this.#segments[this.floorSlot(offset)]
    if (segment === undefined || this.#changeCount > 0 || !this.#noteUse(segment)) return undefined
    return segment
  }

  /**
   * The first batch below `endOffset`, at or after `startOffset`, that holds a record with a
   * timestamp equal to or later than `timestamp`; `null` if there is none.
   */
  async findByTimestamp(
    timestamp: number,
    startOffset: number,
    endOffset: number,
  ): Promise<RecordBatch | null> {
    const segments = this.#segments
    for (let slot = this.floorSlot(startOffset); slot < segments.length; slot += 1) {
      const segment = segments[slot]
      if (segment === undefined || segment.baseOffset >= endOffset) break
      if (segment.times.areOlderThan(timestamp)) continue
      const batch = await segment.times.findFirst(timestamp, startOffset)
      await this.touch(segment)
      if (batch !== null) return batch.baseOffset < endOffset ? batch : null
    }
    return null
  }

  /** Makes `segment` the active one. */
  async add(segment: LogSegment): Promise<void> {
    const { active } = this
    this.#segments = [...this.#segments, segment]
    if (active !== undefined) await this.touch(active)
  }

  /**
   * Notes that a segment was used. Closes the file of the least recently used one if too many are
   * open, and unloads indexes if too many are in memory.
   */
  async touch(segment: LogSegment): Promise<void> {
    if (segment === this.active) return
    // Other logs may have caused their eviction, and this use may have loaded more of them.
    this.#indexCache.use(segment.held)
    if (!this.#noteUse(segment)) await this.#recent.add(segment)?.file.park()
  }

  /** @returns false for a segment that was not used for so long that its file may be closed. */
  #noteUse(segment: LogSegment): boolean {
    if (segment === this.active || this.#recent.isLast(segment)) return true
    if (!this.#recent.useAgain(segment)) return false
    this.#indexCache.use(segment.held)
    return true
  }

  /** Replaces the list of segments. Those that are not in the new list are closed. */
  async replace(segments: readonly LogSegment[]): Promise<void> {
    const { active: before } = this
    for (const segment of this.take(segments)) await segment.close()
    // While it was the active one, its use was not noted.
    if (before !== undefined && segments.includes(before)) await this.touch(before)
  }

  /** Replaces the list of segments. @returns those that are not in the new list, still open */
  take(segments: readonly LogSegment[]): readonly LogSegment[] {
    const kept = new Set(segments)
    const gone = this.#segments.filter((segment) => !kept.has(segment))
    this.#segments = [...segments]
    this.#forget([...gone, ...segments.slice(-1)])
    return gone
  }

  /**
   * Removes every segment with a base offset above `offset`, newest first, so that an interruption
   * leaves a log without a hole. Durable when it resolves.
   *
   * @throws the error of the file system, after which {@link LogSegments.removeLeftOvers}
   * continues; InDoubtError if a sync fails.
   */
  async removeAbove(offset: number): Promise<void> {
    const kept = this.#segments.filter(({ baseOffset }) => baseOffset <= offset)
    const gone = this.#segments.slice(kept.length)
    this.#segments = kept
    this.#leftOvers.add(gone.reverse())
    await this.#leftOvers.remove()
  }

  /** Notes a segment that was created but is not to be used. */
  discard(segment: LogSegment): void {
    this.#leftOvers.add([segment])
  }

  /** Removes left-over segments beyond the end of the log. Durable when it resolves. */
  removeLeftOvers(): Promise<void> {
    return this.#leftOvers.remove()
  }

  /** Whether {@link LogSegments.removeBelow} would remove a segment. */
  hasBelow(offset: number): boolean {
    return (this.#segments[1]?.baseOffset ?? Infinity) <= offset
  }

  /**
   * Removes the index files of every segment that ends at or below `offset`. They can be rebuilt.
   *
   * @returns whether there were any.
   */
  async removeIndexesBelow(offset: number): Promise<boolean> {
    let isRemoved = false
    for (const [slot, { baseOffset }] of this.#segments.entries()) {
      if ((this.#segments[slot + 1]?.baseOffset ?? Infinity) > offset) break
      const isFound = await removeSegmentFiles(this.#fileSystem, this.#dir, baseOffset, INDEX_KINDS)
      isRemoved ||= isFound
    }
    return isRemoved
  }

  /** Removes every segment that ends at or below `offset`, oldest first, except the active one. */
  async removeBelow(offset: number): Promise<FreedSpace> {
    if (this.hasBelow(offset)) {
      const count = this.#segments.findIndex(
        (_, slot) => (this.#segments[slot + 1]?.baseOffset ?? Infinity) > offset,
      )
      this.dead = [...this.dead, ...this.#segments.slice(0, count)]
      // New readers must not find them any more.
      this.#segments = this.#segments.slice(count)
    }
    const dead = this.dead
    if (dead.length === 0) return NOTHING_FREED
    await this.#remove(dead)
    this.dead = []
    await this.torn?.removeBelow(this.#segments[0]?.baseOffset ?? 0)
    await this.syncNames()
    return totalFreed(dead.map(({ sizeBytes: bytes }) => ({ segments: 1, bytes })))
  }

  /** Makes the loaded indexes durable. @returns whether a name was added to the directory. */
  async writeIndexes(): Promise<boolean> {
    let isNew = false
    for (const segment of this.#segments) {
      // Most segments of a large log have no indexes in memory.
      if (segment.held.isLoaded) isNew = (await segment.held.write()) || isNew
    }
    return isNew
  }

  /** Makes everything at or above `offset` durable. */
  async flushFrom(offset: number): Promise<void> {
    for (const segment of this.#segments.slice(Math.max(0, this.floorSlot(offset)))) {
      await segment.flush()
    }
  }

  /** Makes the names in the log's directory durable. */
  syncNames(): Promise<void> {
    return this.#fileSystem.syncDirectory(this.#dir)
  }

  /** False if it is certain that the name of the last file now refers to another file. */
  async isOurs(): Promise<boolean> {
    return (await this.active?.file.isInPlace().catch(() => true)) ?? true
  }

  /** Removes all segments. Durable when it resolves. */
  async removeAll(): Promise<void> {
    const dead = this.#segments
    if (dead.length === 0) return
    this.#segments = []
    await this.#remove(dead)
    await this.syncNames()
  }

  /**
   * Closes the files of all but the active segment, until they are read, and adds their indexes to
   * the limited cache.
   */
  async park(): Promise<void> {
    const { active } = this
    for (const segment of this.#segments) {
      if (segment === active) continue
      if (segment.held.isLoaded) this.#indexCache.use(segment.held)
      if (segment.file.isOpen) await segment.file.park()
    }
  }

  /** Closes all files for good. */
  async close(): Promise<void> {
    this.#forget(this.#segments)
    // Segments left by a failure may be open too.
    await Promise.all([...this.#segments, ...this.#leftOvers.all].map((segment) => segment.close()))
  }

  #forget(segments: readonly LogSegment[]): void {
    for (const segment of segments) {
      this.#recent.forget(segment)
      this.#indexCache.forget(segment.held)
    }
  }

  async #remove(dead: readonly LogSegment[], kinds?: readonly SegmentFileKind[]): Promise<void> {
    // The segment that is now active must stay open between a write and its sync.
    const { active } = this
    this.#forget(active === undefined ? dead : [...dead, active])
    // All of them before anything can fail: afterwards they are not listed and could not be closed.
    await Promise.all(dead.map((segment) => segment.close()))
    for (const { baseOffset } of dead) {
      await removeSegmentFiles(this.#fileSystem, this.#dir, baseOffset, kinds)
    }
  }
}
