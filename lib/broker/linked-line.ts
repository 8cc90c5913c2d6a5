/** What stands in a {@link LinkedLine}, which alone changes the neighbours. */
export interface Linked<T> {
  previous: T | null
  next: T | null
}

/**
 * Calls that wait, in their order. They form a linked list, so that giving up thousands of them one
 * by one costs nothing for those before them, and a million take no more memory than they do
 * anyway. Each may be in one line only.
 */
export class LinkedLine<T extends Linked<T>> {
  #first: T | null = null
  #last: T | null = null

  /** The one that has waited longest; `null` if there is none. */
  get first(): T | null {
    return this.#first
  }

  /** The latest one. */
  get last(): T | null {
    return this.#last
  }

  /** Adds one at the end. */
  push(entry: T): void {
    entry.previous = this.#last
    if (this.#last === null) this.#first = entry
    else this.#last.next = entry
    this.#last = entry
  }

  /** Puts a group back in front of all others, in its order. */
  putBack(group: readonly T[]): void {
    const behind = this.takeOut(() => true)
    for (const entry of group) this.push(entry)
    for (const entry of behind) this.push(entry)
  }

  /** Removes one. @returns whether it was in the line */
  remove(entry: T): boolean {
    const { previous, next } = entry
    if (previous === null && this.#first !== entry) return false
    if (previous === null) this.#first = next
    else previous.next = next
    if (next === null) this.#last = previous
    else next.previous = previous
    entry.previous = null
    entry.next = null
    return true
  }

  /** Removes all that match. @returns them in their order */
  takeOut(isMeant: (entry: T) => boolean): T[] {
    const taken: T[] = []
    let entry = this.#first
    while (entry !== null) {
      const { next } = entry
      if (isMeant(entry)) {
        this.remove(entry)
        taken.push(entry)
      }
      entry = next
    }
    return taken
  }
}
