import type { Weighed } from './lightest-first.ts'

/** Goes through members from the heaviest down, while what some of them have changes. */
export class HeaviestFirst<T extends Weighed> {
  /** By count. Who has another one since is passed over: it was added again with that. */
  readonly #members: Map<number, T[]> = new Map()
  #count = 0
  /** Those with `#count`, in order, and how many of them were told. */
  #current: readonly T[] = []
  #told = 0

  constructor(members: readonly T[]) {
    for (const member of members) {
      this.add(member)
      this.#count = Math.max(this.#count, member.count)
    }
    this.#open()
  }

  /** A member whose count has changed; it must be below that of the last that was told. */
  add(member: T): void {
    const members = this.#members.get(member.count)
    if (members === undefined) this.#members.set(member.count, [member])
    else members.push(member)
  }

  /** The heaviest that was not told with its count yet, the first of equal ones. */
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
