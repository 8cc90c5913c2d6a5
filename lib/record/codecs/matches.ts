/** Blocks are no longer, so that a position in one fits a table of small numbers. */
export const MAX_BLOCK_BYTES: number = 64 * 1024

/** The shortest match that LZ4 and Snappy can use. */
export const MIN_MATCH: number = 4

/** The last match begins so far before the end of a block, and ends so far before it: as LZ4 demands. */
const LAST_MATCH_BYTES = 12
const LAST_LITERALS = 5

const HASH_BITS = 13
/** Where the bytes with a hash were last seen, from the start of the block and plus one; 0: nowhere. */
const heads = new Uint16Array(1 << HASH_BITS)
/** The place before each, with the same hash, in the same form. */
const chain = new Uint16Array(MAX_BLOCK_BYTES)

/**
 * Told of each match in order, without overlaps.
 *
 * @param literalStart where the bytes begin that lie between the last match and this one
 */
export type OnMatch = (
  literalStart: number,
  matchStart: number,
  matchLength: number,
  distance: number,
) => void

/**
 * Finds what of a block repeats earlier parts of it.
 *
 * @param start of the block, which is at most {@link MAX_BLOCK_BYTES} long
 * @param attempts how many earlier places are compared for each position; with 1, parts that do not
 * repeat are passed over in growing steps
 * @returns where the bytes begin that follow the last match
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
    // All of a match is entered for a thorough search, and its end for a fast one.
    const entered = attempts === 1 ? matchEnd - 2 : position + 1
    for (let at = entered; at < matchEnd && at <= lastStart; at += 1) enter(source, at, start)
    position = matchEnd
    literalStart = matchEnd
  }
  return literalStart
}

/** Enters a position, and gives the place where the same hash was last seen. */
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

/** How many bytes from `candidate` on are those from `position` on, which end before `end`. */
function matchLength(source: Buffer, candidate: number, position: number, end: number): number {
  let length = 0
  while (position + length < end && source[candidate + length] === source[position + length]) {
    length += 1
  }
  return length
}
