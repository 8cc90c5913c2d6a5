import { CorruptRecordError } from '../errors.ts'
import { RECORD_BATCH_OVERHEAD, type RecordBatch } from '../record/record-batch.ts'
import { shared } from '../record/shared-memory.ts'
import type { CachedBatches } from './batch-cache.ts'
import { BatchReader } from './batch-reader.ts'
import { exactCursor, SEEK_BYTES, slotOf, type Cursor } from './exact-seek.ts'
import type { ReadLimits, SegmentView } from './segment-search.ts'

/** Most bytes that are read synchronously. */
const MAX_PROMPT_BYTES = 64 * 1024

/** If two index entries are closer than this, there may be other batches between their batches. */
const MIN_EXACT_BYTES = 6 * 1024

/** How much {@link readPromptly} returns. */
export interface PromptLimits extends ReadLimits {
  /** Whether the limit also holds for the first batch, as it follows others of the same read. */
  readonly mustFit?: boolean | undefined
}

/** Returned by {@link readPromptly} if the first batch certainly does not fit. */
export const NONE_FITS: readonly RecordBatch[] = Object.freeze([])

/**
 * Reads like `readRange`, but synchronously: the batch that holds `offset` and those that follow,
 * as many as a small read returns.
 *
 * Handles only the usual case: the index is correct, batches follow one another without a gap, and
 * the bytes are available at once. Anything else, above all damage, is left to `readRange`.
 *
 * @param cached lends a buffer until the end of the call and learns where records are; `null` if
 * the caller wants bytes of its own.
 * @param slot result of {@link slotOf}, if it is known.
 * @returns no batches if only `readRange` can tell, otherwise at least the batch that holds
 * `offset`; {@link NONE_FITS} if that batch does not fit.
 */
export function readPromptly(
  view: SegmentView,
  offset: number,
  limits: PromptLimits,
  cached: CachedBatches | null,
  slot: number = slotOf(view, offset),
): readonly RecordBatch[] {
  const found: RecordBatch[] = []
  const exact = exactCursor(view, slot)
  if (exact !== null && mayBeNext(view, exact)) {
    const isTooLarge = readOn(view, offset, limits, { cursor: exact, cache: cached, found })
    if (isTooLarge) return NONE_FITS
  }
  if (found.length === 0) {
    const cursor = cursorBefore(view, slot)
    if (readOn(view, offset, limits, { cursor, cache: cached, found })) return NONE_FITS
  }
  return found
}

/** Whether the batch at an exact cursor probably follows the batch of the previous entry. */
function mayBeNext({ indexes }: SegmentView, { slot, position }: Cursor): boolean {
  return position - indexes.offsetIndex.positionAt(slot - 1) >= MIN_EXACT_BYTES
}

/** The last batch that the index names before an offset with this slot, or the segment's first. */
function cursorBefore({ indexes, baseOffset }: SegmentView, slot: number): Cursor {
  const { offsetIndex } = indexes
  if (slot === 0) return { slot, position: 0, baseOffset, lastOffset: null }
  const position = offsetIndex.positionAt(slot - 1)
  return { slot, position, baseOffset: null, lastOffset: offsetIndex.offsetAt(slot - 1) }
}

/**
 * Reads one chunk from the cursor on, and adds the batches that are sound and follow one another.
 *
 * @returns whether the first wanted batch is too large, in which case nothing is added.
 */
function readOn(
  view: SegmentView,
  offset: number,
  { maxBytes, endOffset, mustFit = false }: PromptLimits,
  read: { cursor: Cursor; cache: CachedBatches | null; found: RecordBatch[] },
): boolean {
  const { cursor, cache, found } = read
  const { file } = view
  let sizeBytes = 0
  // If a batch at an exact cursor has to fit, only its header is needed beyond the limit.
  const seekBytes = mustFit && cursor.baseOffset !== null ? RECORD_BATCH_OVERHEAD : SEEK_BYTES
  const mostBytes = Math.min(MAX_PROMPT_BYTES, maxBytes + seekBytes)
  const chunkBytes = endOf(view, cursor, endOffset, mostBytes) - cursor.position
  const bytes = cache?.borrow(chunkBytes) ?? shared(Buffer.allocUnsafe(chunkBytes))
  const chunk = bytes.length === chunkBytes ? bytes : bytes.subarray(0, chunkBytes)
  const reader = new BatchReader(file, cursor.position, view.sizeBytes, chunk)
  try {
    if (file.readNow?.(chunk, cursor.position) !== chunkBytes) return false
    for (;;) {
      const header = reader.headerNow()
      if (header === null || !isExpected(view, header, cursor)) return false
      const { position } = reader
      const isBefore = found.length === 0 && header.lastOffset < offset
      if (!isBefore) {
        if (header.baseOffset >= endOffset) return false
        sizeBytes += header.sizeBytes
        if (sizeBytes > maxBytes && (mustFit || found.length > 0)) return found.length === 0
        const batch = reader.batchNow(cache?.checkAt(position))
        if (batch === null) return false
        found.push(batch)
      }
      reader.skip()
      cursor.baseOffset = header.lastOffset + 1
      cursor.lastOffset = null
      if (cursor.baseOffset >= endOffset) return false
    }
  } catch (error) {
    // The sound batches before the damage are returned; the next read starts at the damage.
    if (!(error instanceof CorruptRecordError)) throw error
    return false
  } finally {
    cache?.giveBack(bytes)
  }
}

function isExpected(
  view: SegmentView,
  found: { readonly baseOffset: number; readonly lastOffset: number },
  { baseOffset, lastOffset }: Cursor,
): boolean {
  if (baseOffset !== null && found.baseOffset !== baseOffset) return false
  if (lastOffset !== null && found.lastOffset !== lastOffset) return false
  return (
    found.baseOffset >= view.baseOffset &&
    found.lastOffset >= found.baseOffset &&
    found.lastOffset < view.nextOffset
  )
}

/** Where to stop: after the batch with the last offset below `endOffset`, or within `mostBytes`. */
function endOf(
  view: SegmentView,
  { slot, position }: Cursor,
  endOffset: number,
  mostBytes: number,
): number {
  const { offsetIndex } = view.indexes
  const { count } = offsetIndex
  let last = slot
  while (
    last < count &&
    offsetIndex.offsetAt(last) < endOffset - 1 &&
    offsetIndex.positionAt(last) - position < mostBytes
  ) {
    last += 1
  }
  for (; last >= slot; last -= 1) {
    const end = last + 1 < count ? offsetIndex.positionAt(last + 1) : view.sizeBytes
    if (end - position <= mostBytes) return end
  }
  return Math.min(position + mostBytes, view.sizeBytes)
}
