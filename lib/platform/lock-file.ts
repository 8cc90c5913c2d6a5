import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  lstatSync,
  openSync,
  readSync,
  unlinkSync,
} from 'node:fs'
import { join } from 'node:path'
import { errorOf } from '../checks.ts'
import { LockJudge, type LockJudgeOptions } from './lock-judge.ts'
import { decodeOwnerRecord, encodeOwnerRecord, type OwnerRecord } from './lock-owner.ts'
import { recordPath, writeIfRoom } from './lock-record.ts'
import {
  identityOf,
  isCreated,
  namesAnother,
  readLockFile,
  removeLeftovers,
  replaceAbandoned,
  unlinkIfPresent,
} from './lock-takeover.ts'
import { touchLock, touchLockAt } from './lock-touch.ts'
import { CAUTIOUS_OPEN_FLAGS } from './open-flags.ts'
import { pause } from './pause.ts'
import { lockProperly } from './proper-lock.ts'
import { isSystemError, systemError } from './system-error.ts'
import { whileBusy } from './windows-names.ts'

/** Name of the file that names a locked directory's owner. It exists while the lock is held. */
export const LOCK_FILE_NAME = '.varve.lock'

/** What the taker of a lock file provides. */
export interface LockFileOptions extends LockJudgeOptions {
  readonly directory: string
  /** The taker's record. */
  readonly record: OwnerRecord
  /** Called when a heartbeat fails for good. */
  readonly onCompromised: (error: Error) => void
}

/**
 * The lock for what a guard does not reach: other hosts, containers and operating systems.
 *
 * proper-lockfile makes the heartbeats that renew the modification time. Loading it takes as long
 * as the rest of an open, so it is loaded when the first heartbeat is due, and takes over the lock
 * then. The lock is taken here, which differs from proper-lockfile in three ways:
 *
 * - It is not an empty directory but a file with the owner's record, which gets its name once
 *   complete. So no lock exists without a known owner, and no directory where Kafka expects none.
 * - A lock that looks stale is only replaced if it is still the one that was examined. Otherwise
 *   the second of two waiters removes what the first has just created, and both win. It is replaced
 *   in one step. Otherwise a third taker sees no lock, and wins without waiting for the owner's
 *   last write.
 * - A late heartbeat, a late release and an exit never touch the lock of the next owner.
 *
 * `release` must not overlap with itself; everything else may overlap.
 */
export class LockFile {
  readonly #path: string
  /** Path of the record until the lock is taken, or while it is held if the name is the record. */
  #temporaryPath: string
  readonly #options: LockFileOptions
  /**
   * Descriptor of the lock while it is held. It keeps the inode number from being reused, so the
   * number alone tells whether the name still means this file.
   */
  #fd: number | null = null
  #identity = ''
  #unlock: (() => Promise<void>) | null = null
  #handover: Promise<void> | null = null
  /** Why proper-lockfile gave up the lock although it is ours. From then on it is renewed here. */
  #alarm: Error | null = null
  /** When the lock was last renewed, or its taking began; monotonic. */
  #renewedMs: number
  #released = false
  #isPutByOther = false
  readonly #judge: LockJudge
  /** The record; empty if the disk had no room for it. */
  #content: Buffer

  private constructor(options: LockFileOptions) {
    this.#path = join(options.directory, LOCK_FILE_NAME)
    this.#temporaryPath = recordPath(this.#path, options.record)
    this.#options = options
    this.#judge = new LockJudge(this.#path, options)
    this.#content = encodeOwnerRecord(options.record)
    this.#renewedMs = options.clock.monotonic()
  }

