import { BatchReader, headerOrNone } from './batch-reader.ts'
import type { SearchResult, SegmentView } from './segment-search.ts'

/** Bytes between an index entry and the batch that is looked for, or rather more. */
export const SEEK_BYTES: number = 8 * 1024

/**
 * The batch that holds `offset`, where one index entry names it and the one before names the batch
 * in front of it: then nothing else has to be read on the way. Its header has to agree with both.
 *
 * @returns `null` when there are no such entries, or when they are not true.
 */
export async function seekExactly(
  view: SegmentView,
  offset: number,
  { mostBytes, endPosition }: { mostBytes: number; endPosition: number },
): Promise<SearchResult | null> {
  const pair = view.indexes.pairAround(offset)
  // Entries that are close together may have batches in between, which a walk finds as well.
  if (pair === null || pair.after.position - pair.before.position < SEEK_BYTES) return null
  const { before, after } = pair
  const reader = new BatchReader(view.file, after.position, view.sizeBytes)
  const header = await headerOrNone(reader, Math.min(mostBytes, endPosition - after.position))
  if (header?.baseOffset !== before.offset + 1 || header.lastOffset !== after.offset) return null
  return { reader, isFound: true, expectedOffset: header.baseOffset, before: null }
}
