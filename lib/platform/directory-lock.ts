import { realpath, stat } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { LockedError, LockLostError } from '../errors.ts'
import type { Clock, Timer } from './clock.ts'
import type { DirectoryLock, LockHolder } from './file-system.ts'
import { HEARTBEAT_MS, LOCK_FILE_NAME, LockFile, STALE_AFTER_MS } from './lock-file.ts'
import { LockGuard } from './lock-guard.ts'
import { describeThisProcess, isOwnerGone, newOwnerToken } from './lock-owner.ts'
import { readLockFile } from './lock-takeover.ts'
import { systemClock } from './system-clock.ts'

/**
 * Without a heartbeat for this long the process was busy or suspended, and others may be about to
 * take the lock for stale.
 */
const MAX_UNCONFIRMED_MS = STALE_AFTER_MS / 2

/** Directories locked by this thread, by their real path, and since when. */
const lockedHere = new Map<string, number>()

/**
 * Takes the exclusive lock of a directory on the real disk.
 *
 * Three locks in one, each for what the others cannot do: a registry for objects in this thread, a
 * {@link LockGuard} for processes and threads that share a kernel, and a {@link LockFile} for the
 * rest. An owner that was killed is succeeded at once where its death can be proven, which is on
 * Linux; elsewhere after {@link STALE_AFTER_MS}.
 *
 * @throws {@link LockedError} when another owner holds it.
 * @throws a system error when the directory does not exist or cannot be written.
 */
export async function lockDirectory(
  path: string,
  options: { clock?: Clock } = {},
): Promise<DirectoryLock> {
  const clock = options.clock ?? systemClock
  const directory = await realpath(path)
  const otherSinceMs = lockedHere.get(directory)
  if (otherSinceMs !== undefined) {
    throw new LockedError(path, { pid: process.pid, host: hostname(), sinceMs: otherSinceMs })
  }
  lockedHere.set(directory, clock.now())
  try {
    return await takeWithGuard(path, directory, clock)
  } catch (error) {
    lockedHere.delete(directory)
    throw error
  }
}

async function takeWithGuard(
  path: string,
  directory: string,
  clock: Clock,
): Promise<DirectoryLock> {
  const { dev, ino } = await stat(directory, { bigint: true })
  const guard = await LockGuard.take(dev, ino)
  if (guard === 'in-use') throw new LockedError(path, await holderOf(directory))
  try {
    const lock = new NodeDirectoryLock(directory, guard, clock)
    if (await lock.take()) return lock
    throw new LockedError(path, await holderOf(directory))
  } catch (error) {
    await guard?.close()
    throw error
  }
}

async function holderOf(directory: string): Promise<LockHolder> {
  const record = (await readLockFile(join(directory, LOCK_FILE_NAME)))?.record
  return { pid: record?.pid ?? null, host: record?.host ?? null, sinceMs: record?.sinceMs ?? null }
}

/** A lock as long as it is held, and what ends it. All calls may overlap. */
class NodeDirectoryLock implements DirectoryLock {
  onLost: ((reason: Error) => void) | null = null
  readonly #directory: string
  readonly #guard: LockGuard | null
  readonly #clock: Clock
  #file: LockFile | null = null
  #held = false
  #heartbeat: Timer | null = null
  #confirmedMonotonicMs = 0
  #confirmedWallMs = 0
  #released: Promise<void> | null = null

  constructor(directory: string, guard: LockGuard | null, clock: Clock) {
    this.#directory = directory
    this.#guard = guard
    this.#clock = clock
  }

  /** Takes the lock file. To be called once, before all else. */
  async take(): Promise<boolean> {
    const self = await describeThisProcess()
    const guard = this.#guard?.name ?? null
    this.#file = await LockFile.take({
      directory: this.#directory,
      clock: this.#clock,
      record: { ...self, token: newOwnerToken(), sinceMs: this.#clock.now(), guard },
      isOwnerGone: (owner) => isOwnerGone(owner, self, guard),
      onCompromised: (error) => {
        this.#lose(error.message, error)
      },
    })
    if (this.#file === null) return false
    this.#held = true
    this.#confirmed()
    this.#startHeartbeat()
    return true
  }

  get held(): boolean {
    if (this.#held && this.#unconfirmedMs() > MAX_UNCONFIRMED_MS) {
      // The timers that would notice a loss have not run, and the caller is about to write.
      const reason = this.#file?.lossReasonSync() ?? null
      if (reason === null) this.#confirmed()
      else this.#lose(reason)
    }
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
      lockedHere.delete(this.#directory)
    }
  }

  #startHeartbeat(): void {
    this.#heartbeat = this.#clock.startTimer(() => void this.#beat(), HEARTBEAT_MS, {
      background: true,
    })
  }

  async #beat(): Promise<void> {
    let reason: string | null = null
    let isConfirmed = true
    try {
      reason = (await this.#file?.lossReason()) ?? null
    } catch {
      // It may be a passing fault. If it lasts, `held` ends it.
      isConfirmed = false
    }
    if (!this.#held) return
    if (reason !== null) {
      this.#lose(reason)
      return
    }
    if (isConfirmed) this.#confirmed()
    this.#startHeartbeat()
  }

  #confirmed(): void {
    this.#confirmedMonotonicMs = this.#clock.monotonic()
    this.#confirmedWallMs = this.#clock.now()
  }

  /** The wall clock counts too: the monotonic one may stand still while the machine sleeps. */
  #unconfirmedMs(): number {
    return Math.max(
      this.#clock.monotonic() - this.#confirmedMonotonicMs,
      this.#clock.now() - this.#confirmedWallMs,
    )
  }

  #lose(reason: string, cause?: Error): void {
    if (!this.#held) return
    this.#held = false
    this.#heartbeat?.cancel()
    const error = new LockLostError(this.#directory, reason, 'unknown', { cause })
    queueMicrotask(() => {
      try {
        this.onLost?.(error)
      } catch {
        // Thrown from here it would end the process, and nobody is there to take it.
      }
    })
  }
}
