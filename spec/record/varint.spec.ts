import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { CorruptRecordError } from '../../lib/errors.ts'
import {
  ByteReader,
  sizeOfVarint,
  sizeOfVarlong,
  writeVarint,
  writeVarlong,
  PEEKED_LENGTH_BITS,
  PEEKED_LENGTH_MASK,
  peekVarint,
} from '../../lib/record/varint.ts'

const INT32_MAX = 2 ** 31 - 1
const INT32_MIN = -(2 ** 31)

const VARINTS: readonly (readonly [number, string])[] = [
  [0, '00'],
  [-1, '01'],
  [1, '02'],
  [63, '7e'],
  [-64, '7f'],
  [64, '8001'],
  [-65, '8101'],
  [8191, 'fe7f'],
  [-8192, 'ff7f'],
  [8192, '808001'],
  [-8193, '818001'],
  [2 ** 20 - 1, 'feff7f'],
  [2 ** 20, '80808001'],
  [-(2 ** 20) - 1, '81808001'],
  [2 ** 27 - 1, 'feffff7f'],
  [2 ** 27, '8080808001'],
  [INT32_MAX, 'feffffff0f'],
  [INT32_MIN, 'ffffffff0f'],
]

const VARLONGS: readonly (readonly [number, string])[] = [
  ...VARINTS,
  [INT32_MAX + 1, '8080808010'],
  [INT32_MIN - 1, '8180808010'],
  [17_179_869_183, 'feffffff7f'],
  [-17_179_869_184, 'ffffffff7f'],
  [17_179_869_184, '808080808001'],
  [-17_179_869_185, '818080808001'],
  [2 ** 41 - 1, 'feffffffff7f'],
  [2 ** 41, '80808080808001'],
  [2 ** 48 - 1, 'feffffffffff7f'],
  [2 ** 48, '8080808080808001'],
  [Number.MAX_SAFE_INTEGER, 'feffffffffffff1f'],
  [Number.MIN_SAFE_INTEGER, 'fdffffffffffff1f'],
]

const written = (write: typeof writeVarint, value: number): string => {
  const buffer = Buffer.alloc(12, 0xaa)
  return buffer.toString('hex', 1, write(buffer, 1, value))
}

const reader = (hex: string): ByteReader => new ByteReader(Buffer.from(hex, 'hex'))

/** Zigzag and groups of seven in BigInt arithmetic, to compare with. */
const reference = (value: number): string => {
  let rest = value < 0 ? BigInt(value) * -2n - 1n : BigInt(value) * 2n
  const groups: number[] = []
  for (; rest >= 128n; rest /= 128n) groups.push(Number(rest % 128n) | 0x80)
  return Buffer.from([...groups, Number(rest)]).toString('hex')
}

describe('varint', () => {
  it.each(VARINTS)('writes, sizes and reads %d as %s', (value, hex) => {
    expect(written(writeVarint, value)).toBe(hex)
    expect(sizeOfVarint(value)).toBe(hex.length / 2)
    const bytes = reader(`${hex}ff`)
    expect(bytes.readVarint()).toBe(value)
    expect(bytes.position).toBe(hex.length / 2)
  })

  it('reads back any int32, and encodes it like BigInt arithmetic', () => {
    fc.assert(
      fc.property(fc.integer(), (value) => {
        const hex = written(writeVarint, value)
        expect(hex).toBe(reference(value))
        expect(reader(hex).readVarint()).toBe(value)
        expect(sizeOfVarint(value)).toBe(hex.length / 2)
      }),
    )
  })

  it.each([INT32_MAX + 1, INT32_MIN - 1, 0.5, Number.NaN])('throws RangeError for %d', (value) => {
    expect(() => writeVarint(Buffer.alloc(12), 0, value)).toThrow(RangeError)
    expect(() => sizeOfVarint(value)).toThrow(`value ${value} is not a 32-bit integer`)
  })

  it('reads a number that is padded to five bytes', () => {
    expect(reader('8280808000').readVarint()).toBe(1)
  })

  it.each(['ffffffffff01', '8080808080', '8080808010', 'ffffffff1f'])(
    'throws CorruptRecordError for %s, which does not fit 32 bits',
    (hex) => {
      expect(() => reader(hex).readVarint()).toThrow(CorruptRecordError)
      expect(() => reader(hex).readVarint()).toThrow('does not fit 32 bits')
    },
  )

  it.each(['', '80', 'ffffffff'])('throws for %j, which ends early', (hex) => {
    expect(() => reader(hex).readVarint()).toThrow('1 bytes are expected, but 0 remain')
  })
})

describe('peekVarint', () => {
  it.each(VARINTS)(
    'returns value and length of %d, encoded as %s, if it takes at most three bytes',
    (value, hex) => {
      const peeked = peekVarint(Buffer.from(`ff${hex}ff`, 'hex'), 1)
      const length = hex.length / 2
      if (length > 3) expect(peeked).toBe(0)
      else {
        const zigzag = peeked >>> PEEKED_LENGTH_BITS
        expect((zigzag >>> 1) ^ -(zigzag & 1)).toBe(value)
        expect(peeked & PEEKED_LENGTH_MASK).toBe(length)
      }
    },
  )

  it.each(['', '80', 'ffff', 'ffffff', 'ffffff01'])(
    'returns 0 for %j, which is incomplete or longer than three bytes',
    (hex) => {
      expect(peekVarint(Buffer.from(hex, 'hex'), 0)).toBe(0)
    },
  )
})

