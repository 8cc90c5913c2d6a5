/** The largest block. With this limit, the tables of positions can hold 16-bit numbers. */
export const MAX_BLOCK_BYTES: number = 64 * 1024

/** The shortest match that LZ4 and Snappy can use. */
export const MIN_MATCH: number = 4

/** LZ4 requires that the last match begin and end at least this far before the end of a block. */
const LAST_MATCH_BYTES = 12
const LAST_LITERALS = 5

const HASH_BITS = 13
/** By hash, the last position with that hash, from the start of the block, plus one; 0 if none. */
const heads = new Uint16Array(1 << HASH_BITS)
/** By position, the previous position with the same hash, in the same form. */
const chain = new Uint16Array(MAX_BLOCK_BYTES)

/**
 * Called for each match in order, without overlaps.
 *
 * @param literalStart where the bytes between the previous match and this one begin
 */
export type OnMatch = (
  literalStart: number,
  matchStart: number,
  matchLength: number,
  distance: number,
) => void

/**
 * Finds the parts of a block that repeat earlier parts of it.
 *
 * @param start of the block, which is at most {@link MAX_BLOCK_BYTES} long
 * @param attempts how many earlier positions are compared with each position; with 1, parts that do
 * not repeat are skipped in growing steps
 * @returns where the bytes after the last match begin
 */
export function findMatches(
  source: Buffer,
  start: number,
  end: number,
  attempts: number,
  onMatch: OnMatch,
): number {
  heads.fill(0)
  const lastStart = end - LAST_MATCH_BYTES
  const lastEnd = end - LAST_LITERALS
  let literalStart = start
  let position = start
  while (position <= lastStart) {
    let found = enter(source, position, start)
    let bestLength = MIN_MATCH - 1
    let best = 0
    for (let left = attempts; found !== 0 && left > 0; left -= 1) {
      const candidate = start + found - 1
      const length = matchLength(source, candidate, position, lastEnd)
      if (length > bestLength) {
        bestLength = length
        best = candidate
      }
      found = chain[found - 1] as number
    }
    if (bestLength < MIN_MATCH) {
      position += attempts === 1 ? 1 + ((position - literalStart) >> 6) : 1
      continue
    }
    onMatch(literalStart, position, bestLength, position - best)
    const matchEnd = position + bestLength
    // A thorough search enters every position of a match, a fast one only the last two.
    const entered = attempts === 1 ? matchEnd - 2 : position + 1
    for (let at = entered; at < matchEnd && at <= lastStart; at += 1) enter(source, at, start)
    position = matchEnd
    literalStart = matchEnd
  }
  return literalStart
}

/** Enters a position, and returns the previous one with the same hash, in the form of `heads`. */
function enter(source: Buffer, position: number, start: number): number {
  const word =
    (source[position] as number) |
    ((source[position + 1] as number) << 8) |
    ((source[position + 2] as number) << 16) |
    ((source[position + 3] as number) << 24)
  const hash = Math.imul(word, 0x9e3779b1) >>> (32 - HASH_BITS)
  const found = heads[hash] as number
  const place = position - start
  chain[place] = found
  heads[hash] = place + 1
  return found
}

/** Returns how many bytes from `candidate` on equal those from `position` on, up to `end`. */
function matchLength(source: Buffer, candidate: number, position: number, end: number): number {
  let length = 0
  while (position + length < end && source[candidate + length] === source[position + length]) {
    length += 1
  }
  return length
}
