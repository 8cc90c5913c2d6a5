import { CorruptRecordError } from '../errors.ts'
import { readFully } from '../platform/file-io.ts'
import type { File } from '../platform/file-system.ts'
import { CRC_POSITION } from '../record/batch-layout.ts'
import { RECORD_BATCH_OVERHEAD, type RecordBatch } from '../record/record-batch.ts'
import { BatchReader, headerOrNone, type BatchHeader } from './batch-reader.ts'
import { SEEK_BYTES, seekExactly } from './exact-seek.ts'
import type { IndexedBatch, SegmentIndexes } from './segment-indexes.ts'

/** Most bytes that a read requests at once, unless a single batch is larger. */
const MAX_READ_BYTES = 4 * 1024 * 1024
/** Bytes read at once by a walk from batch to batch. */
export const WALK_BYTES: number = 64 * 1024

/** A segment as it was at one moment. */
export interface SegmentView {
  readonly file: File
  /** No batch has a lower offset. */
  readonly baseOffset: number
  /** No batch has this or a higher offset. */
  readonly nextOffset: number
  /** Where the batches end. */
  readonly sizeBytes: number
  readonly indexes: SegmentIndexes
}

/** How much {@link readRange} returns. */
export interface ReadLimits {
  /** Limit for all batches together; the first one is returned even if it is larger. */
  readonly maxBytes: number
  /** Batches that begin at or above it are left out. */
  readonly endOffset: number
}

/**
 * Reads the batch that holds `offset`, or the first one after it, and those that follow.
 *
 * The checksum of a batch does not cover its base offset. In a log without gaps, its neighbours
 * leave only one place for a batch. A batch that leaves a gap is therefore not believed if the
 * next one contradicts it.
 *
 * @returns no batches if there are none in [`offset`, `endOffset`).
 * @throws {@link CorruptRecordError} when the first batch of the range is damaged. Later damage ends the range.
 */
export async function readRange(
  view: SegmentView,
  offset: number,
  limits: ReadLimits,
): Promise<readonly RecordBatch[]> {
  const { maxBytes, endOffset } = limits
  const batches: RecordBatch[] = []
  let sizeBytes = 0
  try {
    const place = await seek(view, offset, limits)
    const { reader, isFound, before } = place
    if (!isFound && before !== null) await ensureGapBehind(view, before, reader)
    let { expectedOffset } = place
    while (!reader.isAtEnd()) {
      // All further batches would be left out.
      if (batches.length > 0 && expectedOffset >= endOffset) break
      const header =
        reader.headerNow() ?? (await reader.header(Math.min(maxBytes - sizeBytes, MAX_READ_BYTES)))
      if (batches.length > 0) {
        if (header.baseOffset >= endOffset || sizeBytes + header.sizeBytes > maxBytes) break
        ensureFollows(view, reader, header, expectedOffset)
      }
      const isBehind = header.baseOffset >= endOffset
      // Of a batch behind the range only the offsets matter.
      const batch = isBehind ? null : (reader.batchNow() ?? (await reader.batch()))
      reader.skip()
      if (header.baseOffset !== expectedOffset) {
        // Either of the two batches may be the one that is out of place. Bytes that are no batch
        // contradict nothing: they are damage of their own.
        const next = await headerOrNone(reader, RECORD_BATCH_OVERHEAD)
        if (next !== null) ensureFollows(view, reader, next, header.lastOffset + 1, expectedOffset)
      }
      if (batch === null) break
      batches.push(batch)
      sizeBytes += header.sizeBytes
      expectedOffset = header.lastOffset + 1
    }
  } catch (error) {
    // The sound batches before the damage are returned; the next read starts at the damage.
    if (!(error instanceof CorruptRecordError) || batches.length === 0) throw error
  }
  return batches
}

/** Where the search for an offset ended. */
export interface SearchResult {
  /** At the batch that holds the offset, or at the first one after it, or at the end. */
  readonly reader: BatchReader
  /** Whether the batch there holds the offset. */
  readonly isFound: boolean
  /** Base offset of the batch there if nothing is missing before it. */
  readonly expectedOffset: number
  /** Position of the last batch that was skipped on the way; `null` for none. */
  readonly before: number | null
}

/**
 * Finds the first batch with a last offset at or above `offset`.
 *
 * Index entries that do not match the batch they point to are not used.
 *
 * @param limits what will be read from there on; absent if only the header will be.
 * @throws {@link CorruptRecordError} when there is damage where `offset` would be.
 */
