import { futimesSync } from 'node:fs'
import type { Clock } from './clock.ts'

/** Sets the time of our clock: a file server's may be wrong, and others judge by their own. */
export function touchLock(fd: number, clock: Pick<Clock, 'now'>): void {
  const seconds = clock.now() / 1000
  futimesSync(fd, seconds, seconds)
}

/**
 * A heartbeat with a time that proper-lockfile took from the process's `Date`. A test may have set
 * that, and those who judge the heartbeat use another clock.
 *
 * @param mostMs how far `modified` may be from the time of `clock`, which is used otherwise
 */
export function touchLockAt(
  fd: number,
  modified: Date,
  { clock, mostMs }: { readonly clock: Pick<Clock, 'now'>; readonly mostMs: number },
): void {
  if (Math.abs(modified.getTime() - clock.now()) <= mostMs) futimesSync(fd, modified, modified)
  else touchLock(fd, clock)
}
