/** A slower call has met the disk itself, or a busy disk. */
const SLOW_MS = 1

/** How long calls are left to the pool after a slow one, which another process may have caused. */
const FIRST_REST_MS = 5
/** The longest such rest, for a disk whose calls keep being slow soon after a rest. */
const LONGEST_REST_MS = 50
/** A slow call that starts this soon after a rest is a relapse. Its end may be much later. */
const RELAPSE_MS = 100

/**
 * Decides how long calls of one kind are left to the pool, by the duration of synchronous calls:
 * for 5 ms after one that took more than 1 ms, and for up to 50 ms if that happens again and again.
 * It is never shorter than the call itself, so that no disk, however slow, holds up the process for
 * most of the time.
 *
 * A call may also be slow because the thread lost the processor, or the garbage collector ran,
 * which says nothing about the next call. So if it is known that a call has not met the disk, it
 * takes two slow ones in a row.
 */
export class PromptRest {
  readonly #hasMetDisk: () => boolean
  #untilMs = -Infinity
  #restMs = FIRST_REST_MS
  #wasSlow = false

  /** @param hasMetDisk whether a call may have waited for the disk since this was last called. */
  constructor(hasMetDisk: () => boolean) {
    this.#hasMetDisk = hasMetDisk
  }

  /** Whether synchronous calls are allowed. */
  isOver(nowMs: number): boolean {
    return nowMs >= this.#untilMs
  }

  /** Records how long a synchronous call took, and whether it failed. */
  note(durationMs: number, endMs: number, hasFailed: boolean): void {
    const wasSlow = this.#wasSlow
    this.#wasSlow = durationMs > SLOW_MS
    if (!this.#wasSlow) return
    const hasMetDisk = this.#hasMetDisk()
    // A disk that fails may take seconds to report it.
    if (hasMetDisk || wasSlow || hasFailed) this.#begin(durationMs, endMs)
  }

  #begin(durationMs: number, endMs: number): void {
    const isRelapse = endMs - durationMs - this.#untilMs < RELAPSE_MS
    this.#restMs = isRelapse ? Math.min(2 * this.#restMs, LONGEST_REST_MS) : FIRST_REST_MS
    this.#untilMs = endMs + Math.max(this.#restMs, durationMs)
  }
}
