import { stat } from 'node:fs'
import { loadProperLockfile } from './foreign-modules.ts'
import type { LockTimes } from './lock-times.ts'

/** Replaces the calls with which proper-lockfile creates, renews and removes a directory. */
export interface ProperLock {
  /** Path of the lock itself. */
  readonly path: string
  /** The locked directory. */
  readonly directory: string
  readonly times: LockTimes
  /** Throws if the lock no longer belongs to its owner. */
  readonly create: (path: string) => void
  readonly touch: (path: string, modified: Date) => void
  readonly remove: () => void
  readonly removeNow: () => void
  /** Called when a heartbeat fails for good, or finds a time that the previous one did not set. */
  readonly onCompromised: (error: Error) => void
}

/**
 * Makes proper-lockfile take a lock that its owner already has, and renew it.
 *
 * @returns a function that ends this.
 */
export async function lockProperly(properLock: ProperLock): Promise<() => Promise<void>> {
  const { path, directory, times, create, touch, remove, removeNow, onCompromised } = properLock
  const { lock } = await loadProperLockfile()
  return lock(directory, {
    lockfilePath: path,
    realpath: false,
    stale: times.staleAfterMs,
    update: times.heartbeatMs,
    retries: 0,
    onCompromised,
    // A new object for every lock: proper-lockfile stores the precision of time stamps in it, and
    // two directories may be on file systems that differ in it.
    fs: {
      mkdir: (created: string, done: Callback) => {
        settle(() => {
          create(created)
        }, done)
      },
      rmdir: (_path: string, done: Callback) => {
        settle(remove, done)
      },
      rmdirSync: removeNow,
      utimes: (touched: string, _accessed: Date, modified: Date, done: Callback) => {
        settle(() => {
          touch(touched, modified)
        }, done)
      },
      stat,
    },
  })
}

type Callback = (error: unknown) => void

/** Never calls back synchronously, just as no file system does. */
function settle(work: () => void, done: Callback): void {
  Promise.resolve()
    .then(work)
    .then(() => {
      done(null)
    }, done)
}
