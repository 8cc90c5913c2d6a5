import { stat } from 'node:fs'
import { loadProperLockfile } from './foreign-modules.ts'
import type { LockTimes } from './lock-times.ts'

/** What stands for the calls by which proper-lockfile makes, renews and removes a directory. */
export interface ProperLock {
  /** Of the lock itself. */
  readonly path: string
  /** What is locked by it. */
  readonly directory: string
  readonly times: LockTimes
  /** Throws where the lock is not its owner's any more. */
  readonly create: (path: string) => void
  readonly touch: (path: string, modified: Date) => void
  readonly remove: () => void
  readonly removeNow: () => void
  /** Called when a heartbeat fails for good, or finds another time than that of the one before. */
  readonly onCompromised: (error: Error) => void
}

/**
 * Has proper-lockfile take a lock, which its owner has already, and renew it.
 *
 * @returns what ends that.
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
    // A new object for every lock: the precision of time stamps is remembered in it, and two
    // directories may lie on file systems that differ in that.
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

/** Never calls back inside of the call, as no file system does. */
function settle(work: () => void, done: Callback): void {
  Promise.resolve()
    .then(work)
    .then(() => {
      done(null)
    }, done)
}
