/** A call that takes longer has met the disk itself, or a disk that is busy. */
const SLOW_MS = 1

/** For so long after a slow call others are not tried: it may as well have been another process. */
const FIRST_REST_MS = 5
/** And for so long where one was slow soon after the rest before, again and again. */
const LONGEST_REST_MS = 50
/** How soon such a one begins. Where it began counts: one that takes long would not be soon by its end. */
const RELAPSE_MS = 100

/**
 * For how long calls of one kind are left to the pool, by how long those that were made at once have
 * taken: for 5 ms after one that took more than 1 ms, and for up to 50 ms where that happens again
 * and again; but never for less than the call has taken, so that no disk, however slow, holds up the
 * process for most of the time.
 *
 * A call may also take long because the thread did not get the processor, or the collector ran. That
 * says nothing of the next one. So where it can be known that a call has not met the disk, it takes
 * two slow ones in a row.
 */
export class PromptRest {
  readonly #hasMetDisk: () => boolean
  #untilMs = -Infinity
  #restMs = FIRST_REST_MS
  #wasSlow = false

  /** @param hasMetDisk whether a call may have waited for the disk since this was asked last. */
  constructor(hasMetDisk: () => boolean) {
    this.#hasMetDisk = hasMetDisk
  }

  /** Whether calls may be made at once. */
  isOver(nowMs: number): boolean {
    return nowMs >= this.#untilMs
  }

  /** Takes in how long a call has taken that was made at once, and whether it has failed. */
  note(durationMs: number, endMs: number, hasFailed: boolean): void {
    const wasSlow = this.#wasSlow
    this.#wasSlow = durationMs > SLOW_MS
    if (!this.#wasSlow) return
    const hasMetDisk = this.#hasMetDisk()
    // A disk that fails may take seconds to say so.
    if (hasMetDisk || wasSlow || hasFailed) this.#begin(durationMs, endMs)
  }

  #begin(durationMs: number, endMs: number): void {
    const isRelapse = endMs - durationMs - this.#untilMs < RELAPSE_MS
    this.#restMs = isRelapse ? Math.min(2 * this.#restMs, LONGEST_REST_MS) : FIRST_REST_MS
    this.#untilMs = endMs + Math.max(this.#restMs, durationMs)
  }
}
