/** Who is told when something has changed that a reader may wait for. */
export class ChangeListeners {
  readonly #listeners: Set<() => void> = new Set()

  get size(): number {
    return this.#listeners.size
  }

  /** @returns a function that ends it. */
  add(listener: () => void): () => void {
    // A set of functions would take the same listener once only.
    const each = (): void => {
      listener()
    }
    this.#listeners.add(each)
    return () => {
      this.#listeners.delete(each)
    }
  }

  /** Calls those that listen by now; who comes meanwhile has the news already. */
  notify(): void {
    if (this.#listeners.size === 0) return
    for (const listener of [...this.#listeners]) listener()
  }
}
