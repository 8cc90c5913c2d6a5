import { constants, existsSync, fstatSync, lstatSync, readSync, unlinkSync } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { errorOf } from '../checks.ts'
import { LockJudge, type LockJudgeOptions } from './lock-judge.ts'
import { decodeOwnerRecord, encodeOwnerRecord, type OwnerRecord } from './lock-owner.ts'
import {
  identityOf,
  isCreated,
  namesAnother,
  readLockFile,
  recordPath,
  removeLeftovers,
  replaceAbandoned,
  unlinkIfPresent,
  writeIfRoom,
} from './lock-takeover.ts'
import { touchLock, touchLockAt } from './lock-touch.ts'
import { CAUTIOUS_OPEN_FLAGS } from './open-flags.ts'
import { pause } from './pause.ts'
import { lockProperly } from './proper-lock.ts'
import { isSystemError, systemError } from './system-error.ts'
import { whileBusy } from './windows-names.ts'

/** Name of the file in a locked directory that names its owner. It exists while the lock is held. */
export const LOCK_FILE_NAME = '.varve.lock'

/** What the taker of a lock file brings along. */
export interface LockFileOptions extends LockJudgeOptions {
  readonly directory: string
  /** Of the taker. */
  readonly record: OwnerRecord
  /** Called when a heartbeat fails for good. */
  readonly onCompromised: (error: Error) => void
}

/**
 * The lock that reaches where a guard does not: other hosts, containers and systems.
 *
 * proper-lockfile makes the heartbeats that renew the modification time. To load it takes as long as the
 * rest of an open, so that is left for when the first of them is due, and the lock is handed over to it
 * then. To take one is done here, in three ways differently:
 *
 * - It is no empty directory but a file with the owner's record, which gets its name only once it is
 *   complete. So there is no moment when a lock exists and its owner is unknown, and no directory where
 *   Kafka expects none.
 * - A lock that looks stale is replaced only if it still is the one that was looked at. Without that
 *   the second of two waiters removes what the first has just created, and both win. It is replaced in
 *   one step: otherwise a third taker wins, who has seen no lock, and waits for nobody's last write.
 * - Neither a late heartbeat, a late release nor an exit touches the lock of the next owner.
 *
 * `release` must not overlap with itself; all else may overlap.
 */
export class LockFile {
  readonly #path: string
  /** Has the record under a name of its own until the lock is taken, or in that name for as long as it is held. */
  #temporaryPath: string
  readonly #options: LockFileOptions
  /**
   * Open while the lock is held, so that its inode number is given to no other file: then the
   * number alone tells whether the name still means this file.
   */
  #handle: FileHandle | null = null
  #identity = ''
  #unlock: (() => Promise<void>) | null = null
  #handover: Promise<void> | null = null
  /** What proper-lockfile has given the lock up for, although it is ours. It is renewed here from then on. */
  #alarm: Error | null = null
  /** When the lock was renewed last, or begun. */
  #renewedMs: number
  #released = false
  #isPutByOther = false
  readonly #judge: LockJudge
  /** Empty where the disk had no room for it. */
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
   * Takes the lock file of a directory, from a dead or stale owner if need be.
   *
   * @returns `null` when another owner has it.
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
      // It may stand where that of a living owner was: whoever finds none in these seconds waits for nobody.
      if (!isTaken && lockFile.#mayOtherLive) await lockFile.#waitForOther().catch(() => false)
      // The first error is the one that says what is wrong.
      await lockFile.release().catch(() => undefined)
      await unlinkIfPresent(lockFile.#temporaryPath).catch(() => undefined)
      throw error
    }
    if (isTaken) return lockFile
    await lockFile.release()
    return null
  }

