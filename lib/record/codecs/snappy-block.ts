import { copyLiterals, copyMatch } from './block-output.ts'
import { findMatches } from './matches.ts'

// A block is its content's length and a list of literals and copies, with the kind in the low two
// bits of each tag. See https://github.com/google/snappy/blob/main/format_description.txt.

const LITERAL = 0
const COPY_1 = 1
const COPY_2 = 2
/** Literals up to this length store it in their tag. */
const TAG_LITERALS = 60
const MAX_COPY = 64
/** A copy with a one-byte distance has three bits for its length and eleven for the distance. */
const MAX_SHORT_COPY = 11
const MIN_SHORT_COPY = 4
const SHORT_DISTANCE = 2048
/** The largest expansion of any element: 3 bytes become 64. */
const MOST_BYTES_OUT = 64
const LEAST_BYTES_IN = 3

/** Returns the maximum size of a block with so much content, including its length field. */
export function boundOfSnappyBlock(sizeBytes: number): number {
  return 32 + sizeBytes + Math.ceil(sizeBytes / 6)
}

/**
 * Compresses `source` from `start` to `end`, at most 64 KiB.
 *
 * @param target has {@link boundOfSnappyBlock} bytes of room at `at`
 * @returns where the block ends in `target`
 */
export function compressSnappyBlock(
  source: Buffer,
  start: number,
  end: number,
  target: Buffer,
  at: number,
): number {
  let position = putLength(target, at, end - start)
  const tail = findMatches(source, start, end, 1, (literalStart, matchStart, length, distance) => {
    position = putLiterals(source, literalStart, matchStart, target, position)
    position = putCopies(target, position, length, distance)
  })
  return putLiterals(source, tail, end, target, position)
}

function putLength(target: Buffer, at: number, length: number): number {
  let position = at
  let rest = length
  for (; rest > 0x7f; rest >>>= 7) target[position++] = (rest & 0x7f) | 0x80
  target[position++] = rest
  return position
}

function putLiterals(
  source: Buffer,
  start: number,
  end: number,
  target: Buffer,
  at: number,
): number {
  const length = end - start
  if (length === 0) return at
  let position = at
  const last = length - 1
  if (length <= TAG_LITERALS) {
    target[position++] = last << 2
  } else if (last < 256) {
    target[position++] = TAG_LITERALS << 2
    target[position++] = last
  } else {
    target[position++] = (TAG_LITERALS + 1) << 2
    target[position++] = last & 0xff
    target[position++] = last >> 8
  }
  copyLiterals(source, start, target, position, length)
  return position + length
}

function putCopies(target: Buffer, at: number, length: number, distance: number): number {
  let position = at
  let rest = length
  // The rest for the last copy must be at least as long as the shortest copy.
  for (; rest >= MAX_COPY + MIN_SHORT_COPY; rest -= MAX_COPY) {
    position = putCopy(target, position, MAX_COPY, distance)
  }
  if (rest > MAX_COPY) {
    position = putCopy(target, position, MAX_COPY - MIN_SHORT_COPY, distance)
    rest -= MAX_COPY - MIN_SHORT_COPY
  }
  return putCopy(target, position, rest, distance)
}

function putCopy(target: Buffer, at: number, length: number, distance: number): number {
  if (length <= MAX_SHORT_COPY && distance < SHORT_DISTANCE) {
    target[at] = COPY_1 | ((length - MIN_SHORT_COPY) << 2) | ((distance >> 8) << 5)
    target[at + 1] = distance & 0xff
    return at + 2
  }
  target[at] = COPY_2 | ((length - 1) << 2)
  target[at + 1] = distance & 0xff
  target[at + 2] = distance >> 8
  return at + 3
}

/** What the head of a block says. */
export interface SnappyBlockLength {
  /** The decompressed size. */
  readonly contentBytes: number
  /** Where the elements begin. */
  readonly start: number
}

/** Reads the content's length; `null` if it is missing, or more than the block can expand to. */
export function readSnappyLength(source: Buffer): SnappyBlockLength | null {
  let contentBytes = 0
  for (let start = 0; start < Math.min(5, source.length); start += 1) {
    const byte = source[start] as number
    contentBytes += (byte & 0x7f) * 2 ** (7 * start)
    if (byte > 0x7f) continue
    const most = Math.ceil(((source.length - start - 1) * MOST_BYTES_OUT) / LEAST_BYTES_IN)
    return contentBytes > most ? null : { contentBytes, start: start + 1 }
  }
  return null
}

/**
 * Decompresses the elements of `source` from `start` on into `target`.
 *
 * @returns whether they are valid and fill `target` exactly
 */
export function decompressSnappyBlock(source: Buffer, start: number, target: Buffer): boolean {
  const end = source.length
  const room = target.length
  let position = start
  let at = 0
  while (position < end) {
    const tag = source[position++] as number
    const kind = tag & 3
    if (kind === LITERAL) {
      let length = (tag >> 2) + 1
      if (length > TAG_LITERALS) {
        const lengthBytes = length - TAG_LITERALS
        if (lengthBytes > end - position) return false
        length = source.readUIntLE(position, lengthBytes) + 1
        position += lengthBytes
      }
      if (length > end - position || length > room - at) return false
      copyLiterals(source, position, target, at, length)
      position += length
      at += length
      continue
    }
    const distanceBytes = kind === COPY_1 ? 1 : kind === COPY_2 ? 2 : 4
    if (distanceBytes > end - position) return false
    const isShort = kind === COPY_1
    const length = isShort ? MIN_SHORT_COPY + ((tag >> 2) & 7) : (tag >> 2) + 1
    const high = isShort ? (tag >> 5) << 8 : 0
    const distance = high + source.readUIntLE(position, distanceBytes)
    position += distanceBytes
    if (distance === 0 || distance > at || length > room - at) return false
    copyMatch(target, at, distance, length)
    at += length
  }
  return at === room
}
