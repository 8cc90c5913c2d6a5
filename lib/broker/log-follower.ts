import { errorOf, reasonOf } from '../checks.ts'
import { StorageError, VarveError } from '../errors.ts'
import type { Clock, Timer } from '../platform/clock.ts'
import type { Log } from '../storage/log.ts'

const FOLLOW_INTERVAL_MS = 50

/**
 * How often all segments are looked at. The owner changes those that are not the last one by ways that a quick
 * look sees; what somebody else has damaged it does not.
 */
const THOROUGH_INTERVAL_MS = 1_000

/** For how long, and in how many looks one behind the other, the owner may be in the middle of a change. */
const PATIENCE = { ms: 5_000, looks: 3 }

/**
 * Looks from time to time, while somebody waits, for what the owner of the directory has appended
 * to a log that is open for reading only, and once where somebody has read or asked for its end: what
 * has been deleted is not read for much longer then. Files have no way to tell.
 *
 * A look that fails may have met a change of the owner. Where all have failed for some seconds, who waits, or
 * has read all that is known, is told: otherwise a log that can be looked at no more seems to be one that
 * nobody appends to. The next look that succeeds ends that.
 */
export class LogFollower {
  readonly #clock: Clock
  readonly #log: Log
  readonly #onLooked: (hasFailed: boolean) => boolean
  #timer: Timer | null = null
  #isStopped = false
  /** The looks that have failed since the last one that has not. */
  #failed: { readonly sinceMs: number; readonly looks: number } | null = null
  #failure: VarveError | null = null
  /** When the last look at all segments began. */
  #thoroughMs = -Infinity
  /** When the last look was over. */
  #lookedMs = -Infinity

  /**
   * @param onLooked is called after each look, with whether there is a failure to tell, and says whether
   * anybody still waits.
   */
  constructor(clock: Clock, log: Log, onLooked: (hasFailed: boolean) => boolean) {
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

  /** @throws why nobody can tell by now what comes next, where that is what is asked for. */
  ensureAble(isAtEnd: boolean): void {
    // Nobody looks while nobody waits: what was found long ago may be over, and the next look tells.
    const isFresh = this.#clock.monotonic() - this.#lookedMs <= 2 * FOLLOW_INTERVAL_MS
    if (isAtEnd && isFresh && this.#failure !== null) throw this.#failure
  }

  /** Looks now. */
  async look(): Promise<void> {
    await this.#refresh()
    this.#onLooked(this.#failure !== null)
  }

  async #lookAgain(): Promise<void> {
    await this.#refresh()
    this.#timer = null
    if (this.#onLooked(this.#failure !== null)) this.start()
  }

  async #refresh(): Promise<void> {
    const nowMs = this.#clock.monotonic()
    const isQuick = nowMs - this.#thoroughMs < THOROUGH_INTERVAL_MS
    if (!isQuick) this.#thoroughMs = nowMs
    try {
      this.#note(await this.#log.refresh(isQuick))
    } catch (error) {
      // The owner may be changing what is looked at: the next look has the answer.
      this.#note(errorOf(error))
    }
  }

  #note(error: Error | null): void {
    const nowMs = this.#clock.monotonic()
    this.#lookedMs = nowMs
    const { sinceMs, looks } = this.#failed ?? { sinceMs: nowMs, looks: 0 }
    this.#failed = error === null ? null : { sinceMs, looks: looks + 1 }
    const isPatient = nowMs - sinceMs < PATIENCE.ms || looks + 1 < PATIENCE.looks
    this.#failure = error === null || isPatient ? null : this.#failureOf(error)
  }

  #failureOf(cause: Error): VarveError {
    if (cause instanceof VarveError) return cause
    const { topic, partition, dir: path } = this.#log
    const message = `the log of ${topic}-${partition} cannot be followed: ${reasonOf(cause)}`
    return new StorageError(message, { path, outcome: 'not-written' }, { cause })
  }
}
