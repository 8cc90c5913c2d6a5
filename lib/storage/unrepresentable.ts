import { crc32 } from 'node:zlib'
import { CorruptRecordError } from '../errors.ts'
import { readFully } from '../platform/file-io.ts'
import type { File } from '../platform/file-system.ts'
import {
  BATCH_LENGTH_POSITION,
  LAST_OFFSET_DELTA_POSITION,
  LOG_OVERHEAD,
  MAGIC_POSITION,
  MAGIC_V2,
  MAX_TIMESTAMP_POSITION,
  NO_TIMESTAMP,
  PREFIX_BYTES,
  PRODUCER_ID_POSITION,
  RECORD_BATCH_OVERHEAD,
  RECORD_COUNT_POSITION,
} from '../record/batch-layout.ts'
import { readInt64 } from '../record/int64.ts'
import { isIntact } from './segment-scan.ts'

// A message of format 0 or 1 has its offset, size and magic at the same positions as a batch.
// Before the magic it has a CRC-32 of the magic and all that follows.
const MESSAGE_CRC_POSITION = LOG_OVERHEAD
/** Size of a message of format 0 whose key and value are null. */
const MESSAGE_OVERHEAD = 26

/** Bytes read from the file at once. */
const CHUNK_BYTES = 1024 * 1024

/**
 * Whether the bytes at `position` are intact by their own checksum, but cannot be read by this
 * library: a message of Kafka's formats 0 and 1, or a batch with a number that it cannot represent,
 * such as a timestamp in nanoseconds. They were written so, and no crash has torn them.
 *
 * Offsets and epochs do not matter. No checksum covers them, so a torn write may have lost only
 * them.
 *
 * @param end end of the bytes, exclusive.
 */
export async function isUnrepresentable(
  file: File,
  position: number,
  end: number,
): Promise<boolean> {
  const header = Buffer.alloc(Math.max(0, Math.min(RECORD_BATCH_OVERHEAD, end - position)))
  if ((await readFully(file, header, position)) < PREFIX_BYTES) return false
  const size = header.readInt32BE(BATCH_LENGTH_POSITION) + LOG_OVERHEAD
  if (size > end - position) return false
  const magic = header.readInt8(MAGIC_POSITION)
  if (magic === MAGIC_V2) {
    if (size < RECORD_BATCH_OVERHEAD || !holdsTooMuch(header)) return false
    return isIntact(file, position, size)
  }
  if ((magic !== 0 && magic !== 1) || size < MESSAGE_OVERHEAD) return false
  const crc = await crc32Of(file, position + MAGIC_POSITION, position + size)
  return crc === header.readUInt32BE(MESSAGE_CRC_POSITION)
}

/** Whether a field covered by the checksum has a value for which a batch is refused. */
function holdsTooMuch(header: Buffer): boolean {
  if (header.readInt32BE(LAST_OFFSET_DELTA_POSITION) < 0) return true
  if (header.readInt32BE(RECORD_COUNT_POSITION) < 0) return true
  try {
    readInt64(header, PRODUCER_ID_POSITION)
    return readInt64(header, MAX_TIMESTAMP_POSITION) < NO_TIMESTAMP
  } catch (error) {
    if (error instanceof CorruptRecordError) return true
    throw error
  }
}

/** The CRC-32 of [`from`, `to`), read in pieces; `null` if the file ends before `to`. */
async function crc32Of(file: File, from: number, to: number): Promise<number | null> {
  const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, to - from))
  let crc = 0
  for (let at = from; at < to; at += chunk.length) {
    const piece = chunk.subarray(0, Math.min(chunk.length, to - at))
    if ((await readFully(file, piece, at)) < piece.length) return null
    crc = crc32(piece, crc)
  }
  return crc
}
