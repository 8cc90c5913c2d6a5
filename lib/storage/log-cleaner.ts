import { ClosedError, CorruptRecordError } from '../errors.ts'
import { promptIo } from '../platform/prompt-io.ts'
import { decodeRecords, type BatchPlace } from '../record/decode.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import { MAX_BATCH_ITEMS } from '../record/record-encoding.ts'
import { BatchCleaner, type CleaningRule } from './batch-cleaner.ts'
import { groupSegments } from './cleaning-groups.ts'
import { findCleaningRange, mustRollForLag, type CleaningRange } from './cleaning-range.ts'
import type { LocalLog } from './local-log.ts'
import type { LogGuard } from './log-guard.ts'
import type { LogContext } from './log-options.ts'
import type { LogSegment } from './log-segment.ts'
import type { LogWriter } from './log-writer.ts'
import { OffsetMap } from './offset-map.ts'
import { SegmentSum } from './segment-sum.ts'
import { removeCleaned, SegmentSwap } from './segment-swap.ts'
import type { SerialQueue } from './serial-queue.ts'

/** Number of bytes per read. */
const READ_BYTES = 256 * 1024
/** Number of records between two checks of the time. */
const SLICE_RECORDS = 64

/** Options of a compaction pass. */
export interface CompactionOptions {
  /** Where the last pass ended; 0 if unknown. */
  readonly checkpoint: number
  /** When the first tombstone left by the last pass may be removed; absent or `null` for none. */
  readonly horizonMs?: number | null
  /**
   * Memory for the offsets of keys. If it is too small, a pass covers less, but at least one batch,
   * whose decoding takes several times the memory of its keys anyway.
   */
  readonly dedupeBufferBytes: number
  /** Called after each segment that was written, with the number of bytes read so far. */
  readonly onProgress?: (bytesRead: number) => void
}

/** Result of one compaction pass. */
export interface CompactionReport {
  /** First offset that was not covered by an earlier pass. */
  readonly fromOffset: number
  /**
   * Where the next pass starts. A pass ends when `cleanerDedupeBufferBytes` has no room for more
   * keys, and before records younger than `minCompactionLagMs`. Equal to `fromOffset` if nothing
   * was covered, for example because the log was truncated or records were deleted.
   */
  readonly endOffset: number
  /** Total size of the segments that were processed. */
  readonly bytesBefore: number
  /** Total size of what is left of them. */
  readonly bytesAfter: number
  readonly recordsRead: number
  readonly recordsKept: number
  readonly tombstonesRemoved: number
  /**
   * When the first remaining tombstone may be removed, milliseconds since the epoch; `null` for
   * none.
   */
  readonly earliestDeleteHorizonMs: number | null
}

/** `isDated` is true if the pass has seen that all tombstones below its end have a delete horizon. */
export type CompactionResult = CompactionReport & { readonly isDated: boolean }

/** The log has changed, so that the data on which a pass is based is no longer valid. */
class CleaningInterrupted extends Error {}

/**
 * Compacts a log beside appends and reads: keeps the last record of each key, at its offset.
 *
 * Only the swap of new segments for old ones takes its turn in the queue of changes. Everything
 * else reads sealed segments and writes files that are not yet part of the log, in slices between
 * which the event loop can run. Calls must not overlap.
 */
export class LogCleaner {
  readonly #log: LocalLog
  readonly #guard: LogGuard
  readonly #context: LogContext
  readonly #dir: string
  readonly #writer: LogWriter
  readonly #queue: SerialQueue
  #pass: Promise<unknown> | null = null
  #isStopped = false

  constructor(parts: {
    log: LocalLog
    guard: LogGuard
    context: LogContext
    dir: string
    writer: LogWriter
    queue: SerialQueue
  }) {
    this.#log = parts.log
    this.#guard = parts.guard
    this.#context = parts.context
    this.#dir = parts.dir
    this.#writer = parts.writer
    this.#queue = parts.queue
  }

