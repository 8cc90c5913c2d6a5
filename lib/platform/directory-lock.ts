import { closeSync, fstatSync, openSync, realpathSync, statSync, type BigIntStats } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { reasonOf } from '../checks.ts'
import { LockedError, LockLostError, StorageError } from '../errors.ts'
import type { Clock, Timer } from './clock.ts'
import { onMicrotask } from './event-loop.ts'
import type { DirectoryLock, LockHolder } from './file-system.ts'
import { LOCK_FILE_NAME, LockFile } from './lock-file.ts'
import { LOCK_TIMES, type LockTimes } from './lock-times.ts'
import { LockGuard } from './lock-guard.ts'
import { describeThisProcess, isOwnerGone, newOwnerToken } from './lock-owner.ts'
import { readLockFile, requireReadable, type FoundLockFile } from './lock-takeover.ts'
import { systemClock } from './system-clock.ts'

/**
 * How long a check of the disk is relied on. Under load this means one check per second, each
 * taking some microseconds, and it bounds how long a directory that was moved away is written to.
 */
const CONFIRMED_FOR_MS = 1_000

const UNKNOWN_HOLDER: LockHolder = { pid: null, host: null, sinceMs: null }
/** What is the same in all records of one process, and differs from those of all others. */
const PROCESS_FIELDS = ['pid', 'host', 'startTime', 'bootId', 'pidNamespace'] as const

/** Directories locked by this thread: real path and time of locking. */
const lockedHere = new Map<string, number>()

/**
 * Takes the exclusive lock of a directory on the real disk.
 *
 * It consists of three locks, each for what the others cannot do: a registry for objects in this
 * thread, a {@link LockGuard} for processes and threads that share a kernel, and a {@link LockFile}
 * for the rest. The lock of an owner that was killed is taken over at once if its death can be
 * proven, that is, on the machine where it ran; elsewhere after {@link STALE_AFTER_MS}.
 *
 * @param options for specs only.
 * @throws {@link LockedError} when another owner holds it.
 * @throws {@link StorageError} when its lock file, or whatever has that name, cannot be read.
 * @throws a system error when the directory does not exist or cannot be written.
 */
export async function lockDirectory(
  path: string,
  options: { clock?: Clock; times?: LockTimes } = {},
): Promise<DirectoryLock> {
  const { clock = systemClock, times = LOCK_TIMES } = options
  const directory = realpathSync.native(path)
  const otherSinceMs = lockedHere.get(directory)
  if (otherSinceMs !== undefined) {
    const [pid, host] = [process.pid, hostname()]
    throw new LockedError(path, { pid, host, sinceMs: otherSinceMs, isThisProcess: true })
  }
  lockedHere.set(directory, clock.now())
  try {
    return await takeWithGuard(path, directory, { clock, times })
  } catch (error) {
    lockedHere.delete(directory)
    throw error
  }
}

async function takeWithGuard(
  path: string,
  directory: string,
  time: { clock: Clock; times: LockTimes },
): Promise<DirectoryLock> {
  const place = LockedPlace.open(directory)
  let guard: LockGuard | 'in-use' | null = null
  try {
    guard = await LockGuard.take(place.dev, place.ino)
    if (guard === 'in-use') throw new LockedError(path, await holderWithGuard(foundIn(directory)))
    const lock = new NodeDirectoryLock(place, guard, time)
    if (await lock.take()) return lock
    requireReadableLock(path, directory)
    throw new LockedError(path, holderOf(foundIn(directory)))
  } catch (error) {
    if (guard !== 'in-use') await guard?.close()
    place.close()
    throw error
  }
}

/** @throws {@link StorageError} when there is a lock that this process cannot read. */
function requireReadableLock(path: string, directory: string): void {
  const lockPath = join(directory, LOCK_FILE_NAME)
  try {
    requireReadable(lockPath)
  } catch (error) {
    const message =
      `it is unknown whether ${path} is in use, because its lock file cannot be read: ` +
      `${reasonOf(error)}; remove ${lockPath} if no process has the directory open`
    throw new StorageError(message, { path: lockPath, outcome: 'not-written' }, { cause: error })
  }
}

function foundIn(directory: string): FoundLockFile | null {
  return readLockFile(join(directory, LOCK_FILE_NAME))
}

function holderOf(found: FoundLockFile | null): LockHolder {
  const record = found?.record ?? null
  if (record === null) return UNKNOWN_HOLDER
  const { pid, host, sinceMs } = record
  const self = describeThisProcess()
  // Another copy of this library in the same process has its own registry. In another container the
  // same pid and host name may be those of another process.
  const isThisProcess = PROCESS_FIELDS.every((field) => record[field] === self[field])
  return { pid, host, sinceMs, isThisProcess }
}

/** The holder of the guard, who may not have replaced the lock file of a dead owner yet. */
async function holderWithGuard(found: FoundLockFile | null): Promise<LockHolder> {
  const record = found?.record ?? null
  if (found === null || record === null) return UNKNOWN_HOLDER
  const proof = { guard: null, file: found.file }
  return (await isOwnerGone(record, describeThisProcess(), proof))
    ? UNKNOWN_HOLDER
    : holderOf(found)
}

/**
 * The locked directory itself, whatever its path refers to later. It is kept open, so that its
 * inode number, and with it the name of its guard, is not reused for another directory.
 */
class LockedPlace {
  readonly path: string
  readonly dev: bigint
  readonly ino: bigint
  readonly #fd: number | null

