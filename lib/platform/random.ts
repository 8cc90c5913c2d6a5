import { randomBytes } from 'node:crypto'

/** The source of chance: partition choice without a key, topic ids, member ids. */
export interface Random {
  /** A whole number in [0, `bound`). */
  integer(bound: number): number
  /** `count` random bytes. */
  bytes(count: number): Buffer
}

/** Chance from the operating system and `Math.random`. */
export const systemRandom: Random = {
  integer: (bound) => Math.floor(Math.random() * bound),
  bytes: (count) => randomBytes(count),
}