describe('varlong', () => {
  it.each(VARLONGS)('writes, sizes and reads %d as %s', (value, hex) => {
    expect(written(writeVarlong, value)).toBe(hex)
    expect(sizeOfVarlong(value)).toBe(hex.length / 2)
    const bytes = reader(`${hex}ff`)
    expect(bytes.readVarlong()).toBe(value)
    expect(bytes.position).toBe(hex.length / 2)
  })

  it('reads back any safe integer, and encodes it like BigInt arithmetic', () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), (value) => {
        const hex = written(writeVarlong, value)
        expect(hex).toBe(reference(value))
        expect(reader(hex).readVarlong()).toBe(value)
        expect(sizeOfVarlong(value)).toBe(hex.length / 2)
      }),
    )
  })

  it.each([2 ** 53, -(2 ** 53), 2 ** 40 + 0.5, Number.NaN, Infinity])(
    'throws RangeError for %d',
    (value) => {
      expect(() => writeVarlong(Buffer.alloc(12), 0, value)).toThrow(RangeError)
      expect(() => sizeOfVarlong(value)).toThrow('is not an integer within')
    },
  )

  it('reads a number that is padded to ten bytes', () => {
    expect(reader('82808080808080808000').readVarlong()).toBe(1)
  })

  it.each(['80808080808080808080', '80808080808080808002', 'ffffffffffffffffffff01'])(
    'throws for %s, which does not fit 64 bits',
    (hex) => {
      expect(() => reader(hex).readVarlong()).toThrow('does not fit 64 bits')
    },
  )

  it.each([
    ['2^53', '8080808080808020'],
    ['-2^53', 'ffffffffffffff1f'],
    ['-2^53 - 1', '8180808080808020'],
    ['the largest int64', 'feffffffffffffffff01'],
    ['the smallest int64', 'ffffffffffffffffff01'],
  ])('throws CorruptRecordError for %s, which a number cannot hold', (_name, hex) => {
    expect(() => reader(hex).readVarlong()).toThrow(CorruptRecordError)
    expect(() => reader(hex).readVarlong()).toThrow('is outside ±(2^53 - 1)')
  })

  it.each(['00', '8001', '8080808080808020', 'ffffffffffffffffff01'])(
    'skips %s, however large the number is',
    (hex) => {
      const bytes = reader(`${hex}ff`)
      bytes.skipVarlong()
      expect(bytes.position).toBe(hex.length / 2)
    },
  )

  it.each([
    ['80808080808080808080', 'does not fit 64 bits'],
    ['80808080808080808002', 'does not fit 64 bits'],
    ['ffffffffffff', '1 bytes are expected, but 0 remain'],
  ])('throws when it skips %s, which is not a valid varlong', (hex, reason) => {
    expect(() => {
      reader(hex).skipVarlong()
    }).toThrow(reason)
  })

  it.each(['', '80', 'ffffffffffff'])('throws for %j, which ends early', (hex) => {
    expect(() => reader(hex).readVarlong()).toThrow('1 bytes are expected, but 0 remain')
  })
})

describe('ByteReader', () => {
  it('reads integers, text and views one after the other', () => {
    const buffer = Buffer.from('07fffe80000000c3a4010203', 'hex')
    const bytes = new ByteReader(buffer)
    expect(bytes.remaining).toBe(12)
    expect(bytes.readUInt8()).toBe(7)
    expect(bytes.readInt16()).toBe(-2)
    expect(bytes.readInt32()).toBe(INT32_MIN)
    expect(bytes.readString(2)).toBe('ä')
    const view = bytes.readBytes(2)
    expect(view).toEqual(Buffer.of(1, 2))
    expect(bytes.readBytes(0)).toHaveLength(0)
    expect(bytes.remaining).toBe(1)
    buffer[9] = 9
    expect(view[0]).toBe(9)
  })

  it('reads from the given position to the end', () => {
    const bytes = new ByteReader(Buffer.of(1, 2, 3), 1)
    expect(bytes.readBytes(2)).toEqual(Buffer.of(2, 3))
    expect(() => bytes.readUInt8()).toThrow(CorruptRecordError)
  })

  it.each([
    ['readUInt8', (bytes: ByteReader) => bytes.readUInt8(), 2],
    ['readInt16', (bytes: ByteReader) => bytes.readInt16(), 1],
    ['readInt32', (bytes: ByteReader) => bytes.readInt32(), 0],
    ['readBytes', (bytes: ByteReader) => bytes.readBytes(3), 0],
    ['readString', (bytes: ByteReader) => bytes.readString(3), 0],
    ['readBytes of less than nothing', (bytes: ByteReader) => bytes.readBytes(-1), 0],
  ])('throws with the position and does not move on %s past the end', (_name, read, position) => {
    const bytes = new ByteReader(Buffer.of(0x80, 0x80, 0x80).subarray(0, 2), position)
    expect(() => read(bytes)).toThrow(expect.objectContaining({ path: null, position }))
    expect(bytes.position).toBe(position)
  })
})
