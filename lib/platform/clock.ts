/** A timer that was started and can be stopped. */
export interface Timer {
  /** Stops the timer. Does nothing when it has fired or was cancelled before. */
  cancel(): void
}

/** Time as the library sees it: wall clock for timestamps, monotonic clock for durations, timers. */
export interface Clock {
  /** Wall clock, whole milliseconds since the epoch. May jump in either direction. */
  now(): number
  /** Milliseconds since an arbitrary start, with fractions. Never goes back. */
  monotonic(): number
  /**
   * Calls `callback` once, after `delayMs` milliseconds.
   *
   * @param options.background a background timer does not keep the process alive. The default
   * does: somebody is waiting for it.
   */
  startTimer(callback: () => void, delayMs: number, options?: { background?: boolean }): Timer
}
