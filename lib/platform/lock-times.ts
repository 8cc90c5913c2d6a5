/**
 * How long a lock file stays valid after its last heartbeat, where nothing proves its owner dead.
 * All processes have to agree on it, so it is no option. It is long, because a busy or suspended
 * process misses heartbeats too.
 */
export const STALE_AFTER_MS = 30_000

/** Time from one heartbeat to the next. */
export const HEARTBEAT_MS = 5_000

/** The times of a lock. A holder and a taker that differ in them both win. */
export interface LockTimes {
  readonly staleAfterMs: number
  readonly heartbeatMs: number
  /**
   * How long the taker of a stale lock waits before it writes. Its owner may live, be it that it was
   * suspended or that the clock has jumped, and takes a look at the lock for granted for a while.
   */
  readonly graceMs: number
}

/** The times of every lock outside of specs. */
export const LOCK_TIMES: LockTimes = {
  staleAfterMs: STALE_AFTER_MS,
  heartbeatMs: HEARTBEAT_MS,
  graceMs: 2_000,
}
