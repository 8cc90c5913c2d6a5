import { CorruptRecordError } from '../errors.ts'
import { RECORD_BATCH_OVERHEAD } from './batch-layout.ts'
import { decodeUncompressed } from './decode.ts'
import { RecordBatch } from './record-batch.ts'
import { readRun, type BatchPlace, type StoredRecord } from './record-reader.ts'
import { PEEKED_LENGTH_BITS, PEEKED_LENGTH_MASK, peekVarint } from './varint.ts'

/**
 * At most `maxRecords` records of a batch that is not compressed, from `fromOffset` on, as views of a
 * copy of their bytes: whatever is done to them, the batch stays what it is, and need not stay in
 * memory for them.
 *
 * @throws {@link CorruptRecordError} when the bytes are not what the header says.
 */
export function copyRecords(
  batch: RecordBatch,
  place: BatchPlace,
  range: { readonly fromOffset: number; readonly maxRecords: number },
): StoredRecord[] {
  const { buffer, baseOffset, recordCount } = batch
  const skippedCount = Math.max(0, range.fromOffset - baseOffset)
  const count = Math.min(range.maxRecords, recordCount - skippedCount)
  // Where no offset is missing, the records before are passed over without a look at their offsets.
  if (count > 0 && recordCount === batch.lastOffsetDelta + 1) {
    const start = behindRecords(buffer, RECORD_BATCH_OVERHEAD, skippedCount)
    const end = start < 0 ? -1 : behindRecords(buffer, start, count)
    const run = { firstDelta: skippedCount, count }
    const records = end < 0 ? null : runOrNone(batch, copyOf(buffer, start, end), place, run)
    if (records !== null) return records
  }
  return decodeUncompressed(new RecordBatch(Buffer.from(buffer)), place, range)
}

function copyOf(bytes: Buffer, start: number, end: number): Buffer {
  const copy = Buffer.allocUnsafe(end - start)
  bytes.copy(copy, 0, start, end)
  return copy
}

/** The records in `bytes`; `null` for those that are not what they should be. */
function runOrNone(
  batch: RecordBatch,
  bytes: Buffer,
  place: BatchPlace,
  run: { readonly firstDelta: number; readonly count: number },
): StoredRecord[] | null {
  try {
    return readRun(batch, bytes, place, run)
  } catch (error) {
    if (error instanceof CorruptRecordError) return null
    throw error
  }
}

/** Where the next record begins behind `count` records; -1 for those that are not as short as most. */
function behindRecords(bytes: Buffer, position: number, count: number): number {
  let at = position
  for (let passed = 0; passed < count; passed += 1) {
    const size = peekVarint(bytes, at)
    const zigzag = size >>> PEEKED_LENGTH_BITS
    if (size === 0 || (zigzag & 1) === 1) return -1
    at += (size & PEEKED_LENGTH_MASK) + (zigzag >>> 1)
  }
  return at > bytes.length ? -1 : at
}
