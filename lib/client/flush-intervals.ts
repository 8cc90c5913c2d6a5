/** What a producer has taken between two flushes. */
export interface FlushInterval {
  /** Counts up from one interval to the next. */
  readonly number: number
  /** How much of it is not settled yet. */
  unsettled: number
  next: FlushInterval | null
  /** Tells the flush at its end that it and all before it are settled. */
  resolve: () => void
}

/** Something that a flush waits for. */
export interface Flushable {
  /** The one that it was taken in, until it is settled. {@link FlushIntervals} alone changes it. */
  interval: FlushInterval | null
}

/**
 * Tells flushes when everything is settled that was taken before them. Each counts what came since the one
 * before it, and waits for that one too, so that many flushes beside many sends cost no more than both.
 * Calls must not overlap.
 */
export class FlushIntervals {
  /** The first that is not settled, or the newest. */
  #oldest: FlushInterval = newInterval(0)
  #newest: FlushInterval = this.#oldest
  /** The last one that somebody waits for. */
  #awaited: Promise<void> | null = null

  /** Counts something from now on. */
  take(each: Flushable): void {
    this.#enter(each, this.#newest)
  }

  /**
   * `holder` holds `each` from now on: whoever waits for that waits for the holder. To be called before
   * {@link FlushIntervals.settle}.
   */
  passOn(each: Flushable, holder: Flushable): void {
    const { interval } = each
    if (interval === null) return
    const later = holder.interval
    if (later !== null && later.number <= interval.number) return
    this.#enter(holder, interval)
    if (later !== null) later.unsettled -= 1
  }

  /** Counts something no more. Does nothing where that was so before. */
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

  /** Resolves when everything is settled that was taken before the call. */
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