export async function seek(
  view: SegmentView,
  offset: number,
  limits?: ReadLimits,
): Promise<SearchResult> {
  let chunkBytes = SEEK_BYTES
  const hint = view.indexes.lookup(offset)
  if (limits !== undefined) {
    const endPosition = view.indexes.positionBehind(limits.endOffset) ?? view.sizeBytes
    const mostBytes = Math.min(limits.maxBytes, MAX_READ_BYTES)
    const exact = await seekExactly(view, offset, { mostBytes, endPosition })
    if (exact !== null) return exact
    chunkBytes += Math.min(mostBytes, endPosition - (hint?.entry.position ?? 0))
  }
  if (hint !== null) {
    const { entry, lowestOffset } = hint
    const reader = new BatchReader(view.file, entry.position, view.sizeBytes)
    const first = await headerOrNone(reader, chunkBytes)
    if (first !== null && misplaced(view, first, lowestOffset) === null) {
      const isExact = first.lastOffset === entry.offset
      const expectedOffset = isExact ? first.baseOffset : lowestOffset
      if (isExact || first.lastOffset < entry.offset) {
        const result = await walkTo(view, reader, { offset, chunkBytes, expectedOffset })
        // An entry of Kafka up to 4.0 may name a later batch of the same append, which does no harm
        // if the offset is found. If it is not, damage may look the same.
        if (isExact || result.isFound) return result
      }
    }
  }
  const reader = new BatchReader(view.file, 0, view.sizeBytes)
  return walkTo(view, reader, { offset, chunkBytes, expectedOffset: view.baseOffset })
}

/**
 * What a truncation to `offset` leaves: everything before the batch that holds `offset`.
 *
 * @returns the end of the rest: the position, and one above the last offset of its last batch.
 */
export async function restBelow(
  view: SegmentView,
  offset: number,
): Promise<{ sizeBytes: number; endOffset: number }> {
  const { reader, isFound, expectedOffset } = await seek(view, offset)
  const sizeBytes = reader.position
  if (!isFound || sizeBytes === 0) return { sizeBytes, endOffset: expectedOffset }
  const { baseOffset } = await reader.header()
  const before = await seek(view, baseOffset - 1)
  return { sizeBytes, endOffset: before.isFound ? baseOffset : before.expectedOffset }
}

/**
 * Notes the batches from the last index entry on, as far as each can be found after the previous
 * one.
 *
 * An entry vouches for its batch's offsets, so a batch that leaves a gap is noted only if the next
 * one agrees. Damage may hide a larger timestamp than all others: no time entry is added after it.
 */
export async function noteAgain(view: SegmentView): Promise<void> {
  const { file, indexes, sizeBytes } = view
  const start = indexes.rewind()
  if (sizeBytes === 0) return
  const claim = indexes.timeIndex.lastEntry
  // Until this is done, and if it fails, the maximum is not proven.
  indexes.unprovenMax = claim
  let { lowestOffset } = start
  let doubtful: { readonly batch: IndexedBatch; readonly position: number } | null = null
  const note = (batch: IndexedBatch, position: number): void => {
    indexes.note(batch, position)
    lowestOffset = batch.lastOffset + 1
  }
  const reader = new BatchReader(file, start.position, sizeBytes)
  while (!reader.isAtEnd()) {
    const header = await headerOrNone(reader, WALK_BYTES)
    if (header === null) break
    const { position } = reader
    const isSound = await isReadable(reader)
    reader.skip()
    if (doubtful !== null && header.baseOffset > doubtful.batch.lastOffset) {
      note(doubtful.batch, doubtful.position)
    } else if (doubtful !== null) indexes.isBlind = true
    doubtful = null
    const isMisplaced = misplaced(view, header, lowestOffset) !== null
    if (!isSound || isMisplaced) indexes.isBlind = true
    if (isMisplaced) continue
    const batch = isSound ? header : { ...header, maxTimestamp: -1 }
    if (header.baseOffset === lowestOffset) note(batch, position)
    else doubtful = { batch, position }
  }
  if (doubtful !== null) note(doubtful.batch, doubtful.position)
  if (!reader.isAtEnd()) indexes.isBlind = true
  // Batches that are noted from now on have just been written.
  indexes.unprovenMax = { ...claim }
}

async function isReadable(reader: BatchReader): Promise<boolean> {
  try {
    await reader.batch()
    return true
  } catch (error) {
    if (error instanceof CorruptRecordError) return false
    throw error
  }
}

/**
 * Whether a batch is still where it was. Its header is enough, as it contains the checksum of the
 * rest. Readers that follow a log ask many times a second, and the batch may be large.
 */
