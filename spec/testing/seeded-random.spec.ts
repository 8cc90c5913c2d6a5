import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'

describe('SeededRandom', () => {
  it('returns the same numbers for the same seed in every version', () => {
    const random = new SeededRandom(42)
    expect(Array.from({ length: 6 }, () => random.integer(1000))).toEqual([
      601, 448, 852, 669, 174, 526,
    ])
  })

  it('returns other bytes for another seed', () => {
    const one = new SeededRandom(1)
    const two = new SeededRandom(2)
    expect(one.bytes(16)).not.toEqual(two.bytes(16))
  })

  it('remembers its seed', () => {
    expect(new SeededRandom(7).seed).toBe(7)
  })

  it.each([1, 2, 3, 10, 2 ** 32, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER])(
    'integer(%d) stays in [0, bound)',
    (bound) => {
      const random = new SeededRandom(3)
      for (let i = 0; i < 2000; i += 1) {
        const value = random.integer(bound)
        expect(Number.isInteger(value) && value >= 0 && value < bound).toBe(true)
      }
    },
  )

  it('returns every value below a small bound about equally often', () => {
    const random = new SeededRandom(5)
    const counts = [0, 0, 0, 0, 0]
    for (let i = 0; i < 10_000; i += 1) {
      const value = random.integer(5)
      counts[value] = (counts[value] ?? 0) + 1
    }
    expect(Math.min(...counts)).toBeGreaterThan(1800)
    expect(Math.max(...counts)).toBeLessThan(2200)
  })

  it('reaches the upper half of the range for a bound above 2^32', () => {
    const random = new SeededRandom(6)
    const values = Array.from({ length: 100 }, () => random.integer(2 ** 50))
    expect(Math.max(...values)).toBeGreaterThan(2 ** 49)
  })

  it.each([0, -1, 1.5, NaN, Infinity])('throws for the bound %d', (bound) => {
    expect(() => new SeededRandom(1).integer(bound)).toThrow(RangeError)
  })

  it('throws for a seed that is not an integer', () => {
    expect(() => new SeededRandom(0.5)).toThrow(RangeError)
  })

  it.each([0, 1, 3, 4, 5, 17])(
    'bytes(%d) returns that many bytes, of at least 3 different values if there are as many',
    (count) => {
      const bytes = new SeededRandom(9).bytes(count)
      expect(bytes.length).toBe(count)
      expect(new Set(bytes).size).toBeGreaterThanOrEqual(Math.min(count, 3))
    },
  )

  it('chance is never true at 0, always at 1, and in between about as often as requested', () => {
    const random = new SeededRandom(11)
    const hits = (probability: number) =>
      Array.from({ length: 4000 }, () => random.chance(probability)).filter(Boolean).length
    expect(hits(0)).toBe(0)
    expect(hits(1)).toBe(4000)
    expect(hits(0.25)).toBeGreaterThan(850)
    expect(hits(0.25)).toBeLessThan(1150)
  })

  it('pick can return every item, and throws for an empty list', () => {
    const random = new SeededRandom(13)
    const picked = new Set(Array.from({ length: 100 }, () => random.pick(['a', 'b', 'c'])))
    expect([...picked].sort()).toEqual(['a', 'b', 'c'])
    expect(() => random.pick([])).toThrow(RangeError)
  })
})
