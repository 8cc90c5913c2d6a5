import type { Clock, Timer } from './clock.ts'

// Captured at load, so that a test that replaces the globals later stops neither the heartbeat of a
// lock nor the library's timeouts.
const dateNow = Date.now
const monotonicNow = performance.now.bind(performance)
const startTimeout = setTimeout
const stopTimeout = clearTimeout

/** The longest delay that `setTimeout` accepts; it fires at once for longer ones. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1

/**
 * Node.js keeps its timers in one list for each duration, in whole milliseconds. When the last one
 * in a list is cancelled, the list is removed, and the next wait of that duration builds it again:
 * half of what starting and cancelling a timer costs. But if that timer lets the process end, the
 * list stays until it would have been due. So timers below this delay are first made to. As many
 * lists at most are then kept empty.
 */
const MAX_KEPT_LIST_MS = 1000

/** The machine's clock. Stateless: all calls may overlap. */
export class SystemClock implements Clock {
  now(): number {
    return dateNow()
  }

  monotonic(): number {
    return monotonicNow()
  }

  startTimer(callback: () => void, delayMs: number, options: { background?: boolean } = {}): Timer {
    return new SystemTimer(callback, delayMs, options.background ?? false)
  }
}

/** The default clock of the library. */
export const systemClock: SystemClock = new SystemClock()

class SystemTimer implements Timer {
  readonly #callback: () => void
  readonly #background: boolean
  readonly #isListKept: boolean
  #remainingMs: number
  #timeout: NodeJS.Timeout | null = null

  constructor(callback: () => void, delayMs: number, background: boolean) {
    this.#callback = callback
    this.#background = background
    this.#isListKept = delayMs < MAX_KEPT_LIST_MS
    this.#remainingMs = delayMs
    this.#start()
  }

  cancel(): void {
    if (this.#timeout === null) return
    if (this.#isListKept) this.#timeout.unref()
    stopTimeout(this.#timeout)
    this.#timeout = null
  }

  #start(): void {
    const stepMs = Math.min(this.#remainingMs, MAX_TIMEOUT_MS)
    this.#remainingMs -= stepMs
    this.#timeout = startTimeout(() => {
      this.#timeout = null
      if (this.#remainingMs > 0) this.#start()
      else this.#callback()
    }, stepMs)
    if (this.#background) this.#timeout.unref()
  }
}
