/** A timer that has been started. */
export interface Timer {
  /** Stops the timer. Does nothing if it has already fired or been cancelled. */
  cancel(): void
}

/** The library's time: a wall clock for timestamps, a monotonic clock for durations, and timers. */
export interface Clock {
  /** Wall-clock time in whole milliseconds since the epoch. May jump in either direction. */
  now(): number
  /** Milliseconds since an arbitrary start, with fractions. Never decreases. */
  monotonic(): number
  /**
   * Calls `callback` once, after `delayMs` milliseconds.
   *
   * @param options.background whether the process may end before the timer fires. By default the
   * timer keeps it alive, because somebody is waiting for it.
   */
  startTimer(callback: () => void, delayMs: number, options?: { background?: boolean }): Timer
}
