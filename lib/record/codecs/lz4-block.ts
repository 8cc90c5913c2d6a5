import { copyLiterals, copyMatch, DAMAGED, NO_ROOM } from './block-output.ts'
import { findMatches, MIN_MATCH } from './matches.ts'

// A block is a list of sequences: a token with two lengths, literals, and the distance of a match.
// See https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md.

const NIBBLE = 15

/**
 * Compresses `source` from `start` to `end`, at most 64 KiB.
 *
 * @param target has `end - start` bytes of room at `at`
 * @param attempts see {@link findMatches}
 * @returns where the block ends in `target`; `null` if it would not be smaller than its content
 */
export function compressLz4Block(
  source: Buffer,
  start: number,
  end: number,
  target: Buffer,
  at: number,
  attempts: number,
): number | null {
  const room = at + (end - start)
  let position = at
  const emit = (
    literalStart: number,
    matchStart: number,
    length: number,
    distance: number,
  ): void => {
    const literals = matchStart - literalStart
    // A block that becomes too large is not written any further.
    if (position + sequenceBytes(literals, length) > room) {
      position = room + 1
      return
    }
    const token = position
    position = putLiterals(source, literalStart, literals, target, position)
    target[position] = distance & 0xff
    target[position + 1] = distance >> 8
    position += 2
    const rest = length - MIN_MATCH
    target[token] = (target[token] as number) | Math.min(rest, NIBBLE)
    if (rest >= NIBBLE) position = putLength(target, position, rest - NIBBLE)
  }
  const tail = findMatches(source, start, end, attempts, emit)
  if (position + sequenceBytes(end - tail, 0) >= room) return null
  return putLiterals(source, tail, end - tail, target, position)
}

/** An upper bound of a sequence's size. */
function sequenceBytes(literals: number, length: number): number {
  return 5 + literals + Math.floor(literals / 255) + Math.floor(length / 255)
}

function putLiterals(
  source: Buffer,
  start: number,
  count: number,
  target: Buffer,
  at: number,
): number {
  target[at] = Math.min(count, NIBBLE) << 4
  const position = count >= NIBBLE ? putLength(target, at + 1, count - NIBBLE) : at + 1
  copyLiterals(source, start, target, position, count)
  return position + count
}

function putLength(target: Buffer, at: number, length: number): number {
  let position = at
  let rest = length
  for (; rest >= 255; rest -= 255) target[position++] = 255
  target[position++] = rest
  return position
}

/**
 * Decompresses the block that fills `source`.
 *
 * @returns how many bytes of `target` are filled, or {@link DAMAGED} or {@link NO_ROOM}
 */
export function decompressLz4Block(source: Buffer, target: Buffer): number {
  const end = source.length
  const room = target.length
  let position = 0
  let at = 0
  while (position < end) {
    const token = source[position++] as number
    let literals = token >> 4
    if (literals === NIBBLE) {
      let byte = 255
      // Each byte adds at most 255, so the sum cannot overflow before the block ends.
      while (byte === 255) {
        if (position >= end) return DAMAGED
        byte = source[position++] as number
        literals += byte
      }
    }
    if (literals > end - position) return DAMAGED
    if (literals > room - at) return NO_ROOM
    copyLiterals(source, position, target, at, literals)
    position += literals
    at += literals
    // The last sequence has no match.
    if (position === end) return at
    if (end - position < 2) return DAMAGED
    const distance = (source[position] as number) | ((source[position + 1] as number) << 8)
    position += 2
    if (distance === 0 || distance > at) return DAMAGED
    let length = token & NIBBLE
    if (length === NIBBLE) {
      let byte = 255
      while (byte === 255) {
        if (position >= end) return DAMAGED
        byte = source[position++] as number
        length += byte
      }
    }
    length += MIN_MATCH
    if (length > room - at) return NO_ROOM
    copyMatch(target, at, distance, length)
    at += length
  }
  // The block is empty, or ends with a match.
  return DAMAGED
}
