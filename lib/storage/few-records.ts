import type { BatchPlace } from '../record/record-reader.ts'
import type { StoredRecord } from '../record/stored-record.ts'
import { totalSizeBytes } from '../record/record-batch.ts'
import { copyFromAll } from '../record/record-copies.ts'
import type { CachedBatches } from './batch-cache.ts'
import { exactCursor, readPromptly, slotOf } from './prompt-read.ts'
import type { ReadLimits, SegmentView } from './segment-search.ts'

/** How much {@link readFewPromptly} returns. */
export interface FewLimits extends ReadLimits {
  readonly maxRecords: number
}

/** Where {@link readFewPromptly} gets what it does not find in the log. */
export interface FewContext {
  readonly place: BatchPlace
  /** What small reads have learned of batches; `null` where nothing is kept. */
  readonly cached: CachedBatches | null
}

/** What {@link readFewPromptly} has come to. */
export interface FewRecords {
  /** At least one. */
  readonly records: StoredRecord[]
  /** Where a read that waits goes on, where there are fewer than were wanted. */
  readonly nextOffset: number
  /** How many bytes that may still take; 0 or less where the limit is reached. */
  readonly restBytes: number
}

/**
 * Reads records from `offset` on, inside of the call, as copies: `limits.maxRecords` of them, or as
 * many as come before `limits.endOffset`, before the limit of bytes, or before what only a read that
 * waits can tell. Of a batch that was read before no more than that is read.
 *
 * @returns `null` where that is none.
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
      // The first batch is given however large.
      if (restBytes < 0 && nextOffset > offset) break
      for (const record of found.records) records.push(record)
      nextOffset = found.nextOffset
    }
  } catch (error) {
    // What is wrong behind the first is for the read that begins there.
    if (records.length === 0) throw error
  }
  return records.length === 0 ? null : { records, nextOffset, restBytes }
}

/** What is yet to be read. */
interface Range {
  readonly fromOffset: number
  readonly maxRecords: number
  /** Of `fromOffset`; see {@link slotOf}. */
  readonly slot: number
}

/** Some records of a batch, or of several. */
interface Found {
  readonly records: readonly StoredRecord[]
  /** Of the batches. */
  readonly sizeBytes: number
  readonly nextOffset: number
}

/** The records of the batches at `range.fromOffset`; `null` where they are compressed, or not to be had. */
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

/** The records in [`fromOffset`, `end`) of the batch that holds `fromOffset`; `null` where it has no marks. */
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
