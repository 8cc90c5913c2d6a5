import type { Clock, Timer } from '../platform/clock.ts'
import { nextTurn } from '../platform/event-loop.ts'
import { promptIo } from '../platform/prompt-io.ts'

/** Event loop turns granted around each timer. One turn runs a promise chain of any length. */
const SETTLE_TURNS = 4
/**
 * Maximum number of further turns in one advance, granted while work waits for the next turn
 * because it has used up its time slice. The slower the machine, the more work waits. The limit
 * ends the wait for an endless loop, which would wait for a millisecond again and again.
 */
const MOST_AWAITED_TURNS = 200
/**
 * Maximum length of a chain of timers at one time, each started by the one before. A longer chain
 * counts as a timer that restarts itself.
 */
const MAX_RESTARTS_AT_ONCE = 10_000
/** The same limit for branching chains in total, which may grow without becoming long. */
const MAX_RESTARTED_AT_ONCE = 30_000
/** 2024-01-01T00:00:00Z: recent enough for timestamps to look real in a failing test. */
const DEFAULT_NOW_MS = 1_704_067_200_000

interface PendingTimer {
  readonly dueMs: number
  /** Length of the chain of timers that led to this one, all of them due at the same time as it. */
  readonly restarts: number
  readonly callback: () => void
}

/**
 * A clock whose time passes only when a test advances it.
 *
 * Timers fire only within {@link ManualClock.advance}. Only one `advance` may run at a time. All
 * other methods may be called at any time, also from a timer's callback.
 */
export class ManualClock implements Clock {
  #monotonicMs = 0
  #wallOffsetMs: number
  /** In firing order: by due time, and by start for the same due time. */
  readonly #timers: PendingTimer[] = []
  #advancing = false
  /** Chain length of a timer that is started now and due at once. */
  #restarts = 0
  /** Timers that have fired at the current time and were started by others that did. */
  #restartedCount = 0
  /** Remaining turns of {@link MOST_AWAITED_TURNS}. */
  #awaitedTurns = 0

  /** @param nowMs initial wall-clock time, milliseconds since the epoch */
  constructor(nowMs: number = DEFAULT_NOW_MS) {
    requireFinite('nowMs', nowMs)
    this.#wallOffsetMs = nowMs
  }

  now(): number {
    return Math.floor(this.#wallOffsetMs + this.#monotonicMs)
  }

  monotonic(): number {
    return this.#monotonicMs
  }

  /** Timers that were started and have neither fired nor been cancelled: 0 if nothing leaks. */
  get pendingTimers(): number {
    return this.#timers.length
  }

  startTimer(callback: () => void, delayMs: number): Timer {
    // A delay that is negative or not a number is due at once, as with Node.js timers.
    const dueMs = this.#monotonicMs + (delayMs > 0 ? delayMs : 0)
    const restarts = dueMs > this.#monotonicMs ? 0 : this.#restarts
    const timer = { dueMs, restarts, callback }
    let slot = this.#timers.length
    while (slot > 0 && (this.#timers[slot - 1]?.dueMs ?? 0) > timer.dueMs) {
      slot -= 1
    }
    this.#timers.splice(slot, 0, timer)
    return {
      cancel: () => {
        const at = this.#timers.indexOf(timer)
        if (at >= 0) {
          this.#timers.splice(at, 1)
        }
      },
    }
  }

  /** Moves only the wall clock, forward or back. Timers and {@link ManualClock.monotonic} stay. */
  setTime(nowMs: number): void {
    requireFinite('nowMs', nowMs)
    this.#wallOffsetMs = nowMs - this.#monotonicMs
  }

  /**
   * Lets `ms` milliseconds pass and fires the timers that fall due, in order of time, each at its
   * own due time. Timers that a callback starts fire too if they fall due within that time.
   *
   * Before the first timer and after each one the event loop turns four times (`setImmediate`). It
   * turns again while work of the library waits for the next turn because it has used up its time
   * slice. All promise chains without real I/O complete in these turns. Work on a real disk does
   * not, nor does compression with gzip or Node.js' own zstd, so await its own promise. An endless
   * loop gets at most 200 further turns.
   *
   * @param ms at least 0; with 0 only timers that are already due fire
   * @throws the error of a timer's callback; the clock then stays at that timer's due time
   */
  async advance(ms: number): Promise<void> {
    requireFinite('ms', ms)
    if (ms < 0) {
      throw new RangeError(`ms must be at least 0, got ${ms}: time does not go back`)
    }
    if (this.#advancing) {
      throw new Error('advance() is already running: await it before the next call')
    }
    this.#advancing = true
    this.#awaitedTurns = MOST_AWAITED_TURNS
    try {
      const untilMs = this.#monotonicMs + ms
      await this.#settle()
      await this.#fireUntil(untilMs)
      this.#monotonicMs = untilMs
    } finally {
      this.#advancing = false
      this.#restarts = 0
      this.#restartedCount = 0
    }
  }

  async #fireUntil(untilMs: number): Promise<void> {
    for (;;) {
      const timer = this.#timers[0]
      if (timer === undefined || timer.dueMs > untilMs) {
        return
      }
      if (timer.dueMs > this.#monotonicMs) this.#restartedCount = 0
      if (timer.restarts > 0) this.#restartedCount += 1
      const isTooLong = timer.restarts >= MAX_RESTARTS_AT_ONCE
      if (isTooLong || this.#restartedCount > MAX_RESTARTED_AT_ONCE) {
        const count = isTooLong ? MAX_RESTARTS_AT_ONCE : MAX_RESTARTED_AT_ONCE
        throw new Error(`a timer restarts itself without delay: ${count} times at the same time`)
      }
      this.#timers.shift()
      this.#monotonicMs = timer.dueMs
      this.#restarts = timer.restarts + 1
      timer.callback()
      await this.#settle()
    }
  }

  async #settle(): Promise<void> {
    for (let turn = 0; turn < SETTLE_TURNS; turn += 1) {
      await nextTurn()
      if (!promptIo.isAwaited || this.#awaitedTurns === 0) continue
      this.#awaitedTurns -= 1
      turn = -1
    }
  }
}

function requireFinite(name: string, value: number): void {
  if (!Number.isFinite(value)) {
    throw new RangeError(`${name} must be a finite number of milliseconds, got ${value}`)
  }
}
