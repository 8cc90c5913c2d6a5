/** An odd number with random-looking bits: a product with it is spread over the highest bits. */
const SPREAD = 0x9e37_79b1
const SPREAD_AGAIN = 0x85eb_ca6b

/**
 * Which batches were read recently, by segment number and position: 32 bits for each, until another
 * batch takes its slot. Now and then two batches are confused, or one is forgotten.
 */
export class RecentlyRead {
  readonly #hashes: Int32Array
  readonly #shift: number

  /** @param bits at most 2 to the power of `bits` batches are remembered; from 1 to 31. */
  constructor(bits: number) {
    this.#hashes = new Int32Array(2 ** bits)
    this.#shift = 32 - bits
  }

  /** Returns whether a batch was read before, and marks it as read. */
  note(segment: number, position: number): boolean {
    const place = Math.imul(segment, SPREAD) ^ position
    // The highest bits select the slot, and a product takes them from lower bits. Batches may all
    // be 2^15 bytes long.
    const hash = Math.imul(place ^ (place >>> 15), SPREAD_AGAIN)
    const slot = hash >>> this.#shift
    if (this.#hashes[slot] === hash) return true
    this.#hashes[slot] = hash
    return false
  }
}
