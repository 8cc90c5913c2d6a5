/** What {@link LightestFirst} compares. */
export interface Weighed {
  /** Its place among all members; of two equal counts, the one that comes first is lighter. */
  readonly place: number
  readonly count: number
}

interface Entry<T> {
  readonly member: T
  /** The member's count when the heap last read it. */
  count: number
}

/**
 * Finds the lightest of its members without scanning all of them each time.
 *
 * A heap. An increased count is corrected when its entry reaches the top, so callers need not
 * report it. A decreased count goes unnoticed: the heap keeps the old one. So a member may only
 * give something up while it is heavier than every member that a caller searches for.
 */
export class LightestFirst<T extends Weighed> {
  readonly #heap: Entry<T>[]

  constructor(members: readonly T[]) {
    this.#heap = members.map((member) => ({ member, count: member.count }))
    for (let slot = (members.length >> 1) - 1; slot >= 0; slot--) this.#sink(slot)
  }

  /** Returns the lightest member, `undefined` if there are none. */
  first(): T | undefined {
    for (;;) {
      const top = this.#heap[0]
      if (top === undefined) return undefined
      const { count } = top.member
      if (count <= top.count) return top.member
      top.count = count
      this.#sink(0)
    }
  }

  #sink(start: number): void {
    const sinking = this.#heap[start]
    if (sinking === undefined) return
    for (let slot = start; ;) {
      let below = 2 * slot + 1
      let rising = this.#heap[below]
      const other = this.#heap[below + 1]
      if (rising !== undefined && other !== undefined && isLighter(other, rising)) {
        rising = other
        below++
      }
      if (rising === undefined || !isLighter(rising, sinking)) return
      this.#heap[slot] = rising
      this.#heap[below] = sinking
      slot = below
    }
  }
}

function isLighter<T extends Weighed>(left: Entry<T>, right: Entry<T>): boolean {
  if (left.count !== right.count) return left.count < right.count
  return left.member.place < right.member.place
}
