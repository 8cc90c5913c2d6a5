import { stat as statWithCallback } from 'node:fs'
import type { Clock, Timer } from './clock.ts'
import { loadProperLockfile } from './foreign-modules.ts'
import { isSystemError, systemError } from './system-error.ts'

/** The lock file that is kept fresh. */
export interface BeatingLock {
  readonly directory: string
  readonly path: string
  readonly clock: Clock
  readonly staleAfterMs: number
  readonly heartbeatMs: number
  /** Why the file is not ours any more, `null` while it is. @throws a system error when that cannot be told. */
  lossReason(): Promise<string | null>
  /** Sets the times of our file, whatever has its name by now. */
  touch(accessed: Date, modified: Date): Promise<void>
  /** Removes our file where it still has its name. */
  removeSync(): void
  /** Called when heartbeats have failed for good. */
  readonly onCompromised: (error: Error) => void
}

/**
 * The heartbeats of a lock file that has been taken, made by proper-lockfile. It believes to create
 * the lock itself, as a directory; what it creates is there, and what it removes it has to leave.
 *
 * The package is loaded when the first heartbeat is due, some seconds after the lock was taken: whoever
 * opens a directory need not wait for that, and many a process is done by then.
 */
export class LockHeartbeats {
  readonly #lock: BeatingLock
  readonly #startMs: number
  #timer: Timer | null = null
  #beginning: Promise<void> | null = null
  #end: (() => Promise<void>) | null = null
  #isOver = false

  constructor(lock: BeatingLock) {
    this.#lock = lock
    this.#startMs = lock.clock.now()
    this.#startTimer()
  }

  /** Makes proper-lockfile forget the lock; the removal that it tries is refused. */
  async end(): Promise<void> {
    this.#isOver = true
    this.#timer?.cancel()
    await this.#beginning
    try {
      await this.#end?.()
    } catch (error) {
      if (!isSystemError(error, 'ELOCKED', 'ERELEASED', 'ENOTACQUIRED')) throw error
    }
  }

  #startTimer(): void {
    const { clock, heartbeatMs } = this.#lock
    const begin = (): void => {
      this.#beginning = this.#begin()
    }
    this.#timer = clock.startTimer(begin, heartbeatMs, { background: true })
  }

  async #begin(): Promise<void> {
    const { clock, staleAfterMs, onCompromised } = this.#lock
    try {
      const reason = await this.#lock.lossReason()
      if (reason !== null) onCompromised(new Error(reason))
      else this.#end = await this.#hand()
    } catch (error) {
      // It may be a passing fault, until others may take the lock for stale.
      if (this.#isOver) return
      if (clock.now() - this.#startMs < staleAfterMs) this.#startTimer()
      else onCompromised(error instanceof Error ? error : new Error(String(error)))
    }
  }

  /** Hands the lock to proper-lockfile. @returns what makes it forget the lock. */
  async #hand(): Promise<() => Promise<void>> {
    const { directory, path, staleAfterMs, heartbeatMs, onCompromised } = this.#lock
    const { lock } = await loadProperLockfile()
    return lock(directory, {
      lockfilePath: path,
      realpath: false,
      stale: staleAfterMs,
      update: heartbeatMs,
      retries: 0,
      onCompromised,
      // A new object for every lock: the precision of time stamps is remembered in it, and two
      // directories may lie on file systems that differ in that.
      fs: {
        mkdir: (_path: string, done: Callback) => {
          done(null)
        },
        rmdir: (_path: string, done: Callback) => {
          done(systemError('ELOCKED', 'rmdir', path, 'held by its owner'))
        },
        rmdirSync: () => {
          this.#lock.removeSync()
        },
        utimes: (_path: string, accessed: Date, modified: Date, done: Callback) => {
          settle(this.#touch(accessed, modified), done)
        },
        stat: statWithCallback,
      },
    })
  }

  async #touch(accessed: Date, modified: Date): Promise<void> {
    if (this.#isOver) throw systemError('ENOENT', 'utimes', this.#lock.path, 'released')
    await this.#lock.touch(accessed, modified)
  }
}

type Callback = (error: unknown) => void

function settle(work: Promise<void>, done: Callback): void {
  work.then(() => {
    done(null)
  }, done)
}