export async function isBatchThere(
  file: File,
  batch: { position: number; end: number; crc: number; nextOffset: number },
): Promise<boolean> {
  const { position, end, crc, nextOffset } = batch
  const bytes = Buffer.allocUnsafe(RECORD_BATCH_OVERHEAD)
  const found = bytes.subarray(0, await readFully(file, bytes, position))
  try {
    const header = new BatchReader(file, position, end, found).headerNow()
    if (header === null || header.sizeBytes !== end - position) return false
    return header.lastOffset + 1 === nextOffset && found.readUInt32BE(CRC_POSITION) === crc
  } catch (error) {
    if (error instanceof CorruptRecordError) return false
    throw error
  }
}

/** Why a batch with this header cannot follow one that ends below `lowestOffset`. */
export function misplaced(
  view: Pick<SegmentView, 'nextOffset'>,
  { baseOffset, lastOffset }: BatchHeader,
  lowestOffset: number,
): string | null {
  const isInOrder = baseOffset >= lowestOffset && lastOffset >= baseOffset
  if (isInOrder && lastOffset < view.nextOffset) return null
  return (
    `offsets ${baseOffset} to ${lastOffset} are not within ` +
    `${lowestOffset} to ${view.nextOffset} (exclusive)`
  )
}

/**
 * Moves to the first batch with a last offset at or above `offset`.
 *
 * @throws {@link CorruptRecordError} when that batch does not hold it and one on the way is out of
 * order: it may be the one that should.
 */
async function walkTo(
  view: SegmentView,
  reader: BatchReader,
  target: { offset: number; chunkBytes: number; expectedOffset: number },
): Promise<SearchResult> {
  const { offset, chunkBytes } = target
  let { expectedOffset } = target
  let disorder: CorruptRecordError | null = null
  let before: number | null = null
  while (!reader.isAtEnd()) {
    const header = await reader.header(chunkBytes)
    const { baseOffset, lastOffset } = header
    const isInSegment = baseOffset >= view.baseOffset && lastOffset < view.nextOffset
    const isFound = isInSegment && baseOffset <= offset && offset <= lastOffset
    const reason = misplaced(view, header, expectedOffset)
    // No checksum covers the base offset: if it is too low, the records would get wrong offsets.
    if (isFound && reason === null) return { reader, isFound, expectedOffset, before }
    if (reason !== null) {
      disorder ??= outOfPlace(view, reader, reason, { header, firstOffset: expectedOffset })
    } else if (lastOffset >= offset) {
      break
    } else {
      expectedOffset = lastOffset + 1
      before = reader.position
    }
    reader.skip()
  }
  if (disorder !== null) throw disorder
  return { reader, isFound: false, expectedOffset, before }
}

/**
 * Checks the batch before a gap: it may be the one that should hold the offsets there, since its
 * last offset is believed only with its checksum.
 *
 * @param reader at the batch behind the gap, or at the end.
 * @throws {@link CorruptRecordError} up to the end of the gap, so that whoever continues after the
 * damage does not meet it again.
 */
async function ensureGapBehind(
  view: SegmentView,
  before: number,
  reader: BatchReader,
): Promise<void> {
  try {
    await new BatchReader(view.file, before, view.sizeBytes).batch()
  } catch (error) {
    if (!(error instanceof CorruptRecordError)) throw error
    const { reason, path, position, firstOffset } = error
    const endOffset = reader.headerNow()?.baseOffset ?? view.nextOffset
    throw new CorruptRecordError(reason, { path, position, firstOffset, lastOffset: endOffset - 1 })
  }
}

/**
 * The damage is reported from `doubtfulFrom` on: a misplaced batch may have any offsets.
 *
 * @throws {@link CorruptRecordError} when the batch at the cursor is misplaced.
 */
function ensureFollows(
  view: SegmentView,
  reader: BatchReader,
  header: BatchHeader,
  lowestOffset: number,
  doubtfulFrom: number = lowestOffset,
): void {
  const reason = misplaced(view, header, lowestOffset)
  if (reason !== null) throw outOfPlace(view, reader, reason, { header, firstOffset: doubtfulFrom })
}

/** No checksum covers a base offset, so the offsets of the batch are believed only in the segment. */
function outOfPlace(
  { nextOffset }: SegmentView,
  reader: BatchReader,
  reason: string,
  { header, firstOffset }: { readonly header: BatchHeader; readonly firstOffset: number },
): CorruptRecordError {
  const { lastOffset } = header
  const isPlausible = lastOffset >= firstOffset && lastOffset < nextOffset
  return reader.corrupt(reason, { firstOffset, lastOffset: isPlausible ? lastOffset : null })
}
