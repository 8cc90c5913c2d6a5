import { crc32 } from 'node:zlib'
import { CorruptRecordError } from '../errors.ts'
import { readFully } from '../platform/file-io.ts'
import type { File } from '../platform/file-system.ts'
import {
  ATTRIBUTES_POSITION,
  BATCH_LENGTH_POSITION,
  CRC_POSITION,
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
import { continueCrc32c } from '../record/crc32c.ts'
import { readInt64 } from '../record/int64.ts'

// A message of the formats 0 and 1 has the offset and the size where a batch has them, and its magic
// at the same place: behind a CRC-32 of the magic and all that follows.
const MESSAGE_CRC_POSITION = LOG_OVERHEAD
/** Bytes of a message of format 0 whose key and value are null. */
const MESSAGE_OVERHEAD = 26

/** Bytes taken from the file at once. */
const CHUNK_BYTES = 1024 * 1024

/**
 * Whether the bytes at `position` are whole by their own checksum, and still nothing that this
 * library reads: a message of Kafka's formats 0 and 1, or a batch with a number that it cannot hold,
 * such as a timestamp in nanoseconds. Somebody has written them so, and no crash has torn them.
 *
 * Offsets and epochs count for nothing here. No checksum covers them, so they may be all that a torn
 * write has lost.
 *
 * @param end where the bytes end, exclusive.
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
  const [from, to] = [position, position + size]
  if (magic === MAGIC_V2) {
    if (size < RECORD_BATCH_OVERHEAD || !holdsTooMuch(header)) return false
    const crc = await checksumOf(file, from + ATTRIBUTES_POSITION, to, continueCrc32c)
    return crc === header.readUInt32BE(CRC_POSITION)
  }
  if ((magic !== 0 && magic !== 1) || size < MESSAGE_OVERHEAD) return false
  const crc = await checksumOf(file, from + MAGIC_POSITION, to, (before, bytes) =>
    crc32(bytes, before),
  )
  return crc === header.readUInt32BE(MESSAGE_CRC_POSITION)
}

/** Whether a field that the checksum covers has a value for which a batch is refused. */
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

/** A checksum of the bytes in [`from`, `to`), piece by piece: what a size claims may not be there. */
async function checksumOf(
  file: File,
  from: number,
  to: number,
  add: (before: number, bytes: Buffer) => number,
): Promise<number | null> {
  const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, to - from))
  let crc = 0
  for (let at = from; at < to; at += chunk.length) {
    const piece = chunk.subarray(0, Math.min(chunk.length, to - at))
    if ((await readFully(file, piece, at)) < piece.length) return null
    crc = add(crc, piece)
  }
  return crc
}
