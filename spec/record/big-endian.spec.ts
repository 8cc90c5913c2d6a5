import fc from 'fast-check'
import { expect, it } from 'vitest'
import { int32At, uint32At } from '../../lib/record/big-endian.ts'

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
