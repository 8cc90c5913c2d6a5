import { CorruptRecordError } from '../errors.ts'
import { readFully } from '../platform/file-io.ts'
import type { FileSource } from '../platform/file-system.ts'
import {
  ATTRIBUTES_POSITION,
  BATCH_LENGTH_POSITION,
  CRC_POSITION,
  MAGIC_POSITION,
  PRODUCER_ID_POSITION,
} from '../record/batch-layout.ts'
import { continueCrc32c } from '../record/crc32c.ts'
import { readInt64 } from '../record/int64.ts'
import {
  GROUP_START,
  LOG_OVERHEAD,
  MAGIC_V2,
  NO_TIMESTAMP,
  RECORD_BATCH_OVERHEAD,
  RecordBatch,
} from '../record/record-batch.ts'
import { liesInValue, type ValueRange } from './torn-batch.ts'

/** Bytes read from the file at once. */
const CHUNK_BYTES = 1024 * 1024

/**
 * Bytes that the search after damage may check per byte of its range. Otherwise overlapping
 * batches, which no log writes, could make it take arbitrarily long.
 */
const SEARCH_FACTOR = 4

/** Largest distance of an offset in a segment from the base offset. */
export const LARGEST_RELATIVE_OFFSET = 0x7fffffff

/** Which bytes of a segment file to walk through. */
export interface ScanRange {
  /** Where the first batch starts. */
  readonly position: number
  /** Where to stop, exclusive. */
  readonly end: number
  /** The lowest offset that the first batch may have. */
  readonly nextOffset: number
  /** The segment's base offset. */
  readonly baseOffset: number
  /**
   * Which batches may leave a gap before them: any, only the first of the range, or none. With
   * `'none'`, the base offset that each batch must have is known.
   *
   * @defaultValue `'any'`
   */
  readonly gaps?: 'any' | 'first' | 'none'
  /** The scan ends after the batch with which it reaches this size. @defaultValue no limit */
  readonly mostBytes?: number
  /** Why a batch that is sound in itself does not belong there; `null` if it does. */
  readonly objection?: ((batch: RecordBatch, position: number) => string | null) | undefined
}

/** Where a scan stopped. */
export interface ScanResult {
  /** End of the last valid batch. */
  readonly position: number
  /** One above the last offset of the last valid batch. */
  readonly nextOffset: number
  /** Why the bytes at `position` are no valid batch; `null` if the scan reached its end. */
  readonly reason: string | null
}

/**
 * Walks through the batches of a segment file and passes each valid one to `onBatch`, until the end
 * or the first bytes that are no valid batch. The batch is a view that is only valid during the
 * call.
 *
 * Valid means: complete, of a known format, with a matching checksum, and with offsets that follow
 * the previous ones. The last check is needed because the checksum does not cover the base offset.
 * For the same reason, a batch that leaves a gap must not overlap with the next one.
 */
