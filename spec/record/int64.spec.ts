import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { CorruptRecordError } from '../../lib/errors.ts'
import { readInt64, writeInt64 } from '../../lib/record/int64.ts'

describe('int64', () => {
  it.each([
    [0, '0000000000000000'],
    [-1, 'ffffffffffffffff'],
    [2 ** 32, '0000000100000000'],
    [2 ** 32 - 1, '00000000ffffffff'],
    [-(2 ** 32), 'ffffffff00000000'],
    [1_700_000_000_000, '0000018bcfe56800'],
    [Number.MAX_SAFE_INTEGER, '001fffffffffffff'],
    [Number.MIN_SAFE_INTEGER, 'ffe0000000000001'],
  ])('writes and reads %d as %s', (value, hex) => {
    const buffer = Buffer.alloc(10)
    expect(writeInt64(buffer, 1, value)).toBe(9)
    expect(buffer.toString('hex')).toBe(`00${hex}00`)
    expect(readInt64(buffer, 1)).toBe(value)
  })

  it('agrees with BigInt reads and writes for any safe integer', () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), (value) => {
        const buffer = Buffer.alloc(8)
        writeInt64(buffer, 0, value)
        expect(buffer.readBigInt64BE()).toBe(BigInt(value))
        expect(readInt64(buffer, 0)).toBe(value)
      }),
    )
  })

  it.each([
    '0020000000000000',
    '0020000000000001',
    'ffe0000000000000',
    'ffdfffffffffffff',
    '7fffffffffffffff',
    '8000000000000000',
  ])('throws CorruptRecordError when reading %s, which a number would round', (hex) => {
    const buffer = Buffer.from(`00${hex}`, 'hex')
    expect(() => readInt64(buffer, 1)).toThrow(CorruptRecordError)
    expect(() => readInt64(buffer, 1)).toThrow(
      expect.objectContaining({ position: 1, reason: expect.stringContaining(hex) as string }),
    )
  })

  it.each([2 ** 53, -(2 ** 53), 1.5, Number.NaN])(
    'throws RangeError when writing %d, and writes nothing',
    (value) => {
      const buffer = Buffer.alloc(8, 7)
      expect(() => writeInt64(buffer, 0, value)).toThrow(RangeError)
      expect(buffer).toEqual(Buffer.alloc(8, 7))
    },
  )
})
