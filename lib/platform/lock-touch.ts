import { futimesSync } from 'node:fs'
import type { Clock } from './clock.ts'

/** A file server's clock may go wrong, and those who judge a heartbeat go by their own. */
export function touchLock(fd: number, clock: Pick<Clock, 'now'>): void {
  const seconds = clock.now() / 1000
  futimesSync(fd, seconds, seconds)
}

/**
 * A heartbeat with a time that others have taken from the date of the process. A test may have set that, and
 * those who judge the heartbeat do not go by it.
 *
 * @param mostMs how far it may be from the time of the clock, which counts otherwise
 */
export function touchLockAt(
  fd: number,
  modified: Date,
  { clock, mostMs }: { readonly clock: Pick<Clock, 'now'>; readonly mostMs: number },
): void {
  if (Math.abs(modified.getTime() - clock.now()) <= mostMs) futimesSync(fd, modified, modified)
  else touchLock(fd, clock)
}
