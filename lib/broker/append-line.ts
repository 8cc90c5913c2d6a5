import type { PendingAppend } from './pending-append.ts'

/**
 * The appends that wait for their group, in the order of their calls. A list through the appends
 * themselves: of thousands that are given up one by one, none costs more for those that stand before it.
 * An append may be in one line only.
 */
export class AppendLine {
  #first: PendingAppend | null = null
  #last: PendingAppend | null = null

  /** Who has waited longest; `null` while nobody waits. */
  get first(): PendingAppend | null {
    return this.#first
  }

  /** Who came last. */
  get last(): PendingAppend | null {
    return this.#last
  }

  /** Puts an append behind all others. */
  push(append: PendingAppend): void {
    append.previous = this.#last
    if (this.#last === null) this.#first = append
    else this.#last.next = append
    this.#last = append
  }

  /** Puts a group back, in its order before all others. */
  putBack(group: readonly PendingAppend[]): void {
    const behind = this.takeOut(() => true)
    for (const append of group) this.push(append)
    for (const append of behind) this.push(append)
  }

  /** Takes out an append. @returns whether it was in the line */
  remove(append: PendingAppend): boolean {
    const { previous, next } = append
    if (previous === null && this.#first !== append) return false
    if (previous === null) this.#first = next
    else previous.next = next
    if (next === null) this.#last = previous
    else next.previous = previous
    append.previous = null
    append.next = null
    return true
  }

  /** Takes out all for which this is true. @returns them in their order */
  takeOut(isMeant: (append: PendingAppend) => boolean): PendingAppend[] {
    const taken: PendingAppend[] = []
    let append = this.#first
    while (append !== null) {
      const { next } = append
      if (isMeant(append)) {
        this.remove(append)
        taken.push(append)
      }
      append = next
    }
    return taken
  }
}