export async function scanBatches(
  file: FileSource,
  range: ScanRange,
  onBatch: (batch: RecordBatch, position: number) => void,
): Promise<ScanResult> {
  let { position, nextOffset } = range
  let { gaps } = range
  const { mostBytes = Infinity } = range
  let chunk: Buffer = Buffer.alloc(0)
  while (position < range.end && position - range.position < mostBytes) {
    const remainingBytes = range.end - position
    if (chunk.length < RECORD_BATCH_OVERHEAD) {
      chunk = await readChunk(file, position, Math.min(CHUNK_BYTES, remainingBytes))
    }
    const size = plausibleSize(chunk, nextOffset, remainingBytes)
    if (typeof size === 'string') return { position, nextOffset, reason: size }
    if (size > CHUNK_BYTES && !(await isIntact(file, position, size))) {
      return { position, nextOffset, reason: `the CRC of its ${size} bytes does not match` }
    }
    if (chunk.length < size) {
      chunk = await readChunk(file, position, Math.min(Math.max(CHUNK_BYTES, size), remainingBytes))
    }
    const checked = checkBatch(chunk, { ...range, nextOffset })
    if (typeof checked === 'string') return { position, nextOffset, reason: checked }
    if (gaps === 'none' && checked.baseOffset !== nextOffset) {
      const reason = `base offset ${checked.baseOffset} is not the next offset (${nextOffset})`
      return { position, nextOffset, reason }
    }
    if (gaps === 'first') gaps = 'none'
    const objection = range.objection?.(checked, position) ?? null
    if (objection !== null) return { position, nextOffset, reason: objection }
    if (checked.baseOffset !== nextOffset && remainingBytes >= size + RECORD_BATCH_OVERHEAD) {
      if (chunk.length < size + RECORD_BATCH_OVERHEAD) {
        chunk = await readChunk(file, position, Math.min(CHUNK_BYTES + size, remainingBytes))
      }
      const reason = contradiction(checked, chunk.subarray(size))
      if (reason !== null) return { position, nextOffset, reason }
    }
    onBatch(checked, position)
    position += checked.sizeBytes
    nextOffset = checked.nextOffset
    chunk = chunk.subarray(checked.sizeBytes)
  }
  return { position, nextOffset, reason: null }
}

/**
 * Searches after damage for a later batch that says *everything before me was durable*.
 *
 * @param range where to search; a batch found must have an offset of at least `nextOffset`.
 * @param values in order of position; bytes inside one of them are no batch of this log.
 * @returns position and base offset of the last such batch; `null` if there is none. If it would
 * take too long to check all candidates, one of them, unchecked.
 */
export async function findLastGroupStart(
  file: FileSource,
  range: ScanRange,
  values: readonly ValueRange[] = [],
): Promise<{ position: number; baseOffset: number } | null> {
  let found: { position: number; baseOffset: number } | null = null
  const [magic, magicPosition] = [MAGIC_V2, MAGIC_POSITION]
  let budgetBytes = CHUNK_BYTES + SEARCH_FACTOR * (range.end - range.position)
  for (let start = range.position; start < range.end; start += CHUNK_BYTES) {
    // Headers that begin in this chunk may extend into the next one.
    const chunk = await readChunk(
      file,
      start,
      Math.min(CHUNK_BYTES + RECORD_BATCH_OVERHEAD, range.end - start),
    )
    const candidates = Math.min(chunk.length, CHUNK_BYTES)
    for (let at = 0; at < candidates; at += 1) {
      // Inline, as every byte of a tail is looked at.
      if (chunk[at + magicPosition] !== magic) continue
      if (!looksLikeHeader(chunk, at, range, range.end - start - at)) continue
      const size = chunk.readInt32BE(at + BATCH_LENGTH_POSITION) + LOG_OVERHEAD
      const position = start + at
      if (liesInValue(values, position, position + size)) continue
      budgetBytes -= size
      if (budgetBytes < 0) return { position, baseOffset: roughOffset(chunk, at) }
      if (size > CHUNK_BYTES && !(await isIntact(file, position, size))) continue
      const batch = checkBatch(await readChunk(file, position, size), range)
      if (batch instanceof RecordBatch && batch.isGroupStart) {
        found = { position, baseOffset: batch.baseOffset }
      }
    }
  }
  return found
}

/**
 * Size of the batch that `bytes` begins with, or why there is none. A damaged length must not
 * decide how much memory is allocated, so the other fields are checked as well.
 */
function plausibleSize(bytes: Buffer, nextOffset: number, remainingBytes: number): number | string {
  if (bytes.length < RECORD_BATCH_OVERHEAD) {
    return `${bytes.length} bytes are too few for a batch header`
  }
  const magic = bytes.readInt8(MAGIC_POSITION)
  if (magic !== MAGIC_V2) return `its magic is ${magic}, not ${MAGIC_V2}`
  const size = bytes.readInt32BE(BATCH_LENGTH_POSITION) + LOG_OVERHEAD
  if (size < RECORD_BATCH_OVERHEAD || size > remainingBytes) {
    return `the batch claims ${size} bytes, but ${remainingBytes} bytes remain`
  }
  const baseOffset = roughOffset(bytes, 0)
  if (baseOffset < nextOffset) {
    return `base offset ${baseOffset} is below the next offset (${nextOffset})`
  }
  return size
}

