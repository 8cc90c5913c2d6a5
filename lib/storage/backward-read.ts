import { CorruptRecordError } from '../errors.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import { readRange, type SegmentView } from './segment-search.ts'

/** How much {@link readRangeBefore} returns. */
export interface BackwardLimits {
  /** Batches that end below it are left out. */
  readonly fromOffset: number
  /** About how much is read at once; the last batch is returned however large. */
  readonly maxBytes: number
}

/**
 * Reads the last batches of a segment that hold offsets in [`limits.fromOffset`, `endOffset`), in
 * offset order. The last one may go on at or above `endOffset`, and the first begin below
 * `fromOffset`.
 *
 * Batches can only be walked forwards. So the offset index gives a place as far back as `maxBytes`
 * allow, and what is there is read forwards, under the checks of every read. Where the index is
 * coarser than that, or wrong, it takes several pieces, of which the last one is kept.
 *
 * @returns no batches when nothing lies in the range.
 * @throws {@link CorruptRecordError} when the last batch is damaged, or nobody can tell what lies
 * behind damage; what is sound behind damage is returned first.
 */
export async function readRangeBefore(
  view: SegmentView,
  endOffset: number,
  { fromOffset, maxBytes }: BackwardLimits,
): Promise<readonly RecordBatch[]> {
  let last: readonly RecordBatch[] = []
  let damage: CorruptRecordError | null = null
  let offset = Math.max(fromOffset, offsetToStartAt(view, endOffset, maxBytes))
  while (offset < endOffset) {
    try {
      const { batches } = await readRange(view, offset, { maxBytes, endOffset })
      if (batches.length === 0) break
      last = batches
      offset = batches.at(-1)?.nextOffset ?? endOffset
    } catch (error) {
      if (!(error instanceof CorruptRecordError)) throw error
      damage = error
      last = []
      const next = offsetBehind(view, offset, error)
      // Nobody knows where it ends, and behind the segment there is a gap up to `endOffset`.
      if (next <= offset) break
      offset = next
    }
  }
  if (last.length === 0 && damage !== null) throw damage
  return last
}

/** The lowest offset from which no more than `maxBytes` lie below `endOffset`, as far as the index tells. */
function offsetToStartAt(
  { indexes, baseOffset, sizeBytes }: SegmentView,
  endOffset: number,
  maxBytes: number,
): number {
  const { offsetIndex } = indexes
  const endPosition = indexes.positionBehind(endOffset) ?? sizeBytes
  if (endPosition <= maxBytes) return baseOffset
  // The batch of an entry ends below the offset behind that of the entry.
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

/** Where to go on behind damage that was met on the way from `offset`. */
function offsetBehind(
  { indexes, baseOffset, nextOffset }: SegmentView,
  offset: number,
  { lastOffset }: CorruptRecordError,
): number {
  const isKnown = lastOffset !== null && lastOffset >= offset && lastOffset < nextOffset
  if (isKnown && lastOffset >= baseOffset) return lastOffset + 1
  // Its length may be wrong as well, but the next entry names a batch of its own.
  const slot = indexes.offsetIndex.slotOf(offset) + 1
  return slot < indexes.offsetIndex.count ? indexes.offsetIndex.offsetAt(slot) + 1 : nextOffset
}
