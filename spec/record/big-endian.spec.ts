import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { int32At, putInt16, putInt32, putUint16, uint32At } from '../../lib/record/big-endian.ts'

it('reads the same values as the methods of Buffer', () => {
  const contents = fc.uint8Array({ minLength: 4, maxLength: 12 })
  fc.assert(
    fc.property(contents, (content) => {
      const buffer = Buffer.from(content)
      for (let position = 0; position <= buffer.length - 4; position += 1) {
        expect(int32At(buffer, position)).toBe(buffer.readInt32BE(position))
        expect(uint32At(buffer, position)).toBe(buffer.readUInt32BE(position))
      }
    }),
  )
})

it.each([
  ['00000000', 0, 0],
  ['ffffffff', -1, 2 ** 32 - 1],
  ['80000000', -(2 ** 31), 2 ** 31],
  ['7fffffff', 2 ** 31 - 1, 2 ** 31 - 1],
])('reads %s as %d if signed and %d if unsigned', (hex, signed, unsigned) => {
  const buffer = Buffer.from(hex, 'hex')
  expect([int32At(buffer, 0), uint32At(buffer, 0)]).toEqual([signed, unsigned])
})

it.each([-4, -1, 5, 6, 7, 8, 100])(
  'throws a RangeError when it reads at %i of eight bytes',
  (position) => {
    const buffer = Buffer.alloc(8)
    expect(() => int32At(buffer, position)).toThrow(RangeError)
    expect(() => uint32At(buffer, position)).toThrow(RangeError)
  },
)

it('writes the same bytes as the methods of Buffer', () => {
  const int16 = fc.integer({ min: -(2 ** 15), max: 2 ** 15 - 1 })
  const uint16 = fc.integer({ min: 0, max: 2 ** 16 - 1 })
  fc.assert(
    fc.property(fc.integer(), int16, uint16, fc.nat(4), (value, signed, unsigned, position) => {
      const [mine, theirs] = [Buffer.alloc(16, 7), Buffer.alloc(16, 7)]
      putInt32(mine, position, value)
      putInt16(mine, position + 5, signed)
      putUint16(mine, position + 9, unsigned)
      theirs.writeInt32BE(value, position)
      theirs.writeInt16BE(signed, position + 5)
      theirs.writeUInt16BE(unsigned, position + 9)
      expect(mine).toEqual(theirs)
    }),
  )
})

const PUTS = {
  putInt32: { put: putInt32, least: -(2 ** 31), most: 2 ** 31 - 1, sizeBytes: 4 },
  putInt16: { put: putInt16, least: -(2 ** 15), most: 2 ** 15 - 1, sizeBytes: 2 },
  putUint16: { put: putUint16, least: 0, most: 2 ** 16 - 1, sizeBytes: 2 },
}

describe.each(Object.entries(PUTS))('%s', (_name, { put, least, most, sizeBytes }) => {
  it('throws a RangeError for a value that does not fit, and writes nothing', () => {
    for (const value of [least, most]) put(Buffer.alloc(sizeBytes), 0, value)
    for (const value of [least - 1, most + 1, 2 ** 32 + 1, 0.5, Number.NaN, Infinity]) {
      const buffer = Buffer.alloc(8, 7)
      expect(() => {
        put(buffer, 0, value)
      }, `${value}`).toThrow(RangeError)
      expect(buffer).toEqual(Buffer.alloc(8, 7))
    }
  })

  it('throws a RangeError beyond the end of the bytes, and writes nothing', () => {
    for (const position of [-1, 9 - sizeBytes, 8, 100]) {
      const buffer = Buffer.alloc(8, 7)
      expect(() => {
        put(buffer, position, 1)
      }, `${position}`).toThrow(RangeError)
      expect(buffer).toEqual(Buffer.alloc(8, 7))
    }
  })
})
