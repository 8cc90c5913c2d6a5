import type { Clock, Timer } from '../platform/clock.ts'

/**
 * Runs a task again and again, from one run's end for `intervalMs` to the next one's start, so that
 * runs do not overlap. Does not keep the process alive.
 */
export class PeriodicTask {
  readonly #clock: Clock
  readonly #intervalMs: number
  readonly #task: () => Promise<unknown>
  #timer: Timer | null = null
  #isStopped = false

  /** @param task keeps its failures to itself: one that rejects is run again like any other. */
  constructor(clock: Clock, intervalMs: number, task: () => Promise<unknown>) {
    this.#clock = clock
    this.#intervalMs = intervalMs
    this.#task = task
    this.#start()
  }

  /** Ends it for good. A run that goes on is not waited for. */
  stop(): void {
    this.#isStopped = true
    this.#timer?.cancel()
  }

  #start(): void {
    if (this.#isStopped) return
    const again = (): void => {
      this.#start()
    }
    const run = (): void => {
      this.#task().then(again, again)
    }
    this.#timer = this.#clock.startTimer(run, this.#intervalMs, { background: true })
  }
}
