import type { Clock, Timer } from '../platform/clock.ts'
import type { Log } from '../storage/log.ts'
import { flushTimed } from './slow-sync.ts'

/**
 * After this many bytes the recovery point is saved, if it can move, so that opening after a crash
 * stays fast.
 */
const CHECKPOINT_BYTES = 32 * 1024 * 1024

/** Shortest pause before a failed flush is tried again, to spare a disk that keeps failing. */
const MIN_FLUSH_AGAIN_MS = 1_000

/** Maintenance of one log that its appends make necessary. */
export class LogUpkeep {
  readonly #clock: Clock
  readonly #log: Log
  #flushTimer: Timer | null = null
  /** Due time by the monotonic clock. */
  #flushDueMs = Infinity
  #isSaving = false
  #isStopped = false

  constructor(clock: Clock, log: Log) {
    this.#clock = clock
    this.#log = log
  }

  /** Called after the limits have changed: earlier appends have to become durable in time, too. */
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

  /** Stops for good. */
  stop(): void {
    this.#isStopped = true
    this.#flushTimer?.cancel()
  }

  /** On a relaxed topic, syncs by time what is not synced by count. */
  #flushInTime(leastMs = 0): void {
    const { flushMessages, flushMs } = this.#log.config
    if (flushMessages === 1 || flushMs === Number.MAX_SAFE_INTEGER || this.#isStopped) return
    const delayMs = Math.max(flushMs, leastMs)
    const dueMs = this.#clock.monotonic() + delayMs
    if (dueMs >= this.#flushDueMs) return
    // The limit may have been lowered since the timer was started.
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
   * After a failure that leaves the disk in doubt the log takes no more writes, and the next append
   * reports it. After any other failure nothing was synced, and there may be no append that would
   * try again.
   */
  #flush(): void {
    flushTimed(this.#clock, this.#log)?.catch(() => {
      const { isWritable, durableEndOffset, logEndOffset } = this.#log
      if (isWritable && durableEndOffset < logEndOffset) this.#flushInTime(MIN_FLUSH_AGAIN_MS)
    })
  }

  #saveRecoveryPoint(): void {
    if (this.#isSaving || this.#log.bytesSinceCheckpoint < CHECKPOINT_BYTES) return
    const { durableEndOffset, state } = this.#log
    // In a bulk load of a relaxed topic nothing more becomes durable for long: the next open after
    // a crash would check it all, and drop the index entries that a checkpoint had written.
    if (durableEndOffset <= state.recoveryPoint) return
    this.#isSaving = true
    // The recovery point is a lower bound: if it cannot be saved, the next open checks more.
    const done = (): void => {
      this.#isSaving = false
    }
    this.#log.checkpoint().then(done, done)
  }
}
