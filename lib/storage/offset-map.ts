import { hash } from 'node:crypto'

/** 32-bit words of a key's hash that are kept: 128 bits, as in Kafka. */
const HASH_WORDS = 4
/** Bytes of one slot: a hash and an offset. */
const SLOT_BYTES = 24
/** Maximum fill ratio of the table, as in Kafka. Lookups in a fuller table would be slow. */
const LOAD_FACTOR = 0.9

/**
 * The latest offset of each key, in a fixed amount of memory.
 *
 * Only 128 bits of a hash are kept of each key. Two keys with the same 128 bits would be treated as
 * one key, and the record of the older one would be lost. Among a million keys the probability is
 * less than 1 in 10^26, the same as with Kafka's MD5. SHA-256 is used because nobody can construct
 * such keys for it, and because it is available even if a policy (FIPS) disables MD5.
 */
export class OffsetMap {
  #slotCount: number
  #hashes: Uint32Array
  /** The offset plus 1; 0 marks a free slot. */
  #offsets: Float64Array
  #capacity: number
  #count = 0
  #slot = 0

  /** @param memoryBytes 24 per slot; at least one key always fits. */
  constructor(memoryBytes: number) {
    this.#slotCount = Math.max(2, Math.floor(memoryBytes / SLOT_BYTES))
    this.#capacity = Math.max(1, Math.floor(this.#slotCount * LOAD_FACTOR))
    this.#hashes = new Uint32Array(this.#slotCount * HASH_WORDS)
    this.#offsets = new Float64Array(this.#slotCount)
  }

  /** Allocates a larger table if `keyCount` keys would not fit. Must precede the first `put`. */
  ensureRoom(keyCount: number): void {
    if (keyCount <= this.#capacity) return
    const larger = new OffsetMap(OffsetMap.bytesFor(keyCount))
    this.#slotCount = larger.#slotCount
    this.#capacity = larger.#capacity
    this.#hashes = larger.#hashes
    this.#offsets = larger.#offsets
  }

  /** Memory that is enough for `keyCount` keys. */
  static bytesFor(keyCount: number): number {
    return (Math.ceil(keyCount / LOAD_FACTOR) + 1) * SLOT_BYTES
  }

  /** Number of known keys. */
  get count(): number {
    return this.#count
  }

  /**
   * Notes that a key has a record at `offset`, which must be above the offsets noted before.
   *
   * @returns false, without a change, if the key is new and there is no room for it.
   */
  put(key: Uint8Array, offset: number): boolean {
    const isKnown = this.#find(key)
    if (!isKnown && this.#count >= this.#capacity) return false
    if (!isKnown) {
      this.#count += 1
      this.#hashes.set(this.#words, this.#slot * HASH_WORDS)
    }
    this.#offsets[this.#slot] = offset + 1
    return true
  }

  /** The latest offset of a key; -1 if none was noted. */
  get(key: Uint8Array): number {
    return this.#find(key) ? (this.#offsets[this.#slot] ?? 0) - 1 : -1
  }

  readonly #words: Uint32Array = new Uint32Array(HASH_WORDS)

  /** Moves to a key's slot, or to the free one where it belongs. @returns whether it is known */
  #find(key: Uint8Array): boolean {
    const digest = hash('sha256', key, 'buffer')
    const words = this.#words
    for (let word = 0; word < HASH_WORDS; word += 1) words[word] = digest.readUInt32LE(4 * word)
    let slot = (words[0] ?? 0) % this.#slotCount
    while (this.#offsets[slot] !== 0) {
      if (this.#isAt(slot)) break
      slot = slot + 1 === this.#slotCount ? 0 : slot + 1
    }
    this.#slot = slot
    return this.#offsets[slot] !== 0
  }

  #isAt(slot: number): boolean {
    const at = slot * HASH_WORDS
    const [hashes, words] = [this.#hashes, this.#words]
    return (
      hashes[at] === words[0] &&
      hashes[at + 1] === words[1] &&
      hashes[at + 2] === words[2] &&
      hashes[at + 3] === words[3]
    )
  }
}
