import { resolve } from 'node:path'
import { onNextTurn } from '../platform/event-loop.ts'
import { FencedFileSystem } from '../platform/fenced-file-system.ts'
import type { DirectoryLock, FileSystem } from '../platform/file-system.ts'
import { realPathOf } from '../platform/real-path.ts'
import { RoomyFileSystem } from '../platform/roomy-file-system.ts'
import { refuseSharedDirectory } from '../platform/shared-directory.ts'
import type { Random } from '../platform/random.ts'
import { prepareCrc32c } from '../record/crc32c.ts'
import { createDurably } from '../storage/log-options.ts'
import { LogStateFiles, type TakenMark } from '../storage/log-state.ts'
import { LockLoss } from './lock-loss.ts'
import { LogStates } from './log-states.ts'
import { createMetaProperties, readMetaProperties } from './meta-properties.ts'

/**
 * A broker's open directory: its lock, cluster id, clean shutdown mark and the checkpoints of its
 * logs.
 */
export class DataDirectory {
  /** The given path, made absolute. */
  readonly path: string
  /** The real path at the time of opening; all files are here. */
  readonly dir: string
  readonly clusterId: string
  /** Whether the directory had been closed cleanly, or was empty. */
  readonly isClean: boolean
  /** File system for all files of the directory. It writes nothing once the lock is lost. */
  readonly fileSystem: FileSystem
  readonly states: LogStates
  readonly lockLoss: LockLoss
  readonly #lock: DirectoryLock | null
  readonly #files: LogStateFiles
  /**
   * Settles once the removal of the clean-shutdown mark is durable, or has failed. Until then the
   * directory is only read, and what was found in it must not be told.
   */
  readonly durable: Promise<void>

  private constructor(
    path: string,
    dir: string,
    opened: {
      clusterId: string
      isClean: boolean
      fileSystem: FileSystem
      states: LogStates
      lockLoss: LockLoss
      lock: DirectoryLock | null
      files: LogStateFiles
      durable: Promise<void>
    },
  ) {
    this.path = path
    this.dir = dir
    this.clusterId = opened.clusterId
    this.isClean = opened.isClean
    this.fileSystem = opened.fileSystem
    this.states = opened.states
    this.lockLoss = opened.lockLoss
    this.#lock = opened.lock
    this.#files = opened.files
    this.durable = opened.durable
  }

  /**
   * Opens the directory, and creates it if it does not exist.
   *
   * @throws {@link LockedError} when another owner holds it.
   */
  static async open(
    givenPath: string,
    options: {
      fileSystem: FileSystem
      random: Random
      readOnly: boolean
      allowSharedDirectory: boolean
    },
  ): Promise<DataDirectory> {
    const { random, readOnly } = options
    const path = resolve(givenPath)
    if (!readOnly) await createDurably(options.fileSystem, path)
    const following = realPathOf(options.fileSystem, path)
    const dir = following === null ? path : await following
    if (!options.allowSharedDirectory) await refuseSharedDirectory(options.fileSystem, dir)
    const lock = readOnly ? null : await options.fileSystem.lock(dir)
    const lockLoss = new LockLoss()
    if (lock !== null) {
      lock.onLost = (reason) => {
        lockLoss.tell(path, reason)
      }
      lock.onStopped = (crash) => {
        lockLoss.stop(path, crash)
      }
    }
    let durable: Promise<void> = Promise.resolve()
    try {
      // Before anything else: a crash from here on is an unclean stop.
      const taken = await takeMark(options.fileSystem, dir, lock)
      const { fileSystem, hasMark } = taken
      durable = taken.durable
      // The disk syncs the directory meanwhile.
      if (!readOnly) onNextTurn(prepareCrc32c)
      const files = new LogStateFiles(fileSystem, dir)
      const known = await readMetaProperties(fileSystem, dir)
      const isNew = known === null && (await isEmpty(fileSystem, dir))
      const clusterId =
        known ?? (readOnly ? '' : await createMetaProperties(fileSystem, dir, random))
      return new DataDirectory(path, dir, {
        clusterId,
        isClean: hasMark || isNew,
        fileSystem,
        states: new LogStates(files, await files.read()),
        lockLoss,
        lock,
        files,
        durable,
      })
    } catch (error) {
      // The lock is needed until then: a mark whose removal is not durable is put back.
      await durable.catch(() => undefined)
      // The caller gets the first error.
      await lock?.release().catch(() => undefined)
      throw error
    }
  }

  /** Whether this process may write. */
  get isOwned(): boolean {
    return this.#lock?.held ?? false
  }

  /** Why the machine has stopped, in a simulation; `null` otherwise. */
  get stopReason(): Error | null {
    return this.#lock?.stopReason ?? null
  }

  /**
   * Gives the directory up. `isSound`: all logs were closed cleanly, and the next open may rely on
   * it.
   */
  async close(isSound: boolean): Promise<void> {
    await this.durable.catch(() => undefined)
    try {
      if (isSound && this.isOwned) await this.#files.leaveCleanShutdownMark()
    } finally {
      await this.#lock?.release()
    }
  }
}

/**
 * Removes the clean-shutdown mark.
 *
 * @returns a file system for all other files, which changes nothing until that is durable.
 */
async function takeMark(
  behind: FileSystem,
  dir: string,
  lock: DirectoryLock | null,
): Promise<TakenMark & { readonly fileSystem: FileSystem }> {
  if (lock === null) {
    const fileSystem = new RoomyFileSystem(behind)
    const hasMark = await new LogStateFiles(fileSystem, dir).hasCleanShutdownMark()
    return { fileSystem, hasMark, durable: Promise.resolve() }
  }
  // Another one, because the mark is put back if its removal cannot be synced.
  const marks = new LogStateFiles(new FencedFileSystem(behind, lock, dir), dir)
  const taken = await marks.removeCleanShutdownMark()
  const fileSystem = new FencedFileSystem(behind, lock, dir)
  fileSystem.holdChanges(taken.durable)
  return { fileSystem, ...taken }
}

/** Whether the directory holds nothing that an unclean stop could have left. */
async function isEmpty(fileSystem: FileSystem, dir: string): Promise<boolean> {
  return (await fileSystem.list(dir)).every(
    (entry) => entry.kind !== 'directory' || entry.name.startsWith('.'),
  )
}