  /** Determines how much of the log is dirty, and how much of that may be compacted now. */
  range(checkpoint: number): Promise<CleaningRange> {
    return findCleaningRange(this.#log, checkpoint, this.#context.clock.now())
  }

  /** Whether the active segment has to be rolled to respect `maxCompactionLagMs`. */
  isRollDue(): Promise<boolean> {
    return mustRollForLag(this.#log, this.#context.clock.now())
  }

  /**
   * Runs one compaction pass.
   * @throws {@link CorruptRecordError} if a batch is damaged, {@link StorageError} if the disk
   * fails: segments not replaced by then are unchanged. {@link ClosedError} if the log is closed.
   */
  async compact(options: CompactionOptions): Promise<CompactionResult> {
    const pass = this.#compact(options)
    this.#pass = pass
    try {
      return await pass
    } catch (error) {
      throw this.#guard.failed('compaction', error, 'not-written')
    } finally {
      this.#pass = null
    }
  }

  /**
   * Stops a running pass. @returns a promise that resolves once it uses no more files; `null` for
   * none
   */
  stop(): Promise<unknown> | null {
    this.#isStopped = true
    return this.#pass?.catch(() => undefined) ?? null
  }

  async #compact(options: CompactionOptions): Promise<CompactionResult> {
    const epoch = this.#log.leaderEpoch
    let wantedEnd = 0
    const ensureTrue = (): void => {
      if (this.#isStopped) throw new ClosedError(`the log of ${this.#context.topic} is closed`)
      this.#guard.ensureWritable()
      // The records in the map may be gone. A truncation lowers the log end offset first, and
      // raises the epoch as soon as the records are removed.
      const isCut = this.#log.leaderEpoch !== epoch || this.#log.logEndOffset < wantedEnd
      if (isCut) throw new CleaningInterrupted()
    }
    // A close waits only for passes that have already begun.
    ensureTrue()
    const { firstDirtyOffset, firstUncleanableOffset } = await this.range(options.checkpoint)
    wantedEnd = firstUncleanableOffset
    const mostKeys = firstUncleanableOffset - firstDirtyOffset
    const mapBytes = Math.min(options.dedupeBufferBytes, OffsetMap.bytesFor(mostKeys))
    const map = new OffsetMap(mapBytes)
    let [bytesBefore, bytesAfter, endOffset] = [0, 0, firstDirtyOffset]
    let cleaner: BatchCleaner | null = null
    let isWhole = false
    try {
      await removeCleaned(this.#context.fileSystem, this.#dir)
      const mapped = await this.#fill(map, firstDirtyOffset, firstUncleanableOffset, ensureTrue)
      const { end } = mapped
      cleaner = new BatchCleaner(this.#rule(map, mapped.from, end))
      const { config, segments } = this.#log
      // Segments that are being removed by a truncation are no longer listed.
      ensureTrue()
      const sealed = segments.all.slice(0, -1).filter(({ baseOffset }) => baseOffset < end)
      for (const sources of groupSegments(sealed, config)) {
        const swap = new SegmentSwap(this.#log, this.#context.fileSystem, this.#dir, sources)
        const sizeBytes = await this.#cleanGroup(swap, cleaner, ensureTrue)
        for (const source of sources) bytesBefore += source.sizeBytes
        bytesAfter += sizeBytes
        options.onProgress?.(bytesBefore)
      }
      ensureTrue()
      endOffset = end
      isWhole = true
    } catch (error) {
      if (!(error instanceof CleaningInterrupted)) throw error
    }
    const { counts, leavesUndated } = cleaner ?? new BatchCleaner(this.#rule(map, 0, 0))
    const covered = { fromOffset: firstDirtyOffset, endOffset, isDated: isWhole && !leavesUndated }
    const report = { ...covered, bytesBefore, bytesAfter, ...counts }
    if (isWhole) return report
    // The pass has not reached all tombstones left by the previous one.
    const left = Math.min(report.earliestDeleteHorizonMs ?? Infinity, options.horizonMs ?? Infinity)
    return { ...report, earliestDeleteHorizonMs: left === Infinity ? null : left }
  }

  #rule(map: OffsetMap, firstDirtyOffset: number, endOffset: number): CleaningRule {
    const { topic, partition, clock } = this.#context
    const { producers, config } = this.#log
    return {
      place: { topic, partition },
      ...{ map, endOffset },
      // The map covers everything readable, even if the first batch begins below the log start.
      firstDirtyOffset: firstDirtyOffset <= this.#log.logStartOffset ? 0 : firstDirtyOffset,
      ...{ clock, nowMs: clock.now() },
      deleteRetentionMs: config.deleteRetentionMs,
      levels: config,
      lastOffsets: new Set(producers.entries.map(({ lastOffset }) => lastOffset)),
    }
  }

  /**
   * Fills the map with the latest offset of every key, from the batch that holds `from` on.
   * @returns the range of offsets in the map. `end`, exclusive, is below `to` if the map is full.
   */
  async #fill(
    map: OffsetMap,
    from: number,
    to: number,
    ensureTrue: () => void,
  ): Promise<{ from: number; end: number }> {
    const place: BatchPlace = this.#context
    let first: RecordBatch | null = null
    for (const segment of this.#log.segments.all.slice(0, -1)) {
      if (segment.nextOffset <= from || segment.baseOffset >= to) continue
      for await (const batch of this.#batchesOf(segment, from, ensureTrue)) {
        if (first === null) map.ensureRoom(Math.min(batch.recordCount, MAX_BATCH_ITEMS))
        first ??= batch
        if (batch.isControl || batch.isTransactional) continue
        let count = 0
        for (const { key, offset } of await decodeRecords(batch, place)) {
          if (count++ % SLICE_RECORDS === 0) await promptIo.turnIfDue()
          if (key === null || map.put(key, offset)) continue
          // If the map held only part of a batch, its tombstones would never get a delete horizon.
          return { from: Math.min(from, first.baseOffset), end: batch.baseOffset }
        }
      }
    }
    return { from: Math.min(from, first?.baseOffset ?? from), end: to }
  }

  /** @returns the remaining size in bytes. */
  async #cleanGroup(
    swap: SegmentSwap,
    cleaner: BatchCleaner,
    ensureTrue: () => void,
  ): Promise<number> {
    const { leaderEpoch: epoch } = this.#log
    let isChanged = swap.sources.length > 1
    try {
      const target = await swap.create()
      let held: RecordBatch | null = null
      const write = async (isLast: boolean): Promise<void> => {
        if (held === null) return
        const rest = await cleaner.clean(held, isLast)
        isChanged ||= rest !== held
        if (rest !== null) await target.append([rest])
      }
      for (const source of swap.sources) {
        const { generation } = this.#log.segments
        const sum = new SegmentSum(source.baseOffset)
        for await (const batch of this.#batchesOf(source, source.baseOffset, ensureTrue)) {
          await write(false)
          sum.note(batch, sum.state.sizeBytes)
          held = batch
        }
        if (!isAsOnRecord(source, sum))
          throw this.#reasonFor(notAsWritten(source), source, generation, ensureTrue)
      }
      await write(true)
      ensureTrue()
      if (!isChanged) {
        await swap.discard()
        return target.sizeBytes
      }
      await swap.finish()
      const isDone = await this.#queue.run(() =>
        this.#writer.compact(async () => {
          if (!swap.isPossible || this.#log.leaderEpoch !== epoch) return false
          await swap.run()
          return true
        }),
      )
      if (!isDone) throw new CleaningInterrupted()
      return target.sizeBytes
    } catch (error) {
      await swap.discard().catch(() => undefined)
      throw error
    }
  }

  /**
   * The error for a segment that could not be read as it was written: damage, unless records were
   * removed meanwhile. A truncated segment stays listed, hence the check of `generation`.
   *
   * @param generation of the segments, taken before the segment was read.
   */
  #reasonFor(
    error: unknown,
    segment: LogSegment,
    generation: number,
    ensureTrue: () => void,
  ): unknown {
    const { segments } = this.#log
    ensureTrue()
    const isAsBefore = segments.generation === generation && segments.all.includes(segment)
    return isAsBefore ? error : new CleaningInterrupted()
  }

