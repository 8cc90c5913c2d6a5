/** Runs asynchronous tasks one after the other, in the order in which they were handed in. */
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
   * Runs `task` when all earlier ones have settled, whatever their outcome: before the call returns
   * where there are none, because most tasks find the queue empty, and a turn in it costs more than
   * some of them.
   *
   * @param task must not throw but reject.
   */
  run<T>(task: () => Promise<T>): Promise<T> {
    this.#pendingCount += 1
    if (this.#pendingCount > 1) {
      const result = this.#tail.then(task, task)
      this.#tail = result.then(this.#settled, this.#settled)
      return result
    }
    // What the task itself hands in while it starts stands behind it.
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