  private constructor(path: string, stats: BigIntStats, fd: number | null) {
    this.path = path
    this.dev = stats.dev
    this.ino = stats.ino
    this.#fd = fd
  }

  static open(path: string): LockedPlace {
    // Windows cannot open directories, and does not remove one that contains an open file.
    if (process.platform === 'win32') {
      return new LockedPlace(path, statSync(path, { bigint: true }), null)
    }
    const fd = openSync(path, 'r')
    try {
      return new LockedPlace(path, fstatSync(fd, { bigint: true }), fd)
    } catch (error) {
      closeSync(fd)
      throw error
    }
  }

  /** Whether the path still leads here. @throws a system error when that cannot be determined. */
  isInPlaceSync(): boolean {
    const stats = statSync(this.path, { bigint: true, throwIfNoEntry: false })
    return stats?.dev === this.dev && stats.ino === this.ino
  }

  close(): void {
    if (this.#fd !== null) closeSync(this.#fd)
  }
}

/** A held lock, and everything that ends it. All calls may overlap. */
class NodeDirectoryLock implements DirectoryLock {
  onLost: ((reason: Error) => void) | null = null
  readonly #place: LockedPlace
  readonly #guard: LockGuard | null
  readonly #clock: Clock
  readonly #times: LockTimes
  #file: LockFile | null = null
  #held = false
  #heartbeat: Timer | null = null
  #confirmed: Moment
  #released: Promise<void> | null = null

  constructor(
    place: LockedPlace,
    guard: LockGuard | null,
    time: { clock: Clock; times: LockTimes },
  ) {
    this.#place = place
    this.#guard = guard
    this.#clock = time.clock
    this.#times = time.times
    this.#confirmed = momentOf(time.clock)
  }

  /** Takes the lock file. Must be called once, before anything else. */
  async take(): Promise<boolean> {
    const self = describeThisProcess()
    const guard = this.#guard?.name ?? null
    this.#confirmed = momentOf(this.#clock)
    this.#file = await LockFile.take({
      directory: this.#place.path,
      clock: this.#clock,
      times: this.#times,
      record: { ...self, token: newOwnerToken(), sinceMs: this.#clock.now(), guard },
      isOwnerGone: (owner, file) => isOwnerGone(owner, self, { guard, file }),
      onCompromised: (error) => {
        this.#lose(error.message, error)
      },
    })
    if (this.#file === null) return false
    this.#held = true
    this.#startHeartbeat()
    return true
  }

  get held(): boolean {
    if (this.#held && this.#unconfirmedMs() > CONFIRMED_FOR_MS) return this.verify()
    return this.#held
  }

  /** Synchronous: nothing else of this thread runs between the check and the caller's next step. */
  verify(): boolean {
    if (!this.#held) return false
    const moment = momentOf(this.#clock)
    const reason = this.#lossReasonSync()
    if (reason === null) this.#confirmed = moment
    else if (reason !== 'unknown') this.#lose(reason)
    // It may be a transient fault, but others may soon consider the lock stale.
    else if (this.#unconfirmedMs() > this.#times.staleAfterMs / 2) this.#lose(UNREADABLE)
    else return false
    return this.#held
  }

  release(): Promise<void> {
    this.#released ??= this.#release()
    return this.#released
  }

  async #release(): Promise<void> {
    this.#held = false
    this.#heartbeat?.cancel()
    try {
      await this.#file?.release()
    } finally {
      // Last, because a taker that has the guard concludes that nobody holds the file any more.
      await this.#guard?.close()
      lockedHere.delete(this.#place.path)
      this.#place.close()
    }
  }

  #startHeartbeat(): void {
    if (!this.#held) return
    const beat = this.#beat.bind(this)
    this.#heartbeat = this.#clock.startTimer(beat, this.#times.heartbeatMs, { background: true })
  }

  /** Synchronous, so as not to wait for the thread pool, which the application may keep busy. */
  #beat(): void {
    // The result was true when the check began: the process may have been suspended since.
    const moment = momentOf(this.#clock)
    const reason = this.#lossReasonSync()
    if (reason === null) {
      this.#confirmed = moment
      void this.#file?.startHeartbeats()
    } else if (reason !== 'unknown') this.#lose(reason)
    // It may be a transient fault. If it lasts, `held` ends the lock.
    this.#startHeartbeat()
  }

  #lossReasonSync(): string | null {
    try {
      if (!this.#place.isInPlaceSync()) return MOVED
      return this.#file?.lossReasonSync() ?? null
    } catch {
      return 'unknown'
    }
  }

  /** Checks the wall clock too: the monotonic clock may stand still while the machine sleeps. */
  #unconfirmedMs(): number {
    const { monotonicMs, wallMs } = this.#confirmed
    return Math.max(this.#clock.monotonic() - monotonicMs, this.#clock.now() - wallMs)
  }

  #lose(reason: string, cause?: Error): void {
    if (!this.#held) return
    this.#held = false
    this.#heartbeat?.cancel()
    const error = new LockLostError(this.#place.path, reason, 'unknown', { cause })
    onMicrotask(() => {
      try {
        this.onLost?.(error)
      } catch {
        // An exception here would end the process, because no caller can catch it.
      }
    })
  }
}

const MOVED = 'its directory was moved or removed'
const UNREADABLE = 'its lock file cannot be read after a long pause'

interface Moment {
  readonly monotonicMs: number
  readonly wallMs: number
}

function momentOf(clock: Clock): Moment {
  return { monotonicMs: clock.monotonic(), wallMs: clock.now() }
}