  /**
   * Takes the lock file of a directory, from a dead or stale owner if necessary.
   *
   * @returns `null` if another owner has it.
   */
  static async take(options: LockFileOptions): Promise<LockFile | null> {
    const lockFile = new LockFile(options)
    const written = await writeIfRoom(lockFile.#path, options.record)
    lockFile.#temporaryPath = written.path
    lockFile.#content = written.content
    let isTaken = false
    try {
      isTaken = await lockFile.#lock()
      if (isTaken && lockFile.#mayOtherLive) isTaken = await lockFile.#waitForOther()
      if (!isTaken || written.content.length > 0) await unlinkIfPresent(written.path)
      if (isTaken) await removeLeftovers(lockFile.#path, lockFile.#judge.isAbandoned, written.path)
    } catch (error) {
      // It may have replaced a living owner's lock: a taker that finds none would not wait for it.
      if (!isTaken && lockFile.#mayOtherLive) await lockFile.#waitForOther().catch(() => false)
      // The first error tells what is wrong.
      await lockFile.release().catch(() => undefined)
      await unlinkIfPresent(lockFile.#temporaryPath).catch(() => undefined)
      throw error
    }
    if (isTaken) return lockFile
    await lockFile.release()
    return null
  }

  /**
   * Checks whether the lock is still ours. Needs no further descriptor and no thread of the pool,
   * which the application may use up.
   *
   * @returns the reason if it is not, otherwise `null`.
   * @throws a system error when that cannot be determined.
   */
  lossReasonSync(): string | null {
    try {
      const stats = lstatSync(this.#path, { bigint: true })
      if (identityOf(stats) !== this.#identity) return TAKEN_OVER
      // An empty buffer cannot be read into.
      const bytes = Buffer.alloc(Math.max(1, this.#content.length))
      const size = this.#fd === null ? 0 : readSync(this.#fd, bytes, { position: 0 })
      return this.#isOurs(bytes.subarray(0, size)) ? null : TAKEN_OVER
    } catch (error) {
      if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return REMOVED
      throw error
    }
  }

  /**
   * Makes the first heartbeat and leaves the others to proper-lockfile. To be called when each
   * heartbeat is due. The lock is renewed here if there are no descriptors to load proper-lockfile,
   * after a false alarm, and if its timers or the thread pool are held up. Never rejects.
   */
  async startHeartbeats(): Promise<void> {
    if (this.#released) return
    if (this.#alarm !== null) {
      this.#renewOrTell(this.#alarm)
      return
    }
    if (this.#unlock !== null || this.#handover !== null) {
      this.#renewIfOverdue()
      return
    }
    this.#handover = this.#lockProperly()
    try {
      await this.#handover
    } catch (error) {
      this.#renewOrTell(errorOf(error))
    } finally {
      this.#handover = null
    }
  }

  /**
   * Called when proper-lockfile believes that the lock is lost, and stops its heartbeats. It only
   * looks at the modification time, which anybody may change, and which some file systems keep to
   * two seconds. The owner is identified by the token and the inode.
   */
  #takeBack(error: Error): void {
    if (this.#released) return
    this.#alarm = error
    this.#renewOrTell(error)
  }

  /** Makes a heartbeat itself. Reports `error` once others may consider the lock stale. */
  #renewOrTell(error: Error): void {
    const { clock, times, onCompromised } = this.#options
    try {
      if (this.#renewNow()) return
    } catch {
      // It may be a transient fault, and the next heartbeat is made in any case.
    }
    if (clock.monotonic() - this.#renewedMs > times.staleAfterMs) onCompromised(error)
  }

  /** proper-lockfile then finds an unexpected time and gives up, see {@link LockFile.#takeBack}. */
  #renewIfOverdue(): void {
    const { clock, times } = this.#options
    if (clock.monotonic() - this.#renewedMs <= 2 * times.heartbeatMs) return
    this.#renewOrTell(new Error('its heartbeats are overdue'))
  }

  /** A heartbeat without a new descriptor. @returns false if the lock is no longer ours */
  #renewNow(): boolean {
    if (this.#fd === null || this.lossReasonSync() !== null) return false
    touchLock(this.#fd, this.#options.clock)
    this.#renewedMs = this.#options.clock.monotonic()
    return true
  }

  /** Ends the heartbeats, and removes the file unless it belongs to another owner by now. */
  async release(): Promise<void> {
    this.#released = true
    try {
      await this.#endHeartbeats()
      await whileBusy(this.#removeOurs)
      if (this.#content.length === 0) await unlinkIfPresent(this.#temporaryPath)
    } finally {
      const fd = this.#fd
      this.#fd = null
      if (fd !== null) closeSync(fd)
    }
  }

  /** Makes proper-lockfile forget the lock; its attempt to remove the lock is refused. */
  async #endHeartbeats(): Promise<void> {
    try {
      await this.#handover?.catch(() => undefined)
      await this.#unlock?.()
    } catch (error) {
      if (!isSystemError(error, 'ELOCKED', 'ERELEASED', 'ENOTACQUIRED')) throw error
    }
  }

  async #lock(): Promise<boolean> {
    try {
      const isInPlace =
        (await replaceAbandoned(this.#path, this.#temporaryPath, this.#judge.isLockAbandoned)) ||
        (await isCreated(this.#path, this.#temporaryPath)) ||
        this.#isPutInPlace()
      return isInPlace && this.#confirmTaken()
    } catch (error) {
      // A taker that is suspended too long is taken for dead, and the holder removes its record.
      if (isSystemError(error, 'ENOENT') && existsSync(this.#options.directory)) return false
      throw error
    }
  }

  /**
   * Whether another taker, late, has renamed our claim to the lock because it took it for its own.
   * The lock that it replaced may belong to a living owner.
   */
  #isPutInPlace(): boolean {
    const isOurs = readLockFile(this.#path)?.record?.token === this.#options.record.token
    if (isOurs) this.#isPutByOther = true
    return isOurs
  }

  get #mayOtherLive(): boolean {
    return this.#isPutByOther || this.#judge.mayOwnerLive
  }

  /** Hands our lock over to proper-lockfile. */
  async #lockProperly(): Promise<void> {
    this.#unlock = await lockProperly({
      path: this.#path,
      directory: this.#options.directory,
      times: this.#options.times,
      create: (path) => {
        this.#create(path)
      },
      touch: (path, modified) => {
        this.#touch(path, modified)
      },
      remove: () => this.#remove(),
      removeNow: () => {
        this.#removeOurs()
      },
      onCompromised: (error) => {
        this.#takeBack(error)
      },
    })
  }

  #confirmTaken(): boolean {
    const fd = openSync(this.#path, constants.O_RDWR | CAUTIOUS_OPEN_FLAGS)
    this.#fd = fd
    const stats = fstatSync(fd, { bigint: true })
    const isEmpty = this.#content.length === 0
    if (isEmpty && namesAnother(this.#path, stats.ino, this.#options.record)) return false
    this.#identity = identityOf(stats)
    // A heartbeat in the file of another owner would cost that owner its lock.
    if (this.lossReasonSync() !== null) return false
    touchLock(fd, this.#options.clock)
    return this.lossReasonSync() === null
  }

  /** @returns whether the lock is still ours after the time in which another owner may write. */
  async #waitForOther(): Promise<boolean> {
    const { clock, times } = this.#options
    if (times.graceMs > 0) await pause(clock, times.graceMs)
    // Nothing has renewed it meanwhile.
    return this.#renewNow()
  }

  /** The whole content tells as much as its token, without being decoded. */
  #isOurs(bytes: Buffer): boolean {
    if (bytes.equals(this.#content)) return true
    return decodeOwnerRecord(bytes)?.token === this.#options.record.token
  }

  /** Called by proper-lockfile to create a directory. Our own lock is already there. */
  #create(path: string): void {
    const reason = this.lossReasonSync()
    if (reason !== null) throw systemError('ENOENT', 'mkdir', path, reason)
  }

  /**
   * A heartbeat of our file, whatever has its name by now. Synchronous, because a delayed thread of
   * the pool would set an outdated time.
   */
  #touch(path: string, modified: Date): void {
    const { clock, times } = this.#options
    if (this.#released) throw systemError('ENOENT', 'utimes', path, 'released')
    if (this.#fd === null) return
    touchLockAt(this.#fd, modified, { clock, mostMs: times.heartbeatMs })
    this.#renewedMs = clock.monotonic()
  }

  /** Called by proper-lockfile to remove a directory. Only a release removes the lock. */
  #remove(): never {
    throw systemError('ELOCKED', 'rmdir', this.#path, 'held by its owner')
  }

  /** Whether the lock's name refers to the file of our record, if it could not be opened. */
  #isPlaced(): boolean {
    const look = (path: string) => lstatSync(path, { bigint: true, throwIfNoEntry: false })
    const [lock, record] = [look(this.#path), look(this.#temporaryPath)]
    return lock !== undefined && record !== undefined && identityOf(lock) === identityOf(record)
  }

  /** Checks and removes in one go: after a wait, the removed file could be the next owner's. */
  readonly #removeOurs = (): void => {
    if (this.#fd === null ? !this.#isPlaced() : this.lossReasonSync() !== null) return
    try {
      unlinkSync(this.#path)
    } catch (error) {
      // Suspended after the check, this process was taken for dead: the lock is no longer ours.
      if (!isSystemError(error, 'ENOENT')) throw error
    }
  }
}

const TAKEN_OVER = 'another owner has taken it over'
const REMOVED = 'its lock file was removed'
