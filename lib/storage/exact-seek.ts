import { BatchReader, headerOrNone } from './batch-reader.ts'
import type { SearchResult, SegmentView } from './segment-search.ts'

/** Upper estimate of the bytes between an index entry and the batch that is searched for. */
export const SEEK_BYTES: number = 8 * 1024

/** Where to find the next batch of a segment, and which offsets it must have. */
export interface Cursor {
  /** Slot of the first index entry at or after the batch. */
  slot: number
  position: number
  /** Base offset of the batch; `null` if only its last offset is known. */
  baseOffset: number | null
  /** Last offset of the batch; `null` if only its base offset is known. */
  lastOffset: number | null
}

/** Slot of the first index entry at or after `offset`; the number of entries if there is none. */
export function slotOf({ indexes }: SegmentView, offset: number): number {
  return indexes.offsetIndex.slotOf(offset - 1) + 1
}

/**
 * The batch that holds an offset, if one index entry names it and the previous entry names the
 * batch before it. Whether other batches lie between the two is not known.
 *
 * @param slot result of {@link slotOf}.
 * @returns `null` if there are no such entries.
 */
export function exactCursor({ indexes }: SegmentView, slot: number): Cursor | null {
  const { offsetIndex } = indexes
  if (slot === 0 || slot >= offsetIndex.count) return null
  return {
    slot,
    position: offsetIndex.positionAt(slot),
    baseOffset: offsetIndex.offsetAt(slot - 1) + 1,
    lastOffset: offsetIndex.offsetAt(slot),
  }
}

/**
 * Finds the batch that holds `offset` if one index entry points to it and the previous entry to the
 * batch before it. Then nothing else has to be read. The header has to agree with both entries.
 *
 * @returns `null` if there are no such entries, or they are wrong.
 */
export async function seekExactly(
  view: SegmentView,
  offset: number,
  { mostBytes, endPosition }: { mostBytes: number; endPosition: number },
): Promise<SearchResult | null> {
  const slot = slotOf(view, offset)
  const exact = exactCursor(view, slot)
  if (exact === null) return null
  const { position, baseOffset, lastOffset } = exact
  // Close entries may have batches between them, which a walk finds too.
  if (position - view.indexes.offsetIndex.positionAt(slot - 1) < SEEK_BYTES) return null
  const reader = new BatchReader(view.file, position, view.sizeBytes)
  const header = await headerOrNone(reader, Math.min(mostBytes, endPosition - position))
  if (header?.baseOffset !== baseOffset || header.lastOffset !== lastOffset) return null
  return { reader, isFound: true, expectedOffset: header.baseOffset, before: null }
}
