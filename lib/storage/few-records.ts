import type { BatchPlace, StoredRecord } from '../record/record-reader.ts'
import { totalSizeBytes } from '../record/record-batch.ts'
import { copyFromAll } from '../record/record-copies.ts'
import type { CachedBatches } from './batch-cache.ts'
import { exactCursor, readPromptly } from './prompt-read.ts'
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

/**
 * Reads `limits.maxRecords` records at `offset`, inside of the call, as copies; fewer where
 * `limits.endOffset` comes before. Of a batch that was read before no more than that is read.
 *
 * @returns `null` where only a read that waits can tell.
 */
export function readFewPromptly(
  view: SegmentView,
  offset: number,
  { maxRecords, maxBytes, endOffset }: FewLimits,
  context: FewContext,
): StoredRecord[] | null {
  const end = Math.min(endOffset, offset + maxRecords)
  const records: StoredRecord[] = []
  let next = offset
  let restBytes = maxBytes
  while (next < end) {
    const isFirst = next === offset
    const marked = readMarked(view, next, end, context)
    if (marked !== null) {
      for (const record of marked.records) records.push(record)
      restBytes -= marked.sizeBytes
      next = marked.nextOffset
    } else {
      const limits = { maxBytes: Math.max(1, restBytes), endOffset: end }
      const batches = readPromptly(view, next, limits, context.cached)
      const range = { fromOffset: next, maxRecords: maxRecords - records.length }
      const last = batches.at(-1)
      if (last === undefined || copyFromAll(batches, context.place, range, records) === null) {
        return null
      }
      restBytes -= totalSizeBytes(batches)
      next = last.nextOffset
    }
    if (restBytes < 0 && !isFirst) return null
    if (restBytes <= 0 && next < end) return null
  }
  // There may be fewer of them than offsets.
  const isAll = records.length === maxRecords || next >= endOffset
  return isAll && records.length > 0 ? records : null
}

/** The records in [`offset`, `end`) of the batch that holds `offset`; `null` where it has no marks. */
function readMarked(
  view: SegmentView,
  offset: number,
  end: number,
  { place, cached }: FewContext,
): { records: StoredRecord[]; sizeBytes: number; nextOffset: number } | null {
  const cursor = cached === null ? null : exactCursor(view, offset)
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
