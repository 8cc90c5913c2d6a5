import { CorruptRecordError } from '../errors.ts'
import { readRun, type BatchPlace, type RecordsHeader } from './record-reader.ts'
import { shared } from './shared-memory.ts'
import type { StoredRecord } from './stored-record.ts'
import { PEEKED_LENGTH_BITS, PEEKED_LENGTH_MASK, peekVarint } from './varint.ts'

/** Which records of a batch in which no offset is missing. */
export interface RecordRun {
  /** Records of the batch in front of those in the bytes. */
  readonly bytesDelta: number
  /** Records of the batch in front of the first that is wanted. */
  readonly firstDelta: number
  /** At least 1. */
  readonly count: number
}

/**
 * A run of records as views of a copy of their bytes; those before are passed over by their lengths,
 * without a look at their offsets.
 *
 * @param position where the first record in `bytes` begins.
 * @returns `null` where records are longer than most, or not what they should be.
 */
export function copyRun(
  header: RecordsHeader,
  bytes: Buffer,
  position: number,
  place: BatchPlace,
  { bytesDelta, firstDelta, count }: RecordRun,
): StoredRecord[] | null {
  const start = behindRecords(bytes, position, firstDelta - bytesDelta)
  const end = start < 0 ? -1 : behindRecords(bytes, start, count)
  if (end < 0) return null
  const copy = shared(Buffer.allocUnsafe(end - start))
  bytes.copy(copy, 0, start, end)
  try {
    return readRun(header, copy, place, { firstDelta, count })
  } catch (error) {
    if (error instanceof CorruptRecordError) return null
    throw error
  }
}

/** Where the next record begins behind `count` records; -1 for those that are not as short as most. */
export function behindRecords(bytes: Buffer, position: number, count: number): number {
  let at = position
  for (let passed = 0; passed < count; passed += 1) {
    const size = peekVarint(bytes, at)
    const zigzag = size >>> PEEKED_LENGTH_BITS
    if (size === 0 || (zigzag & 1) === 1) return -1
    at += (size & PEEKED_LENGTH_MASK) + (zigzag >>> 1)
  }
  return at > bytes.length ? -1 : at
}
