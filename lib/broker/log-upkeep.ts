import type { Clock, Timer } from '../platform/clock.ts'
import type { Log } from '../storage/log.ts'
import { flushTimed } from './slow-sync.ts'

/** After this many bytes the recovery point is saved, so that opening after a crash stays quick. */
const CHECKPOINT_BYTES = 32 * 1024 * 1024

/** A flush that has failed is tried again no sooner, so that a disk that goes on failing is left in peace. */
const MIN_FLUSH_AGAIN_MS = 1_000

/** What has to be done for a log now and then because of what was appended to it. */
export class LogUpkeep {
  readonly #clock: Clock
  readonly #log: Log
  #flushTimer: Timer | null = null
  /** When it is due, by the monotonic clock. */
  #flushDueMs = Infinity
  #isSaving = false
  #isStopped = false

  constructor(clock: Clock, log: Log) {
    this.#clock = clock
    this.#log = log
  }

  /** Called when the limits have changed: what was appended before has to be durable in time too. */
  afterAlter(): void {
    const { durableEndOffset, logEndOffset, config } = this.#log
    const count = logEndOffset - durableEndOffset
    if (count === 0) return
    if (count >= config.flushMessages) this.#flush()
    else this.#flushInTime()
  }

  /** Called after each write. */
  afterWrite(): void {
    this.#flushInTime()
    this.#saveRecoveryPoint()
  }

  /** Ends it for good. */
  stop(): void {
    this.#isStopped = true
    this.#flushTimer?.cancel()
  }

  /** On a relaxed topic, what is not synced by count is synced by time. */
  #flushInTime(leastMs = 0): void {
    const { flushMessages, flushMs } = this.#log.config
    if (flushMessages === 1 || flushMs === Number.MAX_SAFE_INTEGER || this.#isStopped) return
    const delayMs = Math.max(flushMs, leastMs)
    const dueMs = this.#clock.monotonic() + delayMs
    if (dueMs >= this.#flushDueMs) return
    // The limit may have been lowered since it was begun.
    this.#flushTimer?.cancel()
    this.#flushDueMs = dueMs
    this.#flushTimer = this.#clock.startTimer(
      () => {
        this.#flushTimer = null
        this.#flushDueMs = Infinity
        if (!this.#isStopped) this.#flush()
      },
      delayMs,
      { background: true },
    )
  }

  /**
   * A failure that leaves the disk in doubt shows in the next append: the log takes no more writes.
   * After any other nothing was synced, and there need be no append that would try again.
   */
  #flush(): void {
    flushTimed(this.#clock, this.#log)?.catch(() => {
      const { isWritable, durableEndOffset, logEndOffset } = this.#log
      if (isWritable && durableEndOffset < logEndOffset) this.#flushInTime(MIN_FLUSH_AGAIN_MS)
    })
  }

  #saveRecoveryPoint(): void {
    if (this.#isSaving || this.#log.bytesSinceCheckpoint < CHECKPOINT_BYTES) return
    this.#isSaving = true
    // It is a lower bound: where it cannot be saved, the next open looks at more.
    const done = (): void => {
      this.#isSaving = false
    }
    this.#log.checkpoint().then(done, done)
  }
}
