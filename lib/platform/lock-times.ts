/**
 * How long a lock file stays valid after its last heartbeat if nothing proves its owner dead. Not
 * an option, because all processes have to agree on it. It is long, because a busy or suspended
 * process misses heartbeats too.
 */
export const STALE_AFTER_MS = 30_000

/** Time between two heartbeats. */
export const HEARTBEAT_MS = 5_000

/** The times of a lock. If a holder and a taker use different ones, both may win. */
export interface LockTimes {
  readonly staleAfterMs: number
  readonly heartbeatMs: number
  /**
   * How long the taker of a stale lock waits before it writes. The owner may be alive, because it
   * was suspended or the clock jumped, and relies on its last check of the lock for a while.
   */
  readonly graceMs: number
}

/** The times of every lock outside specs. */
export const LOCK_TIMES: LockTimes = {
  staleAfterMs: STALE_AFTER_MS,
  heartbeatMs: HEARTBEAT_MS,
  graceMs: 2_000,
}
