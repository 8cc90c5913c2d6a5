import type { PendingAppend } from './pending-append.ts'

/**
 * The appends that wait for their group, in call order. They form a linked list, so that giving up
 * thousands of appends one by one costs nothing for those before them. An append may be in one line
 * only.
 */
export class AppendLine {
  #first: PendingAppend | null = null
  #last: PendingAppend | null = null

  /** The append that has waited longest; `null` if there is none. */
  get first(): PendingAppend | null {
    return this.#first
  }

  /** The latest append. */
  get last(): PendingAppend | null {
    return this.#last
  }

  /** Adds an append at the end. */
  push(append: PendingAppend): void {
    append.previous = this.#last
    if (this.#last === null) this.#first = append
    else this.#last.next = append
    this.#last = append
  }

  /** Puts a group back in front of all others, in its order. */
  putBack(group: readonly PendingAppend[]): void {
    const behind = this.takeOut(() => true)
    for (const append of group) this.push(append)
    for (const append of behind) this.push(append)
  }

  /** Removes an append. @returns whether it was in the line */
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

  /** Removes all appends that match. @returns them in their order */
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

/** Whether appends in line after it must not be written without it: it was not given up. */
export function isInLine(append: PendingAppend): boolean {
  return append.isInLine && !append.isReleased
}

export function standsInLine(append: PendingAppend): boolean {
  return append.isInLine
}
