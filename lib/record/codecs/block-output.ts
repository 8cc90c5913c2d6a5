/** What a block decoder returns instead of a position if the bytes are not a valid block. */
export const DAMAGED = -1
/** What it returns if the decompressed bytes do not fit into the target. */
export const NO_ROOM = -2

/** Longer copies call a native method; for shorter ones the call costs more than a loop. */
const LONG_COPY = 24

/** Copies bytes. The caller has checked the bounds of both buffers. */
export function copyLiterals(
  source: Buffer,
  position: number,
  target: Buffer,
  at: number,
  length: number,
): void {
  if (length > LONG_COPY) {
    source.copy(target, at, position, position + length)
    return
  }
  for (let index = 0; index < length; index += 1)
    target[at + index] = source[position + index] as number
}

/** Repeats the bytes that begin `distance` before `at`. The two ranges may overlap. */
export function copyMatch(target: Buffer, at: number, distance: number, length: number): void {
  const from = at - distance
  if (distance >= length && length > LONG_COPY) {
    target.copyWithin(at, from, from + length)
    return
  }
  if (distance === 1 && length > LONG_COPY) {
    target.fill(target[from] as number, at, at + length)
    return
  }
  for (let index = 0; index < length; index += 1)
    target[at + index] = target[from + index] as number
}
