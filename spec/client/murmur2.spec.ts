import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { murmur2, toPositive } from '../../lib/client/murmur2.ts'

describe('murmur2', () => {
  it.each([
    ['21', -973_932_308],
    ['foobar', -790_332_482],
    ['a-little-bit-long-string', -985_981_536],
    ['a-little-bit-longer-string', -1_486_304_829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58_897_971],
    ['abc', 479_470_107],
    ['', 275_646_681],
    ['a', -1_563_381_124],
    ['kafka', -798_503_068],
    ['é€', 1_912_689_889],
  ])('returns the same hash as Kafka for %j', (text, hash) => {
    expect(murmur2(Buffer.from(text))).toBe(hash)
  })

  it('treats bytes as unsigned', () => {
    expect(murmur2(Uint8Array.of(0xff, 0x80, 0x00, 0x01, 0xfe))).toBe(-173_560_464)
  })

  it('reads nothing outside a view of a larger buffer', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 40 }),
        fc.uint8Array({ maxLength: 7 }),
        fc.uint8Array({ maxLength: 7 }),
        (bytes, before, after) => {
          const all = Uint8Array.of(...before, ...bytes, ...after)
          const view = all.subarray(before.length, before.length + bytes.length)
          expect(murmur2(view)).toBe(murmur2(bytes))
        },
      ),
    )
  })

  it('returns a signed 32-bit integer, and never -0', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        const hash = murmur2(bytes)
        expect(hash).toBe(hash | 0)
      }),
    )
  })
})

describe('toPositive', () => {
  it.each([
    [0, 0],
    [1, 1],
    [2_147_483_647, 2_147_483_647],
    [-1, 2_147_483_647],
    [-2_147_483_648, 0],
    [-973_932_308, 1_173_551_340],
  ])('maps %d to %d', (hash, positive) => {
    expect(toPositive(hash)).toBe(positive)
  })
})
