/** The sends that a producer accepted between two flushes. */
export interface FlushInterval {
  /** Increases from one interval to the next. */
  readonly number: number
  /** Number of its items that have not settled. */
  unsettled: number
  next: FlushInterval | null
  /** Resolves the flush at its end: this interval and all earlier ones have settled. */
  resolve: () => void
}

/** An item that a flush waits for. */
export interface Flushable {
  /**
   * The interval in which it was accepted, until it has settled. Changed only by
   * {@link FlushIntervals}.
   */
  interval: FlushInterval | null
}

/**
 * Resolves flushes when everything accepted before them has settled. Each interval counts the items
 * since the previous flush and waits for the previous interval too. So the cost of many flushes
 * among many sends is the sum of both, not their product. Calls must not overlap.
 */
export class FlushIntervals {
  /** The oldest interval that has not settled, or the newest one. */
  #oldest: FlushInterval = newInterval(0)
  #newest: FlushInterval = this.#oldest
  /** The promise of the last pending flush. */
  #awaited: Promise<void> | null = null

  /** Starts to count an item. */
  take(each: Flushable): void {
    this.#enter(each, this.#newest)
  }

  /**
   * From now on `holder` contains `each`: flushes that wait for `each` wait for `holder`. Must be
   * called before {@link FlushIntervals.settle}.
   */
  passOn(each: Flushable, holder: Flushable): void {
    const { interval } = each
    if (interval === null) return
    const later = holder.interval
    if (later !== null && later.number <= interval.number) return
    this.#enter(holder, interval)
    if (later !== null) later.unsettled -= 1
  }

  /** Stops counting an item. Does nothing if it is not counted. */
  settle(each: Flushable): void {
    const { interval } = each
    if (interval === null) return
    each.interval = null
    interval.unsettled -= 1
    while (this.#oldest.unsettled === 0 && this.#oldest.next !== null) {
      this.#oldest.resolve()
      this.#oldest = this.#oldest.next
    }
    if (this.#oldest === this.#newest) this.#awaited = null
  }

  /** Resolves when everything accepted before the call has settled. */
  flush(): Promise<void> {
    const last = this.#newest
    if (last.unsettled > 0) {
      this.#awaited = new Promise((resolve) => {
        last.resolve = resolve
      })
      this.#newest = last.next = newInterval(last.number + 1)
    }
    return this.#awaited ?? Promise.resolve()
  }

  #enter(each: Flushable, interval: FlushInterval): void {
    each.interval = interval
    interval.unsettled += 1
  }
}

function newInterval(number: number): FlushInterval {
  return { number, unsettled: 0, next: null, resolve: () => undefined }
}
