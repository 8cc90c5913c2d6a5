/** Runs asynchronous tasks one after another, in the order in which they were queued. */
export class SerialQueue {
  #tail: Promise<unknown> = Promise.resolve()
  /** Tasks that have not settled. */
  #pendingCount = 0
  readonly #settled = (): void => {
    this.#pendingCount -= 1
  }

  /** Whether all tasks have settled. */
  get isIdle(): boolean {
    return this.#pendingCount === 0
  }

  /**
   * Runs `task` when all earlier ones have settled, whatever their outcome. If there are none, it
   * starts before the call returns: most tasks find the queue empty, and a turn in it costs more
   * than some of them.
   *
   * @param task must not throw, but may reject.
   */
  run<T>(task: () => Promise<T>): Promise<T> {
    this.#pendingCount += 1
    if (this.#pendingCount > 1) {
      const result = this.#tail.then(task, task)
      this.#tail = result.then(this.#settled, this.#settled)
      return result
    }
    // Tasks that this task queues while it starts come after it.
    let end = this.#settled
    this.#tail = new Promise<void>((resolve) => {
      end = () => {
        this.#pendingCount -= 1
        resolve()
      }
    })
    const result = task()
    result.then(end, end)
    return result
  }
}