  /**
   * Looks whether the lock is still ours. Needs no further descriptor, and no thread of the pool, all of which
   * the application may keep busy.
   *
   * @returns why it is not, `null` when it is.
   * @throws a system error when that cannot be told.
   */
  lossReasonSync(): string | null {
    try {
      const stats = lstatSync(this.#path, { bigint: true })
      if (identityOf(stats) !== this.#identity) return TAKEN_OVER
      // Nothing can be read into an empty one.
      const bytes = Buffer.alloc(Math.max(1, this.#content.length))
      const size = this.#handle === null ? 0 : readSync(this.#handle.fd, bytes, { position: 0 })
      return this.#isOurs(bytes.subarray(0, size)) ? null : TAKEN_OVER
    } catch (error) {
      if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return REMOVED
      throw error
    }
  }

  /**
   * Makes the first heartbeat, and leaves the others to proper-lockfile. To be called when that one
   * is due, and again as often as the next would be: a process may lack the descriptors to load it, and
   * renews the lock by itself then, as it does after a false alarm, and where others keep from working what
   * proper-lockfile needs: the timers of the process, and the threads of its pool. Never rejects.
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
   * What proper-lockfile believes to be the loss of the lock, of which it makes no more heartbeats. It goes
   * by the time of the file alone, which anybody may have changed, and which some file systems keep to two
   * seconds; whose the lock is, its token and its inode tell.
   */
  #takeBack(error: Error): void {
    if (this.#released) return
    this.#alarm = error
    this.#renewOrTell(error)
  }

  /** A heartbeat in place of proper-lockfile's. Tells of `error` once others may take the lock for stale. */
  #renewOrTell(error: Error): void {
    const { clock, times, onCompromised } = this.#options
    try {
      if (this.#renewNow()) return
    } catch {
      // It may be a passing fault, and the next heartbeat is made in any case.
    }
    if (clock.monotonic() - this.#renewedMs > times.staleAfterMs) onCompromised(error)
  }

  /** proper-lockfile then finds another time than its own, and gives the lock up, see {@link LockFile.#takeBack}. */
  #renewIfOverdue(): void {
    const { clock, times } = this.#options
    if (clock.monotonic() - this.#renewedMs <= 2 * times.heartbeatMs) return
    this.#renewOrTell(new Error('its heartbeats do not come'))
  }

  /** A heartbeat that takes no descriptor. @returns false when the lock is not ours any more */
  #renewNow(): boolean {
    if (this.#handle === null || this.lossReasonSync() !== null) return false
    touchLock(this.#handle.fd, this.#options.clock)
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
      const handle = this.#handle
      this.#handle = null
      await handle?.close()
    }
  }

  /** Makes proper-lockfile forget the lock; the removal that it tries is refused once it is held. */
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
      return isInPlace && (await this.#confirmTaken())
    } catch (error) {
      // Who is suspended before it has the lock, is taken for dead by the one who has it.
      if (isSystemError(error, 'ENOENT') && existsSync(this.#options.directory)) return false
      throw error
    }
  }

  /**
   * Whether another taker has made the lock of our claim, which it took for its own. What it has replaced
   * by that, being late, may be the lock of somebody who lives.
   */
  #isPutInPlace(): boolean {
    const isOurs = readLockFile(this.#path)?.record?.token === this.#options.record.token
    if (isOurs) this.#isPutByOther = true
    return isOurs
  }

  get #mayOtherLive(): boolean {
    return this.#isPutByOther || this.#judge.mayOwnerLive
  }

  /** Makes our lock one of proper-lockfile's. */
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

  async #confirmTaken(): Promise<boolean> {
    this.#handle = await open(this.#path, constants.O_RDWR | CAUTIOUS_OPEN_FLAGS)
    const stats = fstatSync(this.#handle.fd, { bigint: true })
    const isEmpty = this.#content.length === 0
    if (isEmpty && namesAnother(this.#path, stats.ino, this.#options.record)) return false
    this.#identity = identityOf(stats)
    // A heartbeat in the file of another owner would cost him his lock.
    if (this.lossReasonSync() !== null) return false
    touchLock(this.#handle.fd, this.#options.clock)
    return this.lossReasonSync() === null
  }

  /** @returns whether the lock is still ours after the time in which another owner may write. */
  async #waitForOther(): Promise<boolean> {
    const { clock, times } = this.#options
    if (times.graceMs > 0) await pause(clock, times.graceMs)
    // Nothing has renewed it meanwhile.
    return this.#renewNow()
  }

  #isOurs(bytes: Buffer): boolean {
    if (this.#content.length === 0) return bytes.length === 0
    return decodeOwnerRecord(bytes)?.token === this.#options.record.token
  }

  /** What proper-lockfile believes to be the creation of a directory; our own lock is there already. */
  #create(path: string): void {
    const reason = this.lossReasonSync()
    if (reason !== null) throw systemError('ENOENT', 'mkdir', path, reason)
  }

  /**
   * A heartbeat. Goes to our file, whatever has its name by now, and at once: what a thread of the pool did late
   * would set a time that is long over.
   */
  #touch(path: string, modified: Date): void {
    const { clock, times } = this.#options
    if (this.#released) throw systemError('ENOENT', 'utimes', path, 'released')
    if (this.#handle === null) return
    touchLockAt(this.#handle.fd, modified, { clock, mostMs: times.heartbeatMs })
    this.#renewedMs = clock.monotonic()
  }

  /** What proper-lockfile believes to be the removal of a directory. Only a release removes the lock. */
  #remove(): never {
    throw systemError('ELOCKED', 'rmdir', this.#path, 'held by its owner')
  }

  /** Whether what has the lock's name is the file of our record, where it could not be opened. */
  #isPlaced(): boolean {
    const look = (path: string) => lstatSync(path, { bigint: true, throwIfNoEntry: false })
    const [lock, record] = [look(this.#path), look(this.#temporaryPath)]
    return lock !== undefined && record !== undefined && identityOf(lock) === identityOf(record)
  }

  /** Looks and removes in one go: with a wait in between, what is removed may be the next owner's. */
  readonly #removeOurs = (): void => {
    if (this.#handle === null ? !this.#isPlaced() : this.lossReasonSync() !== null) return
    try {
      unlinkSync(this.#path)
    } catch (error) {
      // Who was suspended right behind the look finds that he was taken for dead, as by the look itself.
      if (!isSystemError(error, 'ENOENT')) throw error
    }
  }
}

const TAKEN_OVER = 'another owner has taken it over'
const REMOVED = 'its lock file was removed'