/** Checks a large batch in pieces. Memory for all of it is allocated only if it is intact. */
export async function isIntact(file: FileSource, position: number, size: number): Promise<boolean> {
  const header = await readChunk(file, position, RECORD_BATCH_OVERHEAD)
  if (header.length < RECORD_BATCH_OVERHEAD) return false
  let crc = 0
  for (let at = ATTRIBUTES_POSITION; at < size; at += CHUNK_BYTES) {
    const piece = await readChunk(file, position + at, Math.min(CHUNK_BYTES, size - at))
    crc = continueCrc32c(crc, piece)
  }
  return crc === header.readUInt32BE(CRC_POSITION)
}

/**
 * Why the base offset of a batch after a gap, which no checksum covers, must be wrong: the next
 * batch begins below its end. `null` if it does not.
 */
function contradiction(batch: RecordBatch, next: Buffer): string | null {
  const isBatch = next.length >= RECORD_BATCH_OVERHEAD && next[MAGIC_POSITION] === MAGIC_V2
  const nextBaseOffset = isBatch ? roughOffset(next, 0) : Infinity
  if (nextBaseOffset >= batch.nextOffset) return null
  return `base offset ${batch.baseOffset} contradicts the next batch, which begins at ${nextBaseOffset}`
}

/** The batch that `bytes` begins with, or why there is none. */
function checkBatch(
  bytes: Buffer,
  range: Pick<ScanRange, 'nextOffset' | 'baseOffset'>,
): RecordBatch | string {
  try {
    const batch = new RecordBatch(bytes)
    batch.ensureValid()
    const { baseOffset, lastOffset, maxTimestamp } = batch
    if (baseOffset < range.nextOffset) {
      return `base offset ${baseOffset} is below the next offset (${range.nextOffset})`
    }
    if (lastOffset - range.baseOffset > LARGEST_RELATIVE_OFFSET) {
      return `last offset ${lastOffset} is too far from base offset ${range.baseOffset}`
    }
    if (maxTimestamp < NO_TIMESTAMP)
      return `its largest timestamp ${maxTimestamp} is below ${NO_TIMESTAMP}`
    // Throws if it cannot be represented: whoever gets the batch notes its producer.
    readInt64(batch.buffer, PRODUCER_ID_POSITION)
    return batch
  } catch (error) {
    if (error instanceof CorruptRecordError) return error.reason
    throw error
  }
}

/** A cheap check of the fixed fields, before a checksum is computed. */
function looksLikeHeader(
  chunk: Buffer,
  at: number,
  range: ScanRange,
  remainingBytes: number,
): boolean {
  // The high byte of the attributes has the group start bit.
  if (((chunk[at + ATTRIBUTES_POSITION] ?? 0) & (GROUP_START >>> 8)) === 0) return false
  if (at + RECORD_BATCH_OVERHEAD > chunk.length) return false
  const size = chunk.readInt32BE(at + BATCH_LENGTH_POSITION) + LOG_OVERHEAD
  if (size < RECORD_BATCH_OVERHEAD || size > remainingBytes) return false
  const baseOffset = roughOffset(chunk, at)
  return baseOffset >= range.nextOffset && baseOffset - range.baseOffset <= LARGEST_RELATIVE_OFFSET
}

/** A base offset, rounded if it is beyond what a log of this library can hold. */
function roughOffset(bytes: Buffer, at: number): number {
  return bytes.readInt32BE(at) * 0x1_0000_0000 + bytes.readUInt32BE(at + 4)
}

async function readChunk(file: FileSource, position: number, sizeBytes: number): Promise<Buffer> {
  const chunk = Buffer.allocUnsafe(sizeBytes)
  return chunk.subarray(0, await readFully(file, chunk, position))
}
