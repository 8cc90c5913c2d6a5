import { CorruptRecordError } from '../errors.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import { readRange, type ReadLimits, type SegmentView } from './segment-search.ts'

/** How much {@link readRangeBefore} returns. */
export interface BackwardLimits {
  /** Batches that end below it are left out. */
  readonly fromOffset: number
  /** Approximate number of bytes per read; the last batch is returned even if it is larger. */
  readonly maxBytes: number
}

/**
 * Reads the last batches of a segment that hold offsets in [`limits.fromOffset`, `endOffset`), in
 * offset order. The last one may extend to `endOffset` or beyond, and the first may begin below
 * `fromOffset`.
 *
 * Batches can only be walked forwards. So the offset index supplies a position up to `maxBytes`
 * before the end, and the batches from there on are read forwards with the usual checks. If the
 * index is sparser than `maxBytes`, or wrong, several reads are made, and the last one is returned.
 *
 * @returns no batches if the range is empty.
 * @throws {@link CorruptRecordError} if the last batch is damaged, or the damage has no known end.
 * Sound batches after damage are returned first.
 */
export async function readRangeBefore(
  view: SegmentView,
  endOffset: number,
  { fromOffset, maxBytes }: BackwardLimits,
): Promise<readonly RecordBatch[]> {
  const lowest = Math.max(fromOffset, view.baseOffset)
  let start = Math.max(lowest, offsetToStartAt(view, endOffset, maxBytes))
  for (;;) {
    const last = await lastRangeOf(view, start, { maxBytes, endOffset })
    if (last.length > 0 || start <= lowest) return last
    // Between an index entry and the end there may be nothing but a gap that compaction has left.
    start = Math.max(lowest, offsetBefore(view, start))
  }
}

/** Reads forwards from `start` on, piece by piece. @returns the last piece */
async function lastRangeOf(
  view: SegmentView,
  start: number,
  limits: ReadLimits,
): Promise<readonly RecordBatch[]> {
  const { endOffset } = limits
  let last: readonly RecordBatch[] = []
  let damage: CorruptRecordError | null = null
  let offset = start
  while (offset < endOffset) {
    try {
      const batches = await readRange(view, offset, limits)
      if (batches.length === 0) break
      last = batches
      offset = batches.at(-1)?.nextOffset ?? endOffset
    } catch (error) {
      if (!(error instanceof CorruptRecordError)) throw error
      damage = error
      last = []
      const next = offsetBehind(view, offset, error)
      // Its end is unknown, and from the end of the segment up to `endOffset` there is a gap.
      if (next <= offset) break
      offset = next
    }
  }
  if (last.length === 0 && damage !== null) throw damage
  return last
}

/** The lowest offset from which at most `maxBytes` lie below `endOffset`, by the index. */
function offsetToStartAt(
  { indexes, baseOffset, sizeBytes }: SegmentView,
  endOffset: number,
  maxBytes: number,
): number {
  const { offsetIndex } = indexes
  const endPosition = indexes.positionBehind(endOffset) ?? sizeBytes
  if (endPosition <= maxBytes) return baseOffset
  // The batch at an entry's position ends at or below the entry's offset.
  let high = offsetIndex.slotOf(endOffset - 2)
  if (high < 0) return baseOffset
  let low = 0
  while (low < high) {
    const middle = (low + high) >>> 1
    if (offsetIndex.positionAt(middle) >= endPosition - maxBytes) high = middle
    else low = middle + 1
  }
  return offsetIndex.offsetAt(low) + 1
}

/** The highest offset below `offset` that an index entry names; without any, that of the segment. */
function offsetBefore({ indexes, baseOffset }: SegmentView, offset: number): number {
  const slot = indexes.offsetIndex.slotOf(offset - 1)
  return slot < 0 ? baseOffset : indexes.offsetIndex.offsetAt(slot)
}

/** The offset at which to continue after damage that was found on the way from `offset`. */
function offsetBehind(
  { indexes, baseOffset, nextOffset }: SegmentView,
  offset: number,
  { lastOffset }: CorruptRecordError,
): number {
  const isKnown = lastOffset !== null && lastOffset >= offset && lastOffset < nextOffset
  if (isKnown && lastOffset >= baseOffset) return lastOffset + 1
  // Its length may be wrong too, but the next index entry belongs to another batch.
  const slot = indexes.offsetIndex.slotOf(offset) + 1
  return slot < indexes.offsetIndex.count ? indexes.offsetIndex.offsetAt(slot) + 1 : nextOffset
}
