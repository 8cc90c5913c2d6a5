import { CorruptRecordError } from '../errors.ts'
import { RECORD_BATCH_OVERHEAD, type RecordBatch } from '../record/record-batch.ts'
import { shared } from '../record/shared-memory.ts'
import type { CachedBatches } from './batch-cache.ts'
import { BatchReader } from './batch-reader.ts'
import { SEEK_BYTES } from './exact-seek.ts'
import type { ReadLimits, SegmentView } from './segment-search.ts'

/** More is not read inside of a call. */
const MAX_PROMPT_BYTES = 64 * 1024

/** Entries that are as close as one follows another may have batches in between. */
const MIN_EXACT_BYTES = 6 * 1024

/** How much {@link readPromptly} returns. */
export interface PromptLimits extends ReadLimits {
  /** Whether the first batch has to keep to the limit as well: it follows others of the same read. */
  readonly mustFit?: boolean | undefined
}

/** What {@link readPromptly} returns where it is certain that the first batch does not fit. */
export const NONE_FITS: readonly RecordBatch[] = Object.freeze([])

/** Where in a segment the next batch is to be found, and what it has to be. */
export interface Cursor {
  /** Of the first index entry at or behind the batch. */
  slot: number
  position: number
  /** Base offset of the batch; `null` where only its last offset is known. */
  baseOffset: number | null
  /** Last offset of the batch; `null` where only its base offset is known. */
  lastOffset: number | null
}

/**
 * Reads like `readRange`, inside of the call: the batch that holds `offset` and those that follow, as
 * many as a small read gives.
 *
 * Only where everything is as it is in nearly every log: the index is true, batches follow one
 * another without a gap, and the bytes can be had at once. Whatever is out of the ordinary, damage
 * above all, is for `readRange` to find out.
 *
 * @param cached lends the bytes until the end of the call, and takes in where records are; `null`
 * where the caller wants bytes of its own.
 * @param slot of {@link slotOf}, where it is known.
 * @returns no batches where only `readRange` can tell, otherwise at least the one that holds `offset`;
 * {@link NONE_FITS} where it is not to be returned.
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

/** Slot of the first index entry at or behind `offset`; one more than there are when there is none. */
export function slotOf({ indexes }: SegmentView, offset: number): number {
  return indexes.offsetIndex.slotOf(offset - 1) + 1
}

/**
 * The batch that holds an offset, where one index entry names it and the one before names the batch in
 * front of it. There may be others in between.
 *
 * @param slot of {@link slotOf}.
 * @returns `null` when there are no such entries.
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

/** Whether the batch at an exact cursor is likely to be the one behind that of the entry before. */
function mayBeNext({ indexes }: SegmentView, { slot, position }: Cursor): boolean {
  return position - indexes.offsetIndex.positionAt(slot - 1) >= MIN_EXACT_BYTES
}

/** The last batch in front of an offset, whose slot it is, that the index names, or the first of the segment. */
function cursorBefore({ indexes, baseOffset }: SegmentView, slot: number): Cursor {
  const { offsetIndex } = indexes
  if (slot === 0) return { slot, position: 0, baseOffset, lastOffset: null }
  const position = offsetIndex.positionAt(slot - 1)
  return { slot, position, baseOffset: null, lastOffset: offsetIndex.offsetAt(slot - 1) }
}

/**
 * Reads from the cursor on, in one piece, and adds what is sound and follows.
 *
 * @returns whether the first that is wanted is too large. Nothing is added then.
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
  // Of a batch at the cursor that has to fit, what is beyond the limit is of no use but its header.
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
    // What is sound before the damage is delivered; the next read starts at the damage.
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

/** Where to stop reading: behind the batch that holds the last offset below `endOffset`, or before. */
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
