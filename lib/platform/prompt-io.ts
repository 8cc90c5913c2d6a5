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

/** For so long after a slow call others are not tried. */
const REST_MS = 50

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
 * for 50 ms.
 *
 * The same goes for the names and sizes of files, and for opening them to be read: an open of a log
 * asks for dozens of them. Nothing of that is for syncs, nor for what makes or removes a name: those
 * wait for the disk by their nature, or for its journal.
 */
export class PromptIo {
  readonly #system: PromptIoSystem
  /** When the first call of this turn was made; `null` before it. */
  #turnStartMs: number | null = null
  #restUntilMs = -Infinity
  readonly #endTurn = (): void => {
    this.#turnStartMs = null
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
    if (!this.#hasTime(startMs)) return -1
    const moved = call()
    this.#noteEnd(startMs)
    return moved
  }

  /**
   * The same for a call that moves no bytes: one that opens a file for reading, or asks for its size.
   *
   * @param call may decline as well.
   * @returns `undefined` when it was not made.
   */
  attempt<T>(call: () => T | undefined): T | undefined {
    const startMs = this.#system.now()
    if (!this.#hasTime(startMs)) return undefined
    const result = call()
    this.#noteEnd(startMs)
    return result
  }

  #hasTime(nowMs: number): boolean {
    if (nowMs < this.#restUntilMs) return false
    if (this.#turnStartMs !== null) return nowMs - this.#turnStartMs <= MAX_TURN_MS
    this.#turnStartMs = nowMs
    this.#system.nextTurn(this.#endTurn)
    return true
  }

  #noteEnd(startMs: number): void {
    const endMs = this.#system.now()
    if (endMs - startMs > SLOW_MS) this.#restUntilMs = endMs + REST_MS
  }
}

/** One for the process: what it bounds is the time that the event loop has to wait. */
export const promptIo: PromptIo = new PromptIo()
