import { randomBytes } from 'node:crypto'

/** Source of randomness: partition choice without a key, ids, and the jitter of segment rolls. */
export interface Random {
  /** A random integer in [0, `bound`). */
  integer(bound: number): number
  /** `count` random bytes. */
  bytes(count: number): Buffer
}

/** Randomness from `Math.random` and the operating system. */
export const systemRandom: Random = {
  integer: (bound) => Math.floor(Math.random() * bound),
  bytes: (count) => randomBytes(count),
}
