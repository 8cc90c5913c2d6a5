import { BatchReader, headerOrNone } from './batch-reader.ts'
import type { SearchResult, SegmentView } from './segment-search.ts'

/** Upper estimate of the bytes between an index entry and the batch that is searched for. */
export const SEEK_BYTES: number = 8 * 1024

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
  const pair = view.indexes.pairAround(offset)
  // Close entries may have batches between them, which a walk finds too.
  if (pair === null || pair.after.position - pair.before.position < SEEK_BYTES) return null
  const { before, after } = pair
  const reader = new BatchReader(view.file, after.position, view.sizeBytes)
  const header = await headerOrNone(reader, Math.min(mostBytes, endPosition - after.position))
  if (header?.baseOffset !== before.offset + 1 || header.lastOffset !== after.offset) return null
  return { reader, isFound: true, expectedOffset: header.baseOffset, before: null }
}
