import { CorruptRecordError } from '../errors.ts'
import { readFully } from '../platform/file-io.ts'
import type { FileSource } from '../platform/file-system.ts'
import {
  ATTRIBUTES_POSITION,
  BASE_OFFSET_POSITION,
  BATCH_LENGTH_POSITION,
  COMPRESSION_MASK,
  GROUP_START,
  LAST_OFFSET_DELTA_POSITION,
  LOG_OVERHEAD,
  MAGIC_POSITION,
  MAGIC_V2,
  RECORD_BATCH_OVERHEAD,
} from '../record/batch-layout.ts'
import { ByteReader } from '../record/varint.ts'

/** Bytes read from the file at once. */
const CHUNK_BYTES = 64 * 1024

/** Most bytes of a record before its key: length, attributes, timestamp, offset, key length. */
const MAX_RECORD_OVERHEAD = 5 + 1 + 10 + 5 + 5
const MAX_VARINT_BYTES = 5

/** Range of a value in a file. */
export interface ValueRange {
  readonly position: number
  /** Exclusive. */
  readonly end: number
}

/** The bytes that a write may have torn, and the offset with which they would begin. */
export interface TornRange extends ValueRange {
  readonly nextOffset: number
}

/** A group of appends is smaller, unless a single append is larger. */
const MOST_GROUP_BYTES = 16 * 1024 * 1024

/**
 * The values in the batches that one write may have torn, as far as their records can be followed;
 * only those that are large enough for a batch. A log may hold what another log's files do: a batch
 * found in one of these values is a part of a record, and tells nothing about this log.
 *
 * A value counts only if it fits into its record, the record into its batch, and the batch begins
 * at the end of the previous one, with the next offset. To hide a later batch, all three lengths
 * would have to be wrong in the same way, which a torn or rotten byte does not cause.
 *
 * @returns in order of position; none of a batch that is compressed, or whose header does not
 * match.
 */
export async function valuesOfTornBatches(
  file: FileSource,
  range: TornRange,
): Promise<ValueRange[]> {
  const window = new Window(file, range.end)
  const values: ValueRange[] = []
  const most = Math.min(range.end, range.position + MOST_GROUP_BYTES)
  let { position, nextOffset } = range
  while (position < most) {
    const batch = await readHeader(window, position, nextOffset)
    // The torn batch may begin a group; a later one that does proves what is before it.
    if (batch === null || (batch.isGroupStart && position > range.position)) break
    if (!batch.isCompressed) await addValues(window, { position, end: batch.end }, values)
    position = batch.end
    nextOffset = batch.nextOffset
  }
  return values
}

/** What a header says of a batch whose offset is known. */
interface BatchHeader {
  /** Exclusive. */
  readonly end: number
  readonly nextOffset: number
  readonly isCompressed: boolean
  readonly isGroupStart: boolean
}

/** `null` if there is no header of a batch at `baseOffset`. */
async function readHeader(
  window: Window,
  position: number,
  baseOffset: number,
): Promise<BatchHeader | null> {
  const header = await window.at(position, RECORD_BATCH_OVERHEAD)
  const isWhole = header.length === RECORD_BATCH_OVERHEAD
  if (!isWhole || header.readInt8(MAGIC_POSITION) !== MAGIC_V2) return null
  if (header.readBigInt64BE(BASE_OFFSET_POSITION) !== BigInt(baseOffset)) return null
  const attributes = header.readUInt16BE(ATTRIBUTES_POSITION)
  const sizeBytes = header.readInt32BE(BATCH_LENGTH_POSITION) + LOG_OVERHEAD
  const lastOffsetDelta = header.readInt32BE(LAST_OFFSET_DELTA_POSITION)
  if (sizeBytes < RECORD_BATCH_OVERHEAD || lastOffsetDelta < 0) return null
  return {
    end: position + sizeBytes,
    nextOffset: baseOffset + lastOffsetDelta + 1,
    isCompressed: (attributes & COMPRESSION_MASK) !== 0,
    isGroupStart: (attributes & GROUP_START) !== 0,
  }
}

async function addValues(window: Window, batch: ValueRange, values: ValueRange[]): Promise<void> {
  let at = batch.position + RECORD_BATCH_OVERHEAD
  for (let offsetDelta = 0; at < Math.min(batch.end, window.end); offsetDelta += 1) {
    const record = await readRecord(window, at, offsetDelta)
    if (record === null || record.end > batch.end) return
    const { value } = record
    if (value.end - value.position >= RECORD_BATCH_OVERHEAD) values.push(value)
    at = record.end
  }
}

/** Whether [`position`, `end`) is inside one of these values, which are in order of position. */
export function liesInValue(values: readonly ValueRange[], position: number, end: number): boolean {
  let low = 0
  let high = values.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((values[middle]?.position ?? Infinity) <= position) low = middle + 1
    else high = middle
  }
  return end <= (values[low - 1]?.end ?? 0)
}

interface RecordPlace {
  readonly end: number
  readonly value: ValueRange
}

/** `null` if there is no record. Its value, and its end, may be beyond the available bytes. */
async function readRecord(
  window: Window,
  position: number,
  offsetDelta: number,
): Promise<RecordPlace | null> {
  try {
    const reader = new ByteReader(await window.at(position, MAX_RECORD_OVERHEAD))
    const length = reader.readVarint()
    const end = position + reader.position + length
    reader.readUInt8()
    reader.skipVarlong()
    if (reader.readVarint() !== offsetDelta) return null
    const keyLength = Math.max(0, reader.readVarint())
    const valueAt = position + reader.position + keyLength
    const valueReader = new ByteReader(await window.at(valueAt, MAX_VARINT_BYTES))
    const valueLength = Math.max(0, valueReader.readVarint())
    const valuePosition = valueAt + valueReader.position
    const value = { position: valuePosition, end: valuePosition + valueLength }
    // The number of headers follows, and takes at least one byte.
    return value.end < end ? { end, value } : null
  } catch (error) {
    if (error instanceof CorruptRecordError) return null
    throw error
  }
}

/** Reads small pieces of a file, most of them one after another. */
class Window {
  readonly end: number
  readonly #file: FileSource
  #position = 0
  #bytes: Buffer = Buffer.alloc(0)

  constructor(file: FileSource, end: number) {
    this.#file = file
    this.end = end
  }

  /** The bytes at `position`, `count` of them unless the file ends before that. */
  async at(position: number, count: number): Promise<Buffer> {
    const start = position - this.#position
    if (start >= 0 && start + count <= this.#bytes.length) {
      return this.#bytes.subarray(start, start + count)
    }
    const chunk = Buffer.alloc(Math.max(0, Math.min(CHUNK_BYTES, this.end - position)))
    this.#bytes = chunk.subarray(0, await readFully(this.#file, chunk, position))
    this.#position = position
    return this.#bytes.subarray(0, count)
  }
}
