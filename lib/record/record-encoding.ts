import { sizeOfVarint, sizeOfVarlong, writeVarint, writeVarlong } from './varint.ts'

// One record inside a batch.
//
//   bytes         field
//   varint        length           of everything after this field
//   1             attributes       0, not used
//   varlong       timestampDelta   to add to baseTimestamp of the batch; may be negative
//   varint        offsetDelta      to add to baseOffset of the batch
//   varint, bytes key              length -1: null, which is not the same as empty
//   varint, bytes value            length -1: null, a tombstone in a compacted topic
//   varint        header count
//     varint, bytes  key           UTF-8, never null
//     varint, bytes  value         length -1: null

/** A named value attached to a record. Names may repeat, and their order is kept. */
export interface RecordHeader {
  readonly key: string
  readonly value: Buffer | null
}

/** A header to be encoded into a batch. A text is encoded in place, without a buffer of its own. */
export interface EncodableHeader {
  readonly key: string
  readonly value: Buffer | string | null
}

/** The headers of every record without headers. */
export const NO_HEADERS: readonly RecordHeader[] = Object.freeze([])

/** Smallest size of a record: every delta and length in one byte, no content. */
export const MIN_RECORD_BYTES = 7

/**
 * Most records and headers in a batch, together. A header takes at least two bytes, but each
 * becomes an object of many times that size. No larger batch is built or read.
 */
export const MAX_BATCH_ITEMS: number = 2 ** 20

/**
 * Even optimized code looks up the methods that a buffer inherits by name at each call, because
 * there are too many of them. That would take a tenth of the time of a record.
 */
export const setBytes: (this: Uint8Array, source: Uint8Array, position: number) => void =
  Reflect.get(Uint8Array.prototype, 'set')

/**
 * Headers are mostly a few letters of ASCII. For so few, measuring and writing them here takes a
 * tenth of the runtime's time; for longer ones the runtime is faster.
 */
const MOST_LETTERS = 32

/** Most bytes of a record's length, attributes and deltas together. */
const MAX_RECORD_OVERHEAD = 21

/**
 * Size of a record in a batch before compression, including its own length field.
 *
 * @throws RangeError when a delta does not fit its field
 */
export function sizeOfRecord(
  offsetDelta: number,
  timestampDelta: number,
  key: Buffer | null,
  value: Buffer | null,
  headers: readonly EncodableHeader[],
): number {
  const bodySize = sizeOfRecordBody(offsetDelta, timestampDelta, key, value, headers)
  return sizeOfLength(bodySize) + bodySize
}

/**
 * Largest size of a record anywhere in a batch. The header of the batch is not included: for a
 * record alone in a batch, add RECORD_BATCH_OVERHEAD.
 */
export function upperBoundOfRecord(
  key: Buffer | null,
  value: Buffer | null,
  headers: readonly EncodableHeader[],
): number {
  return MAX_RECORD_OVERHEAD + sizeOfContent(key, value, headers)
}

/**
 * Size of a record without its length field.
 *
 * @throws RangeError when a delta does not fit its field
 */
export function sizeOfRecordBody(
  offsetDelta: number,
  timestampDelta: number,
  key: Buffer | null,
  value: Buffer | null,
  headers: readonly EncodableHeader[],
): number {
  return (
    1 +
    sizeOfVarlong(timestampDelta) +
    sizeOfVarint(offsetDelta) +
    sizeOfContent(key, value, headers)
  )
}

/**
 * Writes a record whose size is known into a buffer with enough room.
 *
 * @param bodySize the result of {@link sizeOfRecordBody} for the same record
 * @returns the position after it
 */
export function writeRecord(
  buffer: Buffer,
  position: number,
  bodySize: number,
  offsetDelta: number,
  timestampDelta: number,
  key: Buffer | null,
  value: Buffer | null,
  headers: readonly EncodableHeader[],
): number {
  position = writeLength(buffer, position, bodySize)
  buffer[position++] = 0
  position = writeVarlong(buffer, position, timestampDelta)
  position = writeVarint(buffer, position, offsetDelta)
  position = writeBytes(buffer, position, key)
  position = writeBytes(buffer, position, value)
  position = writeLength(buffer, position, headers.length)
  // Nearly every record has none, and iterating over none would still create an iterator.
  return headers.length === 0 ? position : writeHeaders(buffer, position, headers)
}

function writeHeaders(
  buffer: Buffer,
  position: number,
  headers: readonly EncodableHeader[],
): number {
  for (const header of headers) {
    const { key, value } = header
    position = writeText(buffer, position, key)
    if (typeof value === 'string') position = writeText(buffer, position, value)
    else position = writeBytes(buffer, position, value)
  }
  return position
}

/** Size of a text, including its length. */
function sizeOfText(text: string): number {
  const size = bytesOfText(text)
  return sizeOfLength(size) + size
}

/** Size of a text as UTF-8. */
function bytesOfText(text: string): number {
  const { length } = text
  if (length > MOST_LETTERS) return Buffer.byteLength(text)
  for (let slot = 0; slot < length; slot += 1) {
    if (text.charCodeAt(slot) > 0x7f) return Buffer.byteLength(text)
  }
  return length
}

function writeText(buffer: Buffer, position: number, text: string): number {
  const size = bytesOfText(text)
  position = writeLength(buffer, position, size)
  // Only ASCII has as many bytes as letters.
  if (size !== text.length || size > MOST_LETTERS) return position + buffer.write(text, position)
  for (let slot = 0; slot < size; slot += 1) buffer[position + slot] = text.charCodeAt(slot)
  return position + size
}

/** {@link writeVarint} for numbers that are never negative, faster for short ones. */
function writeLength(buffer: Buffer, position: number, length: number): number {
  if (length < 64) {
    buffer[position] = length << 1
    return position + 1
  }
  if (length >= 8192) return writeVarint(buffer, position, length)
  buffer[position] = ((length << 1) & 0x7f) | 0x80
  buffer[position + 1] = length >>> 6
  return position + 2
}

function sizeOfContent(
  key: Buffer | null,
  value: Buffer | null,
  headers: readonly EncodableHeader[],
): number {
  const size = sizeOfBytes(key) + sizeOfBytes(value) + sizeOfLength(headers.length)
  return headers.length === 0 ? size : size + sizeOfHeaders(headers)
}

function sizeOfHeaders(headers: readonly EncodableHeader[]): number {
  let size = 0
  for (const header of headers) {
    const { key, value } = header
    size += sizeOfText(key) + (typeof value === 'string' ? sizeOfText(value) : sizeOfBytes(value))
  }
  return size
}

/**
 * Size of an encoded length. A length beyond 32 bits is not a valid varint, but needs a size, so
 * that a caller can refuse such a record as too large.
 */
export function sizeOfLength(length: number): number {
  // Nearly all lengths take one or two bytes, and every record has three of them.
  if (length < 64) return 1
  return length < 8192 ? 2 : sizeOfVarlong(length)
}

function sizeOfBytes(bytes: Buffer | null): number {
  return bytes === null ? 1 : sizeOfLength(bytes.length) + bytes.length
}

function writeBytes(buffer: Buffer, position: number, bytes: Buffer | null): number {
  if (bytes === null) return writeVarint(buffer, position, -1)
  position = writeLength(buffer, position, bytes.length)
  setBytes.call(buffer, bytes, position)
  return position + bytes.length
}
