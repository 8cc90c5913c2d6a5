import { CorruptRecordError } from '../errors.ts'

// Lengths, counts and deltas inside a record are zigzag numbers (0, -1, 1, -2 become 0, 1, 2, 3) in
// groups of seven bits, lowest group first. Every byte but the last has its high bit set.
//
//   value        0    -1   1    63   -64  64      -65     8191    8192
//   bytes (hex)  00   01   02   7e   7f   80 01   81 01   fe 7f   80 80 01
//
// A varint holds an int32 in at most 5 bytes, a varlong an int64 in at most 10.

const MAX_VARINT_BYTES = 5
const MAX_VARLONG_BYTES = 10

/** The 10th byte of a varlong has room for bit 63 only, the 5th of a varint for bits 28 to 31. */
const MAX_LAST_VARLONG_BYTE = 0x01
const MAX_LAST_VARINT_BYTE = 0x0f

/**
 * Number of bytes (1 to 5) that {@link writeVarint} writes for `value`.
 *
 * @throws RangeError when `value` is not an int32
 */
export function sizeOfVarint(value: number): number {
  assertInt32(value)
  return sizeOfUint32(((value << 1) ^ (value >> 31)) >>> 0)
}

/**
 * Number of bytes (1 to 8) that {@link writeVarlong} writes for `value`.
 *
 * @throws RangeError when `value` is not a safe integer
 */
export function sizeOfVarlong(value: number): number {
  if (value === value >> 0) return sizeOfUint32(((value << 1) ^ (value >> 31)) >>> 0)
  assertSafeInteger(value)
  // The zigzag number itself may need 54 bits. Half of it, the magnitude, always fits.
  let size = 1
  for (let rest = Math.floor(magnitudeOf(value) / 64); rest > 0; rest = Math.floor(rest / 128)) {
    size++
  }
  return size
}

/**
 * Writes an int32 as a varint.
 *
 * @returns the position after it
 * @throws RangeError when `value` is not an int32
 */
export function writeVarint(buffer: Buffer, position: number, value: number): number {
  assertInt32(value)
  return writeUint32(buffer, position, ((value << 1) ^ (value >> 31)) >>> 0)
}

/**
 * Writes a safe integer as a varlong.
 *
 * @returns the position after it
 * @throws RangeError when `value` is not a safe integer
 */
export function writeVarlong(buffer: Buffer, position: number, value: number): number {
  if (value === value >> 0) {
    return writeUint32(buffer, position, ((value << 1) ^ (value >> 31)) >>> 0)
  }
  assertSafeInteger(value)
  const magnitude = magnitudeOf(value)
  let group = ((magnitude & 0x3f) << 1) | (value < 0 ? 1 : 0)
  let rest = Math.floor(magnitude / 64)
  while (rest > 0) {
    buffer[position++] = group | 0x80
    group = rest & 0x7f
    rest = Math.floor(rest / 128)
  }
  buffer[position++] = group
  return position
}

/** Bits of {@link peekVarint}'s result that hold the length; the zigzag number is above them. */
export const PEEKED_LENGTH_BITS = 2
export const PEEKED_LENGTH_MASK: number = (1 << PEEKED_LENGTH_BITS) - 1

/**
 * Reads a varint of up to three bytes, which nearly all are, without a reader and its errors.
 *
 * @returns the zigzag number and the number of bytes in one: `zigzag << 2 | length`; 0 if the
 * varint is longer or the buffer ends inside it.
 */
export function peekVarint(buffer: Buffer, position: number): number {
  const first = buffer[position]
  if (first === undefined) return 0
  if (first < 0x80) return (first << PEEKED_LENGTH_BITS) | 1
  const second = buffer[position + 1]
  if (second === undefined) return 0
  if (second < 0x80) return (((first & 0x7f) | (second << 7)) << PEEKED_LENGTH_BITS) | 2
  const third = buffer[position + 2]
  if (third === undefined || third >= 0x80) return 0
  return (((first & 0x7f) | ((second & 0x7f) << 7) | (third << 14)) << PEEKED_LENGTH_BITS) | 3
}

/**
 * Reads the parts of a record one after another, never beyond the end of the buffer.
 *
 * The bytes may be damaged or hostile, so every violation throws a {@link CorruptRecordError} with
 * the position in `buffer`. A reader has a position, so it cannot be shared.
 */
export class ByteReader {
  /** Position of the next byte. May be moved to skip bytes. */
  position: number
  readonly #buffer: Buffer

  /** @param position first byte to read, within `buffer` or at its end. */
  constructor(buffer: Buffer, position = 0) {
    this.#buffer = buffer
    this.position = position
  }

  /** Number of bytes left. */
  get remaining(): number {
    return this.#buffer.length - this.position
  }

  /** @throws {@link CorruptRecordError} at the end of the bytes. */
  readUInt8(): number {
    const byte = this.#buffer[this.position]
    if (byte === undefined) throw this.#endsEarly(1)
    this.position++
    return byte
  }

