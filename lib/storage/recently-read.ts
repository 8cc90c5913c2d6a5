/** An odd number whose bits are as good as random: what it multiplies is spread over the highest bits. */
const SPREAD = 0x9e37_79b1
const SPREAD_AGAIN = 0x85eb_ca6b

/**
 * Which batches were read of late, by a number of their segment and their position in it: some 32 bits for
 * each, until another takes their place. Now and then it takes one for another, or has forgotten one.
 */
export class RecentlyRead {
  readonly #hashes: Int32Array
  readonly #shift: number

  /** @param bits it remembers 2 to the power of it, at most; from 1 to 31. */
  constructor(bits: number) {
    this.#hashes = new Int32Array(2 ** bits)
    this.#shift = 32 - bits
  }

  /** Whether a batch was read before. From now on it was. */
  note(segment: number, position: number): boolean {
    const place = Math.imul(segment, SPREAD) ^ position
    // The highest bits count, and a product takes them from lower ones: batches may all be 2^15 bytes long.
    const hash = Math.imul(place ^ (place >>> 15), SPREAD_AGAIN)
    const slot = hash >>> this.#shift
    if (this.#hashes[slot] === hash) return true
    this.#hashes[slot] = hash
    return false
  }
}
