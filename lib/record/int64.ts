import { CorruptRecordError } from '../errors.ts'
import { int32At, putInt32, uint32At } from './big-endian.ts'

const TWO_POW_32 = 0x1_0000_0000

/**
 * Reads a big-endian int64 as a number, for offsets, timestamps and producer ids.
 *
 * @throws {@link CorruptRecordError} when the value is outside ±(2^53 − 1): a number would round
 * it, and no log that this library can hold reaches it.
 */
export function readInt64(buffer: Buffer, position: number): number {
  const value = int32At(buffer, position) * TWO_POW_32 + uint32At(buffer, position + 4)
  if (!Number.isSafeInteger(value)) {
    const hex = buffer.toString('hex', position, position + 8)
    throw new CorruptRecordError(`the 64-bit field 0x${hex} is outside ±(2^53 - 1)`, {
      path: null,
      position,
    })
  }
  return value
}

/**
 * Writes a number as a big-endian int64.
 *
 * @returns the position after it
 * @throws RangeError when `value` is not an integer within ±(2^53 − 1)
 */
export function writeInt64(buffer: Buffer, position: number, value: number): number {
  if (!Number.isSafeInteger(value)) {
    throw new RangeError(`value ${value} is not an integer within ±(2^53 - 1)`)
  }
  putInt32(buffer, position, Math.floor(value / TWO_POW_32))
  putInt32(buffer, position + 4, value | 0)
  return position + 8
}
