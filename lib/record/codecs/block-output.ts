/** What a block decoder returns instead of a position when the bytes are no block. */
export const DAMAGED = -1
/** The same when what comes out needs more room than there is. */
export const NO_ROOM = -2

/** Copies longer than this are left to the machine; for shorter ones the call costs more. */
const LONG_COPY = 24

/** Copies bytes that are there, into room that is there. */
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

/** Repeats what begins `distance` before `at`, which may be part of what is being written. */
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
