const SEED = 0x9747b28c
const MULTIPLIER = 0x5bd1e995

/**
 * MurmurHash2 of `bytes`, identical to Kafka's: a key hashes to the same partition here and in
 * every Kafka client. Empty input has a hash too.
 *
 * @returns a signed 32-bit integer; see {@link toPositive}
 */
export function murmur2(bytes: Uint8Array): number {
  const { length } = bytes
  const view = new DataView(bytes.buffer, bytes.byteOffset, length)
  const tailPosition = length & ~3
  let hash = SEED ^ length
  for (let position = 0; position < tailPosition; position += 4) {
    let block = Math.imul(view.getInt32(position, true), MULTIPLIER)
    block ^= block >>> 24
    hash = Math.imul(hash, MULTIPLIER) ^ Math.imul(block, MULTIPLIER)
  }
  if (tailPosition < length) {
    for (let position = length - 1; position >= tailPosition; position--) {
      hash ^= view.getUint8(position) << ((position - tailPosition) * 8)
    }
    hash = Math.imul(hash, MULTIPLIER)
  }
  hash = Math.imul(hash ^ (hash >>> 13), MULTIPLIER)
  return hash ^ (hash >>> 15)
}

/**
 * Makes a hash non-negative the way Kafka does, by clearing the sign bit. `Math.abs` would select
 * other partitions.
 *
 * @returns an integer in [0, 2147483647]
 */
export function toPositive(hash: number): number {
  return hash & 0x7fff_ffff
}
