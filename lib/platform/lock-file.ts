import {
  constants,
  existsSync,
  futimesSync,
  lstatSync,
  readSync,
  unlinkSync,
  type BigIntStats,
} from 'node:fs'
import { lstat, open, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from './clock.ts'
import { LockHeartbeats } from './lock-heartbeats.ts'
import {
  decodeOwnerRecord,
  encodeOwnerRecord,
  type FileIdentity,
  type OwnerRecord,
} from './lock-owner.ts'
import {
  createLockFile,
  removeAbandoned,
  removeLeftovers,
  unlinkIfPresent,
  type FoundLockFile,
} from './lock-takeover.ts'
import { CAUTIOUS_OPEN_FLAGS } from './open-flags.ts'
import { isSystemError } from './system-error.ts'

/** Name of the file in a locked directory that names its owner. It exists while the lock is held. */
export const LOCK_FILE_NAME = '.varve.lock'

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

/** What the taker of a lock file brings along. */
export interface LockFileOptions {
  readonly directory: string
  readonly record: OwnerRecord
  readonly clock: Clock
  readonly times: LockTimes
  /** Whether that owner is certainly dead, so that its lock needs no waiting. */
  readonly isOwnerGone: (owner: OwnerRecord, file: FileIdentity) => Promise<boolean>
  /** Called when a heartbeat fails for good. */
  readonly onCompromised: (error: Error) => void
}

/**
 * The lock that reaches where a guard does not: other hosts, containers and systems.
 *
 * It is proper-lockfile's kind of lock: created exclusively, kept by heartbeats that renew the
 * modification time ({@link LockHeartbeats}), taken over when they have stopped. There are three
 * differences:
 *
 * - It is not an empty directory but a file with the owner's record, which gets its name only
 *   once it is complete. So there is no moment when a lock exists and its owner is unknown, and no
 *   directory where Kafka expects none.
 * - A lock that looks stale is removed only if it still is the one that was looked at. Without that
 *   the second of two waiters removes what the first has just created, and both win.
 * - Neither a late heartbeat, a late release nor an exit touches the lock of the next owner.
 *
 * `release` must not overlap with itself; all else may overlap.
 */
export class LockFile {
  readonly #path: string
  /** Has the record under a name of its own until the lock is taken. */
  readonly #temporaryPath: string
  readonly #options: LockFileOptions
  /**
   * Open while the lock is held, so that its inode number is given to no other file: then the
   * number alone tells whether the name still means this file.
   */
  #handle: FileHandle | null = null
  #identity = ''
  #heartbeats: LockHeartbeats | null = null
  /** Whether something was removed because of its age alone. */
  #hasJudgedByTime = false

  private constructor(options: LockFileOptions) {
    this.#path = join(options.directory, LOCK_FILE_NAME)
    this.#temporaryPath = `${this.#path}.${options.record.token}`
    this.#options = options
  }

  /**
   * Takes the lock file of a directory, from a dead or stale owner if need be.
   *
   * @returns `null` when another owner has it.
   */
  static async take(options: LockFileOptions): Promise<LockFile | null> {
    const lockFile = new LockFile(options)
    await writeDurably(lockFile.#temporaryPath, encodeOwnerRecord(options.record))
    let isTaken: boolean
    try {
      isTaken = (await lockFile.#lock()) && (await lockFile.#confirmTaken())
      if (isTaken && lockFile.#hasJudgedByTime) isTaken = await lockFile.#waitForOwner()
      await unlinkIfPresent(lockFile.#temporaryPath)
      if (isTaken) await removeLeftovers(lockFile.#path, lockFile.#isAbandoned)
      if (isTaken) lockFile.#startHeartbeats()
    } catch (error) {
      // The first error is the one that says what is wrong.
      await unlinkIfPresent(lockFile.#temporaryPath).catch(() => undefined)
      await lockFile.release().catch(() => undefined)
      throw error
    }
    if (isTaken) return lockFile
    await lockFile.release()
    return null
  }

  /**
   * Looks whether the lock is still ours. Needs no further descriptor.
   *
   * @returns why it is not, `null` when it is.
   * @throws a system error when that cannot be told.
   */
  async lossReason(): Promise<string | null> {
    try {
      const stats = await lstat(this.#path, { bigint: true })
      if (identityOf(stats) !== this.#identity) return TAKEN_OVER
      const bytes = this.#recordBuffer()
      const read = await this.#handle?.read(bytes, 0, bytes.length, 0)
      return this.#isOurs(bytes.subarray(0, read?.bytesRead ?? 0)) ? null : TAKEN_OVER
    } catch (error) {
      if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return REMOVED
      throw error
    }
  }

  /** Like {@link LockFile.lossReason}, at once. */
  lossReasonSync(): string | null {
    try {
      const stats = lstatSync(this.#path, { bigint: true })
      if (identityOf(stats) !== this.#identity) return TAKEN_OVER
      const bytes = this.#recordBuffer()
      const size = this.#handle === null ? 0 : readSync(this.#handle.fd, bytes, { position: 0 })
      return this.#isOurs(bytes.subarray(0, size)) ? null : TAKEN_OVER
    } catch (error) {
      if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return REMOVED
      throw error
    }
  }

  /** Ends the heartbeats, and removes the file unless it belongs to another owner by now. */
  async release(): Promise<void> {
    try {
      await this.#heartbeats?.end()
      this.#removeOurs()
    } finally {
      const handle = this.#handle
      this.#handle = null
      await handle?.close()
    }
  }

  async #lock(): Promise<boolean> {
    try {
      await removeAbandoned(this.#path, this.#temporaryPath, this.#isAbandoned)
      await createLockFile(this.#path, this.#temporaryPath)
      return true
    } catch (error) {
      if (isSystemError(error, 'EEXIST')) return false
      // Who is suspended before it has the lock, is taken for dead by the one who has it.
      if (isSystemError(error, 'ENOENT') && existsSync(this.#options.directory)) return false
      throw error
    }
  }

  #startHeartbeats(): void {
    const { directory, clock, times, onCompromised } = this.#options
    const { staleAfterMs, heartbeatMs } = times
    this.#heartbeats = new LockHeartbeats({
      ...{ directory, path: this.#path, clock, staleAfterMs, heartbeatMs, onCompromised },
      lossReason: () => this.lossReason(),
      touch: async (accessed, modified) => this.#handle?.utimes(accessed, modified),
      removeSync: () => {
        this.#removeOurs()
      },
    })
  }

  async #confirmTaken(): Promise<boolean> {
    try {
      this.#handle = await open(this.#path, constants.O_RDWR | CAUTIOUS_OPEN_FLAGS)
      this.#identity = identityOf(await this.#handle.stat({ bigint: true }))
    } catch (error) {
      this.#removeUnconfirmed()
      throw error
    }
    if (this.lossReasonSync() !== null) return false
    // So far it has the time at which its record was written, and the sync of that may have taken long.
    const now = new Date(this.#options.clock.now())
    futimesSync(this.#handle.fd, now, now)
    return true
  }

  /**
   * Removes a lock that was created and cannot be opened: its owner lives, so everybody would have to
   * wait until it is stale. Known by the other name of the file, it takes no descriptor.
   */
  #removeUnconfirmed(): void {
    try {
      const own = lstatSync(this.#temporaryPath, { bigint: true })
      const named = lstatSync(this.#path, { bigint: true })
      if (identityOf(own) === identityOf(named)) unlinkSync(this.#path)
    } catch {
      // What has failed before says what is wrong.
    }
  }

  /** @returns whether the lock is still ours after the time in which its former owner may write. */
  async #waitForOwner(): Promise<boolean> {
    const { clock, times } = this.#options
    if (times.graceMs > 0) {
      await new Promise<void>((resolve) => {
        clock.startTimer(resolve, times.graceMs)
      })
    }
    return (await this.lossReason()) === null
  }

  #recordBuffer(): Buffer {
    return Buffer.alloc(encodeOwnerRecord(this.#options.record).length)
  }

  #isOurs(bytes: Buffer): boolean {
    return decodeOwnerRecord(bytes)?.token === this.#options.record.token
  }

  /** Judges by the clock it was given: the one that proper-lockfile asks may be a test's. */
  readonly #isAbandoned = async ({ record, modifiedMs, file }: FoundLockFile): Promise<boolean> => {
    const { clock, times, isOwnerGone } = this.#options
    if (record !== null && (await isOwnerGone(record, file))) return true
    if (modifiedMs >= clock.now() - times.staleAfterMs) return false
    this.#hasJudgedByTime = true
    return true
  }

  /** Looks and removes in one go: with a wait in between, what is removed may be the next owner's. */
  #removeOurs(): void {
    if (this.#handle !== null && this.lossReasonSync() === null) unlinkSync(this.#path)
  }
}

const TAKEN_OVER = 'another owner has taken it over'
const REMOVED = 'its lock file was removed'

function identityOf(stats: BigIntStats): string {
  return `${stats.dev}-${stats.ino}`
}

async function writeDurably(path: string, content: Buffer): Promise<void> {
  const handle = await open(path, 'wx', 0o600)
  try {
    await handle.writeFile(content)
    await handle.sync()
  } catch (error) {
    // As far as the disk lets it: leftovers of those that died are removed by the next holder.
    await unlinkIfPresent(path).catch(() => undefined)
    throw error
  } finally {
    await handle.close()
  }
}
