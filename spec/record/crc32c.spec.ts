import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { crc32c } from '../../lib/record/crc32c.ts'

/** Castagnoli's polynomial bit by bit, reversed, to compare with. */
const reference = (bytes: Uint8Array): number => {
  let crc = 0xffff_ffff
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f6_3b78 : crc >>> 1
  }
  return (crc ^ 0xffff_ffff) >>> 0
}

describe('crc32c', () => {
  it.each([
    ['123456789', 0xe306_9283],
    ['', 0],
    ['a', 0xc1d0_4330],
    ['The quick brown fox jumps over the lazy dog', 0x2262_0404],
  ])('returns the published value for %j', (text, crc) => {
    expect(crc32c(Buffer.from(text))).toBe(crc)
  })

  it('covers only the bytes of the given range', () => {
    const buffer = Buffer.from('xx123456789yy')
    expect(crc32c(buffer, 2, 11)).toBe(0xe306_9283)
    expect(crc32c(buffer.subarray(2), 0, 9)).toBe(0xe306_9283)
    expect(crc32c(buffer.subarray(0, 11), 2)).toBe(0xe306_9283)
    expect(crc32c(new Uint8Array(buffer), 2, 11)).toBe(0xe306_9283)
    expect(crc32c(buffer, 5, 5)).toBe(0)
  })

  it('returns an unsigned value that matches a bitwise implementation', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        expect(crc32c(bytes)).toBe(reference(bytes))
      }),
    )
  })
})
