import { CorruptRecordError } from '../errors.ts'
import { readRun, type BatchPlace, type RecordsHeader } from './record-reader.ts'
import { shared } from './shared-memory.ts'
import type { StoredRecord } from './stored-record.ts'
import { PEEKED_LENGTH_BITS, PEEKED_LENGTH_MASK, peekVarint } from './varint.ts'

/** A run of records in a batch without missing offsets. */
export interface RecordRun {
  /** Records of the batch before those in the bytes. */
  readonly bytesDelta: number
  /** Records of the batch before the first wanted one. */
  readonly firstDelta: number
  /** At least 1. */
  readonly count: number
}

/**
 * A run of records as views of a copy of their bytes. Records before it are skipped by their
 * lengths, without checking their offsets.
 *
 * @param position where the first record in `bytes` begins.
 * @returns `null` if records are unusually long or damaged.
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

/** Position after `count` records; -1 if one is unusually long or damaged. */
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
