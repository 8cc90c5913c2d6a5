/** Listeners to be called when something changes that a reader may wait for. */
export class ChangeListeners {
  readonly #listeners: Set<() => void> = new Set()

  get size(): number {
    return this.#listeners.size
  }

  /** @returns a function that removes the listener. */
  add(listener: () => void): () => void {
    // A set of the functions themselves would hold the same listener only once.
    const each = (): void => {
      listener()
    }
    this.#listeners.add(each)
    return () => {
      this.#listeners.delete(each)
    }
  }

  /** Calls the current listeners; one added meanwhile sees the change anyway. */
  notify(): void {
    if (this.#listeners.size === 0) return
    for (const listener of [...this.#listeners]) listener()
  }
}
