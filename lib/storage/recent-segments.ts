/**
 * The segments of a log that were read last. Their files stay open.
 *
 * The limit is enough for random reads over a few dozen GiB. Opening a file for a read takes twenty
 * times as long as the read.
 */
export class RecentSegments<S> {
  readonly #maxCount: number
  /** In order of last use, oldest first. */
  readonly #segments = new Set<S>()
  #last: S | null = null

  constructor(maxCount: number) {
    this.#maxCount = maxCount
  }

  /** Whether this segment was the last one used, so that its use need not be noted again. */
  isLast(segment: S): boolean {
    return segment === this.#last
  }

  /** Notes another use of a segment. @returns false if it is not in the set */
  useAgain(segment: S): boolean {
    if (!this.#segments.delete(segment)) return false
    this.#segments.add(segment)
    this.#last = segment
    return true
  }

  /** Adds a segment that is not in the set. @returns the segment that has to make room, if any */
  add(segment: S): S | undefined {
    this.#segments.add(segment)
    this.#last = segment
    if (this.#segments.size <= this.#maxCount) return undefined
    const first = this.#segments.values().next().value as S
    this.#segments.delete(first)
    return first
  }

  forget(segment: S): void {
    this.#segments.delete(segment)
    if (segment === this.#last) this.#last = null
  }
}
