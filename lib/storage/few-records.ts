import type { BatchPlace } from '../record/record-reader.ts'
import type { StoredRecord } from '../record/stored-record.ts'
import { totalSizeBytes } from '../record/record-batch.ts'
import { copyFromAll } from '../record/record-copies.ts'
import type { CachedBatches } from './batch-cache.ts'
import { exactCursor, slotOf } from './exact-seek.ts'
import { readPromptly } from './prompt-read.ts'
import type { ReadLimits, SegmentView } from './segment-search.ts'

/** How much {@link readFewPromptly} returns. */
export interface FewLimits extends ReadLimits {
  readonly maxRecords: number
}

/** What {@link readFewPromptly} needs besides the segment. */
export interface FewContext {
  readonly place: BatchPlace
  /** What small reads have learned about batches; `null` if nothing is cached. */
  readonly cached: CachedBatches | null
}

/** Result of {@link readFewPromptly}. */
export interface FewRecords {
  /** At least one. */
  readonly records: StoredRecord[]
  /** Where an asynchronous read continues if there are fewer records than requested. */
  readonly nextOffset: number
  /** The rest of `maxBytes` for that read; 0 or less if the limit is reached. */
  readonly restBytes: number
}

/**
 * Synchronously reads records from `offset` on, as copies: up to `limits.maxRecords`, ending
 * earlier at `limits.endOffset`, at the limit of bytes, or where only an asynchronous read can
 * continue. Of a batch that was read before, only the bytes of these records are read.
 *
 * @returns `null` if there are none.
 */
export function readFewPromptly(
  view: SegmentView,
  offset: number,
  { maxRecords, maxBytes, endOffset }: FewLimits,
  context: FewContext,
): FewRecords | null {
  const end = Math.min(endOffset, offset + maxRecords)
  const records: StoredRecord[] = []
  let nextOffset = offset
  let restBytes = maxBytes
  try {
    while (nextOffset < end && restBytes > 0) {
      const range = {
        fromOffset: nextOffset,
        maxRecords: maxRecords - records.length,
        slot: slotOf(view, nextOffset),
      }
      const found =
        readMarked(view, range, end, context) ??
        readWhole(view, range, { maxBytes: restBytes, endOffset: end }, context)
      if (found === null) break
      restBytes -= found.sizeBytes
      // The first batch is returned even if it is larger.
      if (restBytes < 0 && nextOffset > offset) break
      for (const record of found.records) records.push(record)
      nextOffset = found.nextOffset
    }
  } catch (error) {
    // An error after the first batch is left to the read that begins there.
    if (records.length === 0) throw error
  }
  return records.length === 0 ? null : { records, nextOffset, restBytes }
}

/** The range that is yet to be read. */
interface Range {
  readonly fromOffset: number
  readonly maxRecords: number
  /** Slot of `fromOffset`; see {@link slotOf}. */
  readonly slot: number
}

/** Some records of one or several batches. */
interface Found {
  readonly records: readonly StoredRecord[]
  /** Total size of the batches. */
  readonly sizeBytes: number
  readonly nextOffset: number
}

/**
 * The records of the batches at `range.fromOffset`; `null` if they are compressed or cannot be read
 * now.
 */
function readWhole(
  view: SegmentView,
  range: Range,
  limits: ReadLimits,
  { place, cached }: FewContext,
): Found | null {
  const batches = readPromptly(view, range.fromOffset, limits, cached, range.slot)
  const last = batches.at(-1)
  const records = last === undefined ? null : copyFromAll(batches, place, range)
  if (last === undefined || records === null) return null
  return { records, sizeBytes: totalSizeBytes(batches), nextOffset: last.nextOffset }
}

/**
 * The records in [`fromOffset`, `end`) of the batch that holds `fromOffset`; `null` if its marks
 * are not cached.
 */
function readMarked(
  view: SegmentView,
  { fromOffset: offset, slot }: Range,
  end: number,
  { place, cached }: FewContext,
): Found | null {
  const cursor = cached === null ? null : exactCursor(view, slot)
  if (cached === null || cursor === null) return null
  const marks = cached.get(cursor.position)
  if (marks === null || marks.baseOffset !== cursor.baseOffset) return null
  const nextOffset = marks.lastOffset + 1
  const count = Math.min(end, nextOffset) - offset
  const range = marks.rangeOf(offset, count)
  const sizeBytes = range.end - range.start
  const bytes = cached.borrow(sizeBytes)
  const piece = bytes.length === sizeBytes ? bytes : bytes.subarray(0, sizeBytes)
  const isRead = view.file.readNow?.(piece, cursor.position + range.start) === sizeBytes
  const records = isRead ? marks.recordsIn(piece, range, place, { offset, count }) : null
  cached.giveBack(bytes)
  return records === null ? null : { records, sizeBytes: marks.sizeBytes, nextOffset }
}
