import type { Random } from '../platform/random.ts'

const TWO_POW_32 = 0x1_0000_0000
const GOLDEN_GAMMA = 0x6d2b79f5

/**
 * A reproducible random source: the same seed produces the same numbers on every machine.
 *
 * The generator is mulberry32 (32 bits of state, period 2^32). It is fast and mixes well enough to
 * explore test cases. It is not suitable for secrets.
 */
export class SeededRandom implements Random {
  /** The seed of this generator, for the message of a failing test. */
  readonly seed: number
  #state: number

  /** @param seed a whole number, of which only the lowest 32 bits are used */
  constructor(seed: number) {
    if (!Number.isSafeInteger(seed)) {
      throw new RangeError(`seed must be a safe integer, got ${seed}`)
    }
    this.seed = seed
    this.#state = seed | 0
  }

  /** A whole number in [0, `bound`); `bound` is 1 to 2^53 - 1. */
  integer(bound: number): number {
    if (!Number.isSafeInteger(bound) || bound < 1) {
      throw new RangeError(`bound must be a whole number of at least 1, got ${bound}`)
    }
    if (bound <= TWO_POW_32) {
      return Math.floor((this.#next() / TWO_POW_32) * bound)
    }
    const fraction = (this.#next() * 0x20_0000 + (this.#next() >>> 11)) / 2 ** 53
    return Math.floor(fraction * bound)
  }

  bytes(count: number): Buffer {
    const result = Buffer.allocUnsafe(count)
    for (let position = 0; position < count; position += 4) {
      let word = this.#next()
      const end = Math.min(position + 4, count)
      for (let i = position; i < end; i += 1) {
        result[i] = word & 0xff
        word >>>= 8
      }
    }
    return result
  }

  /** Returns true with `probability`: never for 0 or less, always for 1 or more. */
  chance(probability: number): boolean {
    return this.#next() / TWO_POW_32 < probability
  }

  /** One of `items`, all equally likely. */
  pick<T>(items: readonly T[]): T {
    if (items.length === 0) {
      throw new RangeError('items must hold at least one item to pick from')
    }
    return items[this.integer(items.length)] as T
  }

  #next(): number {
    this.#state = (this.#state + GOLDEN_GAMMA) | 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return (mixed ^ (mixed >>> 14)) >>> 0
  }
}