  /** @throws {@link CorruptRecordError} when fewer than two bytes are left. */
  readInt16(): number {
    const position = this.#take(2)
    return this.#buffer.readInt16BE(position)
  }

  /** @throws {@link CorruptRecordError} when fewer than four bytes are left. */
  readInt32(): number {
    const position = this.#take(4)
    return this.#buffer.readInt32BE(position)
  }

  /** @throws {@link CorruptRecordError} past the end, or when the number does not fit 32 bits. */
  readVarint(): number {
    const first = this.readUInt8()
    if (first < 0x80) return (first >>> 1) ^ -(first & 1)
    const start = this.position - 1
    let zigzag = first & 0x7f
    for (let count = 1; count < MAX_VARINT_BYTES; count++) {
      const byte = this.readUInt8()
      if (count === MAX_VARINT_BYTES - 1 && byte > MAX_LAST_VARINT_BYTE) break
      zigzag |= (byte & 0x7f) << (7 * count)
      if (byte < 0x80) return (zigzag >>> 1) ^ -(zigzag & 1)
    }
    throw corrupt('a variable-length number does not fit 32 bits', start)
  }

  /**
   * @throws {@link CorruptRecordError} past the end, when the number does not fit 64 bits, or when
   * it is outside ±(2^53 − 1).
   */
  readVarlong(): number {
    const first = this.readUInt8()
    if (first < 0x80) return (first >>> 1) ^ -(first & 1)
    const start = this.position - 1
    let magnitude = (first & 0x7e) >>> 1
    let weight = 64
    for (let count = 1; count < MAX_VARLONG_BYTES; count++) {
      const byte = this.readUInt8()
      if (count === MAX_VARLONG_BYTES - 1 && byte > MAX_LAST_VARLONG_BYTE) break
      magnitude += (byte & 0x7f) * weight
      weight *= 128
      if (byte < 0x80) return signed(magnitude, first & 1, start)
    }
    throw tooLong(start)
  }

  /**
   * Skips a number that may be too large to be read.
   *
   * @throws {@link CorruptRecordError} past the end, and when the number does not fit 64 bits.
   */
  skipVarlong(): void {
    const start = this.position
    for (let count = 1; count < MAX_VARLONG_BYTES; count++) if (this.readUInt8() < 0x80) return
    if (this.readUInt8() > MAX_LAST_VARLONG_BYTE) throw tooLong(start)
  }

  /**
   * A view of the next `count` bytes, not a copy.
   *
   * @throws {@link CorruptRecordError} when `count` is negative or more than what is left.
   */
  readBytes(count: number): Buffer {
    const position = this.#take(count)
    return this.#buffer.subarray(position, this.position)
  }

  /**
   * The next `count` bytes as UTF-8 text.
   *
   * @throws {@link CorruptRecordError} when `count` is negative or more than what is left.
   */
  readString(count: number): string {
    const position = this.#take(count)
    return this.#buffer.toString('utf8', position, this.position)
  }

  #take(count: number): number {
    const position = this.position
    if (count < 0) throw corrupt(`the length ${count} is negative`, position)
    if (count > this.remaining) throw this.#endsEarly(count)
    this.position = position + count
    return position
  }

  #endsEarly(count: number): CorruptRecordError {
    return corrupt(`${count} bytes are expected, but ${this.remaining} remain`, this.position)
  }
}

function sizeOfUint32(zigzag: number): number {
  if (zigzag < 0x80) return 1
  if (zigzag < 0x4000) return 2
  if (zigzag < 0x20_0000) return 3
  return zigzag < 0x1000_0000 ? 4 : 5
}

function writeUint32(buffer: Buffer, position: number, zigzag: number): number {
  while (zigzag >= 0x80) {
    buffer[position++] = (zigzag & 0x7f) | 0x80
    zigzag >>>= 7
  }
  buffer[position++] = zigzag
  return position
}

/** The zigzag number without its lowest bit, which is the sign. */
function magnitudeOf(value: number): number {
  return value < 0 ? -value - 1 : value
}

function signed(magnitude: number, sign: number, position: number): number {
  // A magnitude beyond 2^53 has been rounded by now, but never to below it.
  if (magnitude + sign > Number.MAX_SAFE_INTEGER) {
    throw corrupt('a variable-length number is outside ±(2^53 - 1)', position)
  }
  return sign === 0 ? magnitude : -magnitude - 1
}

function assertInt32(value: number): void {
  if (value !== value >> 0) throw new RangeError(`value ${value} is not a 32-bit integer`)
}

function assertSafeInteger(value: number): void {
  if (!Number.isSafeInteger(value)) {
    throw new RangeError(`value ${value} is not an integer within ±(2^53 - 1)`)
  }
}

function tooLong(position: number): CorruptRecordError {
  return corrupt('a variable-length number does not fit 64 bits', position)
}

function corrupt(reason: string, position: number): CorruptRecordError {
  return new CorruptRecordError(reason, { path: null, position })
}
