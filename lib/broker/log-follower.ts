import { errorOf, reasonOf } from '../checks.ts'
import { StorageError, VarveError } from '../errors.ts'
import type { Clock, Timer } from '../platform/clock.ts'
import { isSystemError } from '../platform/system-error.ts'
import { LOOKS_BESIDE_A_WRITER } from '../storage/beside-writer.ts'
import type { Log } from '../storage/log.ts'
import type { PartitionContext } from './partition-context.ts'
import type { VisibleEnd } from './visible-end.ts'

const FOLLOW_INTERVAL_MS = 50

/**
 * How often all segments are checked. A quick check sees how the owner changes segments other than
 * the last one, but not damage done by anybody else.
 */
const THOROUGH_INTERVAL_MS = 1_000

/** For how long, and in how many consecutive checks, the owner may be in the middle of a change. */
const PATIENCE = { ms: 5_000, looks: 3 }

/**
 * Checks a log that is open for reading only for appends of the directory's owner: periodically
 * while a reader waits, and once after a reader has read or has asked for its end, so that deleted
 * records are not served for much longer. Files give no notice of changes.
 *
 * A failed check may have met a change of the owner. If all checks have failed for some seconds,
 * readers that wait, or have read all known records, get the error; otherwise a log that can no
 * longer be checked would look like one without appends. The next successful check clears the
 * error.
 */
export class LogFollower {
  readonly #clock: Clock
  readonly #log: Log
  readonly #onLooked: (hasFailed: boolean) => boolean
  #timer: Timer | null = null
  /** Whether a check was asked for since the last timer has fired. */
  #isWanted = false
  #isStopped = false
  /** The failed checks since the last successful one. */
  #failed: { readonly sinceMs: number; readonly looks: number } | null = null
  #failure: VarveError | null = null
  /** When the last check of all segments began. */
  #thoroughMs = -Infinity
  /** When the last check ended. */
  #lookedMs = -Infinity

  /**
   * @param onLooked is called after each check with whether there is an error to report, and
   * returns whether a reader still waits.
   */
  constructor(clock: Clock, log: Log, onLooked: (hasFailed: boolean) => boolean) {
    this.#clock = clock
    this.#log = log
    this.#onLooked = onLooked
  }

  /**
   * Schedules a check, unless one is scheduled. One that already runs may have read less than a
   * reader that asks now is to see, so another one follows it.
   */
  start(): void {
    this.#isWanted = true
    if (this.#isStopped) return
    this.#timer ??= this.#clock.startTimer(
      () => {
        this.#isWanted = false
        void this.#lookAgain()
      },
      FOLLOW_INTERVAL_MS,
      { background: true },
    )
  }

  /** Stops for good. */
  stop(): void {
    this.#isStopped = true
    this.#timer?.cancel()
  }

  /** Why it cannot be determined what follows the known records; `null` if it can. */
  get failure(): VarveError | null {
    // Without waiting readers there are no checks: an old failure may be over, and the next check
    // tells.
    const isFresh = this.#clock.monotonic() - this.#lookedMs <= 2 * FOLLOW_INTERVAL_MS
    return isFresh ? this.#failure : null
  }

  /** @throws the reason why the next records cannot be determined, if the reader is at the end. */
  ensureAble(isAtEnd: boolean): void {
    if (this.#failure === null || !isAtEnd) return
    const { failure } = this
    if (failure !== null) throw failure
  }

  /** Checks now, as {@link lookAt} does. */
  async look(): Promise<void> {
    await this.#refresh(lookAt)
    this.#onLooked(this.#failure !== null)
  }

  /**
   * Checks now for what has been appended up to `offset`, which is beyond the known end.
   *
   * @throws {@link StorageError} if that cannot be found out: the log may continue to `offset`.
   * @throws {@link UnknownTopicOrPartitionError} if the owner has deleted the topic.
   */
  async reach(offset: number): Promise<void> {
    const error = await lookAt(this.#log, false).catch(errorOf)
    this.#onLooked(false)
    if (error === null || offset <= this.#log.logEndOffset) return
    const isGone = isSystemError(error, 'ENOENT')
    throw (isGone ? await this.#log.reader.whyGone() : null) ?? this.#failureOf(error)
  }

  async #lookAgain(): Promise<void> {
    // If it meets a change of the owner, the next one follows soon.
    await this.#refresh((log, isQuick) => log.refresh(isQuick))
    this.#timer = null
    const isAwaited = this.#onLooked(this.#failure !== null)
    if (isAwaited || this.#isWanted) this.start()
  }

  async #refresh(check: (log: Log, isQuick: boolean) => Promise<Error | null>): Promise<void> {
    const nowMs = this.#clock.monotonic()
    const isQuick = nowMs - this.#thoroughMs < THOROUGH_INTERVAL_MS
    if (!isQuick) this.#thoroughMs = nowMs
    try {
      this.#note(await check(this.#log, isQuick))
    } catch (error) {
      // The owner may be in the middle of a change; the next check sees the result.
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

/**
 * Checks a log for its reader's only look: one that has met a change of the owner is repeated, as
 * otherwise the log would seem to be unchanged.
 *
 * @returns the error of the last look, see `Log.refresh`.
 */
async function lookAt(log: Log, isQuick: boolean): Promise<Error | null> {
  for (let looks = 1; ; looks += 1) {
    const error = await log.refresh(isQuick)
    if (error === null || looks === LOOKS_BESIDE_A_WRITER) return error
  }
}

/** Makes `end` follow what the owner writes; `null` in the owner's own broker. */
export function followerOf(
  { readOnly, clock }: Pick<PartitionContext, 'readOnly' | 'clock'>,
  log: Log,
  end: VisibleEnd,
): LogFollower | null {
  if (!readOnly) return null
  return new LogFollower(clock, log, (hasFailed) => {
    end.follow()
    if (hasFailed) end.notify()
    return end.isAwaited
  })
}
