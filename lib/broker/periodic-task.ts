import type { Clock, Timer } from '../platform/clock.ts'

/**
 * Runs a task repeatedly, pausing `intervalMs` between the end of a run and the start of the next,
 * so that runs do not overlap. Does not keep the process alive.
 */
export class PeriodicTask {
  readonly #clock: Clock
  readonly #intervalMs: number
  readonly #task: () => Promise<unknown>
  #timer: Timer | null = null
  #isStopped = false

  /** @param task handles its own failures: after a rejection it is run again as usual. */
  constructor(clock: Clock, intervalMs: number, task: () => Promise<unknown>) {
    this.#clock = clock
    this.#intervalMs = intervalMs
    this.#task = task
    this.#start()
  }

  /** Stops for good, without waiting for a run in progress. */
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
