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

/** Bytes read at once. */
const READ_BYTES = 256 * 1024
/** Records between two looks at the time. */
const SLICE_RECORDS = 64

/** How a pass over a log is made. */
export interface CompactionOptions {
  /** Where the last pass ended; 0 where nobody knows. */
  readonly checkpoint: number
  /** When the first of the tombstones that the last pass left may go; absent or `null` for none. */
  readonly horizonMs?: number | null
  /**
   * Memory for the offsets of keys. A pass that does not get by with it covers less, but one batch at
   * least: to decode it takes several times the memory that its keys do.
   */
  readonly dedupeBufferBytes: number
  /** Called after each segment that was written, with the bytes read so far. */
  readonly onProgress?: (bytesRead: number) => void
}

/** What one pass of compaction has done. */
export interface CompactionReport {
  /** First offset that no earlier pass had covered. */
  readonly fromOffset: number
  /**
   * Where the next pass goes on: behind as many keys as `cleanerDedupeBufferBytes` has room for, and before what is younger
   * than `minCompactionLagMs`. It is `fromOffset` when nothing was covered, also because the log was cut or deleted from.
   */
  readonly endOffset: number
  /** Bytes of the segments that were gone through. */
  readonly bytesBefore: number
  /** Bytes of what was left of them. */
  readonly bytesAfter: number
  readonly recordsRead: number
  readonly recordsKept: number
  readonly tombstonesRemoved: number
  /** When the first of the tombstones that are left may go, milliseconds since the epoch; `null` for none. */
  readonly earliestDeleteHorizonMs: number | null
}

/** The log has changed, so that what a pass goes by is no longer true. */
class CleaningInterrupted extends Error {}

/**
 * Compacts a log beside appends and reads: of each key the last record stays, at its offset.
 *
 * Only taking the new segments in the place of the old ones has its turn among the changes of the log.
 * All else reads sealed segments and writes files that count for nothing yet, in slices after which the
 * event loop turns. Calls must not overlap.
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

  /** How much is dirty, and how much of that may be compacted now. */
  range(checkpoint: number): Promise<CleaningRange> {
    return findCleaningRange(this.#log, checkpoint, this.#context.clock.now())
  }

  /** Whether the active segment has to be rolled for `maxCompactionLagMs` to be kept. */
  isRollDue(): Promise<boolean> {
    return mustRollForLag(this.#log, this.#context.clock.now())
  }

  /**
   * Goes over the log once.
   *
   * @throws {@link CorruptRecordError} when a batch is damaged, {@link StorageError} when the disk
   * fails: what was not replaced by then is as it was. {@link ClosedError} when the log is closed.
   */
  async compact(options: CompactionOptions): Promise<CompactionReport> {
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

  /** Ends a pass that goes on. @returns what resolves when it touches no file any more; `null` for no pass */
  stop(): Promise<unknown> | null {
    this.#isStopped = true
    return this.#pass?.catch(() => undefined) ?? null
  }

  async #compact(options: CompactionOptions): Promise<CompactionReport> {
    const epoch = this.#log.leaderEpoch
    let wantedEnd = 0
    const ensureTrue = (): void => {
      if (this.#isStopped) throw new ClosedError(`the log of ${this.#context.topic} is closed`)
      this.#guard.ensureWritable()
      // What the map says may not be there any more: a truncation lowers the end of the log first of all,
      // and raises the epoch as soon as the records are gone.
      const isCut = this.#log.leaderEpoch !== epoch || this.#log.logEndOffset < wantedEnd
      if (isCut) throw new CleaningInterrupted()
    }
    // Who closes the log waits for passes that have begun only.
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
      // Segments that are being cut off are on the list no more.
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
    const counts = (cleaner ?? new BatchCleaner(this.#rule(map, 0, 0))).counts
    const report = { fromOffset: firstDirtyOffset, endOffset, bytesBefore, bytesAfter, ...counts }
    if (isWhole) return report
    // It has not come to all tombstones that the last pass left.
    const left = Math.min(report.earliestDeleteHorizonMs ?? Infinity, options.horizonMs ?? Infinity)
    return { ...report, earliestDeleteHorizonMs: left === Infinity ? null : left }
  }

  #rule(map: OffsetMap, firstDirtyOffset: number, endOffset: number): CleaningRule {
    const { topic, partition, clock } = this.#context
    const { producers, config } = this.#log
    return {
      place: { topic, partition },
      ...{ map, endOffset },
      // The map holds all that can be read: also of a batch that begins below the start of the log.
      firstDirtyOffset: firstDirtyOffset <= this.#log.logStartOffset ? 0 : firstDirtyOffset,
      nowMs: clock.now(),
      deleteRetentionMs: config.deleteRetentionMs,
      levels: config,
      lastOffsets: new Set(producers.entries.map(({ lastOffset }) => lastOffset)),
    }
  }

  /**
   * Notes the latest offset of every key, of whole batches from the one that holds `from` on.
   *
   * @returns the offsets that the map holds; `end`, exclusive, is below `to` where it is full.
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
          // Of a batch that it holds a part of, no tombstone would ever get its horizon.
          return { from: Math.min(from, first.baseOffset), end: batch.baseOffset }
        }
      }
    }
    return { from: Math.min(from, first?.baseOffset ?? from), end: to }
  }

  /** @returns the size of what is left. */
  async #cleanGroup(
    swap: SegmentSwap,
    cleaner: BatchCleaner,
    ensureTrue: () => void,
  ): Promise<number> {
    const { leaderEpoch: epoch } = this.#log
    const target = await swap.create()
    let isChanged = swap.sources.length > 1
    try {
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
    } catch (error) {
      await swap.discard().catch(() => undefined)
      throw error
    }
    const isDone = await this.#queue.run(() =>
      this.#writer.compact(async () => {
        if (!swap.isPossible || this.#log.leaderEpoch !== epoch) return false
        await swap.run()
        return true
      }),
    )
    if (isDone) return target.sizeBytes
    await swap.discard()
    throw new CleaningInterrupted()
  }

  /**
   * Why a segment could not be read as it was written: damage, unless records were being taken away
   * meanwhile, also of this very segment, which stays in the log when it is cut.
   *
   * @param generation of the segments before anything of it was read.
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

  /** Every batch of a segment from the one that holds `offset` on. */
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
      // Deletion closes a segment's file under who reads it.
      if (!this.#log.segments.all.includes(segment)) throw new CleaningInterrupted()
      const { batches } = await segment
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
 * Whether all of a segment was read, and as it was written. No checksum of a batch covers its base
 * offset: once the segment is replaced, and with it its checksum, nobody could tell any more.
 */
function isAsOnRecord({ entry }: LogSegment, { state }: SegmentSum): boolean {
  if (state.sizeBytes !== entry.sizeBytes) return false
  return entry.crc === null || entry.crc === state.crc
}

function notAsWritten({ entry, path, nextOffset }: LogSegment): CorruptRecordError {
  return new CorruptRecordError('what was read of the file has not the checksum on record', {
    ...{ path, position: 0, firstOffset: entry.baseOffset, lastOffset: nextOffset - 1 },
  })
}

/** Whether damage is why a pass has failed: another one would come no further. */
export function isUncleanable(error: unknown): boolean {
  return error instanceof CorruptRecordError
}
