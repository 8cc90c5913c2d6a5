/** Larger reads take long enough for another thread to be worth its while. */
export const MAX_PROMPT_READ_BYTES: number = 64 * 1024

/**
 * Larger writes do. More than of a read: what is written was made by this thread a moment ago, at a
 * cost of three times that of copying it to the page cache, and nothing more is made until it is
 * gone, so a write that another thread makes leaves this one idle meanwhile.
 */
export const MAX_PROMPT_WRITE_BYTES: number = 1024 * 1024

/** For so long one turn of the event loop may be drawn out; then timers and sockets have theirs. */
const MAX_TURN_MS = 2

/** A call that takes longer has met the disk itself, or a disk that is busy. */
const SLOW_MS = 1

/** For so long after a slow call others are not tried: it may as well have been another process. */
const FIRST_REST_MS = 5
/** And for so long where one was slow soon after the rest before, again and again. */
const LONGEST_REST_MS = 50
/** How soon that is. */
const RELAPSE_MS = 100

/** What a {@link PromptIo} asks the system for; replaced by specs only. */
export interface PromptIoSystem {
  /** Milliseconds from any point on; never goes back. */
  now(): number
  /** Calls `callback` in the next turn of the event loop. */
  nextTurn(callback: () => void): void
}

// Taken before anybody can put others in their place.
const { setImmediate } = globalThis
const SYSTEM: PromptIoSystem = {
  now: () => performance.now(),
  nextTurn: (callback) => {
    setImmediate(callback)
  },
}

/**
 * Decides which calls are made at once instead of by a thread of the pool.
 *
 * A few KiB go to or come from the page cache in 1 to 4 µs; handing them to another thread and back
 * takes 35 µs and more, so whoever waits for a record or an acknowledgement waits for that. But a
 * call made at once holds up everything else in the process. So only small ones are, for no more
 * than 2 ms of one turn of the event loop, also when a loop of awaits never lets it turn; and after
 * one that took more than 1 ms, because the bytes came from the disk or had to wait for it, none is
 * for 5 ms, and for up to 50 ms where that happens again and again.
 *
 * The same goes for the names and sizes of files, and for opening them to be read: an open of a log
 * asks for dozens of them. Nothing of that is for what makes or removes a name, which waits for the
 * disk by its nature, or for its journal; nor for syncs, of which `PromptSync` has to be convinced.
 */
export class PromptIo {
  readonly #system: PromptIoSystem
  /** When the first call of this turn was made; `null` before it. */
  #turnStartMs: number | null = null
  #restUntilMs = -Infinity
  #restMs = FIRST_REST_MS
  /** Called when the loop has turned. */
  #waiting: (() => void)[] = []
  readonly #endTurn = (): void => {
    this.#turnStartMs = null
    const waiting = this.#waiting
    this.#waiting = []
    for (const resolve of waiting) resolve()
  }

  constructor(system: PromptIoSystem = SYSTEM) {
    this.#system = system
  }

  /**
   * Makes a call, or declines to.
   *
   * @param sizeBytes what is to be read or written.
   * @param maxBytes how much that may be.
   * @param call returns the bytes moved.
   * @returns what `call` does; -1 when it was not made, and has to be left to the pool.
   * @throws what `call` throws.
   */
  try(sizeBytes: number, maxBytes: number, call: () => number): number {
    if (sizeBytes > maxBytes) return -1
    const startMs = this.#system.now()
    if (!this.#hasTimeAt(startMs)) return -1
    return this.#timed(startMs, call)
  }

  /**
   * The same for a call that moves no bytes: one that opens a file for reading, or asks for its size.
   *
   * @param call may decline as well.
   * @returns `undefined` when it was not made.
   */
  attempt<T>(call: () => T | undefined): T | undefined {
    const startMs = this.#system.now()
    if (!this.#hasTimeAt(startMs)) return undefined
    return this.#timed(startMs, call)
  }

  /** Whether a call may be made now, by who judges for himself how long those like it take. */
  hasTime(): boolean {
    return this.#hasTimeAt(this.#system.now())
  }

  /**
   * Whether a call that was declined is worth another try once the event loop has turned: when that
   * is all that stands in its way, a thread of the pool would not be sooner.
   *
   * @returns `null` when it is not.
   */
  whenTurned(sizeBytes: number, maxBytes: number): Promise<void> | null {
    const isResting = this.#system.now() < this.#restUntilMs
    if (sizeBytes > maxBytes || isResting || this.#turnStartMs === null) return null
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
    })
  }

  /**
   * What work that needs no call has to wait for before it goes on: a loop over what is in memory
   * would never let the event loop turn, however often it awaits.
   *
   * @returns `null` while there is nothing to wait for.
   */
  turnIfDue(): Promise<void> | null {
    if (this.#isInTime(this.#system.now())) return null
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
    })
  }

  #hasTimeAt(nowMs: number): boolean {
    return nowMs >= this.#restUntilMs && this.#isInTime(nowMs)
  }

  /** Whether this turn has not been drawn out for too long. */
  #isInTime(nowMs: number): boolean {
    if (this.#turnStartMs !== null) return nowMs - this.#turnStartMs <= MAX_TURN_MS
    this.#turnStartMs = nowMs
    this.#system.nextTurn(this.#endTurn)
    return true
  }

  #timed<T>(startMs: number, call: () => T): T {
    try {
      return call()
    } finally {
      // A disk that fails may take seconds to say so.
      const endMs = this.#system.now()
      if (endMs - startMs > SLOW_MS) this.#rest(endMs)
    }
  }

  #rest(nowMs: number): void {
    const isRelapse = nowMs - this.#restUntilMs < RELAPSE_MS
    this.#restMs = isRelapse ? Math.min(2 * this.#restMs, LONGEST_REST_MS) : FIRST_REST_MS
    this.#restUntilMs = nowMs + this.#restMs
  }
}

/** One for the process: what it bounds is the time that the event loop has to wait. */
export const promptIo: PromptIo = new PromptIo()
