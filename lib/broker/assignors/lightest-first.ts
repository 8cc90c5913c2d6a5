/** What {@link LightestFirst} goes by. */
export interface Weighed {
  /** Its place among all of them; of equal ones the first counts as the lighter. */
  readonly place: number
  readonly count: number
}

interface Entry<T> {
  readonly member: T
  /** As it was when it was last looked at. */
  count: number
}

/**
 * Tells which of some members is the lightest without looking at all of them each time.
 *
 * A heap. Counts that have grown meanwhile are put right when they come to its top, so nobody has
 * to tell of them. One that has fallen is still taken for what it was before: who gives something
 * up must be heavier than all that are looked for.
 */
export class LightestFirst<T extends Weighed> {
  readonly #heap: Entry<T>[]

  constructor(members: readonly T[]) {
    this.#heap = members.map((member) => ({ member, count: member.count }))
    for (let slot = (members.length >> 1) - 1; slot >= 0; slot--) this.#sink(slot)
  }

  /** The lightest, `undefined` when there is nobody. */
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
