import { onAbort } from '../platform/abort-listeners.ts'
import type { Clock, Timer } from '../platform/clock.ts'

/** How long a wait may take, and what may end it. */
export interface WaitLimits {
  /** Milliseconds; 0 never waits. */
  readonly maxWaitMs: number
  readonly signal?: AbortSignal | undefined
  /** Receives a function that ends the wait early, with the records available by then. */
  readonly onWake?: (wake: () => void) => void
}

/** One wait for changes, until something ends it. */
export class FetchWait {
  /** Whether the available records have to do: the time is over, or the wait was ended. */
  isOver = false
  readonly #clock: Clock
  readonly #limits: WaitLimits
  readonly #deadlineMs: number
  #timer: Timer | null = null
  #stopListening: (() => void) | null = null
  #wakeUp: () => void = () => undefined

  /** The time limit counts from here, and from now on the wait can be ended. */
  constructor(clock: Clock, limits: WaitLimits) {
    this.#clock = clock
    this.#limits = limits
    this.#deadlineMs = clock.monotonic() + limits.maxWaitMs
    limits.onWake?.(() => {
      this.#end()
    })
  }

  /** Starts the timer and listens to the signal. */
  start(): void {
    const { signal } = this.#limits
    const end = (): void => {
      this.#end()
    }
    const remainingMs = Math.max(0, this.#deadlineMs - this.#clock.monotonic())
    this.#timer = this.#clock.startTimer(end, remainingMs)
    if (signal !== undefined) this.#stopListening = onAbort(signal, end)
  }

  /** Resolves with the next change, or the end, after this call. */
  nextChange(): Promise<void> {
    return new Promise((resolve) => {
      this.#wakeUp = resolve
      if (this.isOver) resolve()
    })
  }

  /** Reports a change. */
  wakeUp(): void {
    this.#wakeUp()
  }

  stop(): void {
    this.#timer?.cancel()
    this.#stopListening?.()
  }

  #end(): void {
    this.isOver = true
    this.#wakeUp()
  }
}