  /** Yields every batch of a segment from the one that holds `offset` on. */
  async *#batchesOf(
    segment: LogSegment,
    offset: number,
    ensureTrue: () => void,
  ): AsyncGenerator<RecordBatch, void, undefined> {
    const { nextOffset: endOffset } = segment
    const { generation } = this.#log.segments
    for (let from = offset; from < endOffset;) {
      await promptIo.turnIfDue()
      ensureTrue()
      // A deletion closes the file of a segment even while it is being read.
      if (!this.#log.segments.all.includes(segment)) throw new CleaningInterrupted()
      const batches = await segment
        .read(from, { maxBytes: READ_BYTES, endOffset })
        .catch((error: unknown) => {
          throw this.#reasonFor(error, segment, generation, ensureTrue)
        })
      await this.#log.segments.touch(segment)
      const last = batches.at(-1)
      if (last === undefined) return
      for (const batch of batches) {
        const turn = promptIo.turnIfDue()
        if (turn !== null) await turn
        yield batch
      }
      from = last.nextOffset
    }
  }
}

/**
 * Whether a segment was read completely and as it was written. The CRC of a batch does not cover
 * its base offset. Once the segment and its recorded checksum are replaced, an error would go
 * unnoticed.
 */
function isAsOnRecord({ entry }: LogSegment, { state }: SegmentSum): boolean {
  if (state.sizeBytes !== entry.sizeBytes) return false
  return entry.crc === null || entry.crc === state.crc
}

function notAsWritten({ entry, path, nextOffset }: LogSegment): CorruptRecordError {
  return new CorruptRecordError('the bytes read do not match the recorded size and checksum', {
    ...{ path, position: 0, firstOffset: entry.baseOffset, lastOffset: nextOffset - 1 },
  })
}
