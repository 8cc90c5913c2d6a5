/**
 * Those of a log's segments that were read last, whose files stay open while they are among them.
 *
 * There are as many as random reads of some dozens of GiB need: to open a file for a read takes
 * twenty times as long as the read.
 */
export class RecentSegments<S> {
  readonly #maxCount: number
  /** In the order of their last use. */
  readonly #segments = new Set<S>()
  #last: S | null = null

  constructor(maxCount: number) {
    this.#maxCount = maxCount
  }

  /** Whether a segment was used last, which needs no further note. */
  isLast(segment: S): boolean {
    return segment === this.#last
  }

  /** Notes that a segment is used again. @returns false for one that is not among them */
  useAgain(segment: S): boolean {
    if (!this.#segments.delete(segment)) return false
    this.#segments.add(segment)
    this.#last = segment
    return true
  }

  /** Notes the use of a segment that is not among them. @returns the one that has to go for it */
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
