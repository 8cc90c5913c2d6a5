import type { Clock, Timer } from '../platform/clock.ts'
import type { Log } from '../storage/log.ts'

const FOLLOW_INTERVAL_MS = 50

/**
 * Looks from time to time, while somebody waits, for what the owner of the directory has appended
 * to a log that is open for reading only, and once where somebody has read or asked for its end: what
 * has been deleted is not read for much longer then. Files have no way to tell.
 */
export class LogFollower {
  readonly #clock: Clock
  readonly #log: Log
  readonly #onLooked: () => boolean
  #timer: Timer | null = null
  #isStopped = false

  /** @param onLooked is called after each look, and says whether anybody still waits. */
  constructor(clock: Clock, log: Log, onLooked: () => boolean) {
    this.#clock = clock
    this.#log = log
    this.#onLooked = onLooked
  }

  /** Begins to look, if that is not under way. */
  start(): void {
    if (this.#isStopped) return
    this.#timer ??= this.#clock.startTimer(
      () => {
        void this.#lookAgain()
      },
      FOLLOW_INTERVAL_MS,
      { background: true },
    )
  }

  /** Ends it for good. */
  stop(): void {
    this.#isStopped = true
    this.#timer?.cancel()
  }

  /** Looks now. */
  async look(): Promise<void> {
    await this.#refresh()
    this.#onLooked()
  }

  async #lookAgain(): Promise<void> {
    await this.#refresh()
    this.#timer = null
    if (this.#onLooked()) this.start()
  }

  async #refresh(): Promise<void> {
    try {
      await this.#log.refresh()
    } catch {
      // The owner may be changing what is looked at: the next look has the answer.
    }
  }
}
