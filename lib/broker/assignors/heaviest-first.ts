import type { Weighed } from './lightest-first.ts'

/** Iterates over members from the heaviest down, while the counts of some of them change. */
export class HeaviestFirst<T extends Weighed> {
  /** By count. A member whose count has changed is skipped: it was added again with the new one. */
  readonly #members: Map<number, T[]> = new Map()
  #count = 0
  /** The members with `#count`, in order, and how many of them {@link next} has returned. */
  #current: readonly T[] = []
  #told = 0

  constructor(members: readonly T[]) {
    for (const member of members) {
      this.add(member)
      this.#count = Math.max(this.#count, member.count)
    }
    this.#open()
  }

  /** Adds a member whose count has changed, to less than that of the last one returned. */
  add(member: T): void {
    const members = this.#members.get(member.count)
    if (members === undefined) this.#members.set(member.count, [member])
    else members.push(member)
  }

  /** Returns the heaviest member not yet returned with its current count; of equals, the first. */
  next(): T | undefined {
    for (;;) {
      const member = this.#current[this.#told]
      if (member !== undefined) {
        this.#told++
        if (member.count === this.#count) return member
      } else if (this.#count > 0) {
        this.#count--
        this.#open()
      } else {
        return undefined
      }
    }
  }

  #open(): void {
    const members = this.#members.get(this.#count) ?? []
    this.#members.delete(this.#count)
    this.#current = members.sort((left, right) => left.place - right.place)
    this.#told = 0
  }
}
