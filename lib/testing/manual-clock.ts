import type { Clock, Timer } from '../platform/clock.ts'
import { nextTurn } from '../platform/event-loop.ts'
import { promptIo } from '../platform/prompt-io.ts'

/** Turns of the event loop granted around a firing. One turn runs a promise chain of any length. */
const SETTLE_TURNS = 4
/**
 * So many more are granted in one advance while work waits for its share of a turn, which is more of it
 * the slower the machine is. A loop that goes on for ever waits for ever, a millisecond each time.
 */
const MOST_AWAITED_TURNS = 200
/** A longer chain of timers at one time, each started when the one before has fired, is one that restarts itself. */
const MAX_RESTARTS_AT_ONCE = 10_000
/** The same for chains that part, which may grow without becoming long. */
const MAX_RESTARTED_AT_ONCE = 30_000
/** 2024-01-01T00:00:00Z: recent enough for timestamps to look real in a failing test. */
const DEFAULT_NOW_MS = 1_704_067_200_000

interface PendingTimer {
  readonly dueMs: number
  /** How many timers have fired one after the other for it to be started, all of them when it falls due. */
  readonly restarts: number
  readonly callback: () => void
}

/**
 * Time that passes only when a test says so.
 *
 * Nothing fires by itself: timers run inside {@link ManualClock.advance}. Only one `advance` may
 * be running; every other call may be made at any time, also from a timer's callback.
 */
export class ManualClock implements Clock {
  #monotonicMs = 0
  #wallOffsetMs: number
  /** In order of firing: by due time, and by start among equals. */
  readonly #timers: PendingTimer[] = []
  #advancing = false
  /** How many restarts a timer has behind it that is due at once. */
  #restarts = 0
  /** Timers that have fired at this time and were started by others that have. */
  #restartedCount = 0
  /** How many are left of {@link MOST_AWAITED_TURNS}. */
  #awaitedTurns = 0

  /** @param nowMs wall clock at the start, milliseconds since the epoch */
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

  /** Timers that were started and have neither fired nor been cancelled: 0 when nothing leaks. */
  get pendingTimers(): number {
    return this.#timers.length
  }

  startTimer(callback: () => void, delayMs: number): Timer {
    // A delay that is negative or not a number is due at once, as with the timers of Node.js.
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

  /** Moves the wall clock alone, forward or back; timers and {@link ManualClock.monotonic} stay. */
  setTime(nowMs: number): void {
    requireFinite('nowMs', nowMs)
    this.#wallOffsetMs = nowMs - this.#monotonicMs
  }

  /**
   * Lets `ms` milliseconds pass and fires what falls due in them, in order of time, each timer at
   * its own time. A timer that a callback starts fires too when it falls due by then.
   *
   * Before the first firing and after each one the event loop turns four times (`setImmediate`), and
   * again as long as work of the library waits for the next turn, having drawn out one for long enough.
   * All promise chains that need no real I/O run to their end in that; work on a real disk does
   * not, and has to be awaited by its own promise. A loop that never ends is given up to 200 turns.
   *
   * @param ms at least 0; with 0 only what is due already fires
   * @throws what a timer's callback throws: the clock then stands at that timer's time
   */
  async advance(ms: number): Promise<void> {
    requireFinite('ms', ms)
    if (ms < 0) {
      throw new RangeError(`ms must be at least 0, got ${ms}: time does not go back`)
    }
    if (this.#advancing) {
      throw new Error('advance() is running already: await it before the next call')
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
        throw new Error(`a timer restarts itself without delay, ${count} times at one time`)
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
