/**
 * How a file is opened.
 *
 * - `read`: must exist; read only.
 * - `update`: must exist; read and write.
 * - `create`: created if absent, kept if present; read and write.
 * - `create-new`: must not exist (`EEXIST` otherwise); read and write.
 */
export type OpenMode = 'read' | 'update' | 'create' | 'create-new'

/** What {@link FileSystem.stat} and {@link File.stat} report about a file or directory. */
export interface FileStat {
  readonly kind: 'file' | 'directory' | 'other'
  readonly sizeBytes: number
  /** Time of the last modification, milliseconds since the epoch. */
  readonly modifiedMs: number
  /** Time of creation, milliseconds since the epoch. Absent if it is not recorded. */
  readonly createdMs?: number
  /** Permissions as in chmod(2): the lowest nine bits of the mode. */
  readonly permissions: number
  /** Identifies the file, whatever its name: equal in two results exactly for the same file. */
  readonly identity: string
}

/** One entry of a directory listing. */
export interface DirectoryEntry {
  readonly name: string
  readonly kind: 'file' | 'directory' | 'other'
}

/**
 * An open file, read and written at explicit positions.
 *
 * Reads may overlap with each other and with one write. Overlapping writes to one file are an error
 * of the caller: their order is undefined. A closed file rejects every further call.
 */
export interface File {
  readonly path: string
  /** See {@link FileStat.identity}. Fixed at the open; absent if it takes a {@link File.stat}. */
  readonly identity?: string | undefined

  /**
   * Fills `buffer` with bytes from `position`.
   *
   * @returns the number of bytes read, less than requested only where the file ends; 0 at its end.
   */
  read(buffer: Uint8Array, position: number): Promise<number>

  /**
   * Synchronous variant of {@link File.read}, for a few bytes that are available without a wait.
   * Absent if the file system has none.
   *
   * @returns the number of bytes read; -1 if {@link File.read} has to be used, as on a closed file.
   * @throws the error that {@link File.read} would reject with.
   */
  readNow?(buffer: Uint8Array, position: number): number

  /**
   * Writes `buffers` back to back from `position`, growing the file if necessary.
   *
   * @returns the number of bytes written, which may be fewer than requested: a full disk first
   * shows up as a short count, and as an error in the next call.
   */
  write(buffers: readonly Uint8Array[], position: number): Promise<number>

  /**
   * Synchronous variant of {@link File.write}. Absent if the file system has none.
   *
   * @returns the number of bytes written; -1, with nothing written, if {@link File.write} has to be
   * used, as on a closed file.
   * @throws the error that {@link File.write} would reject with.
   */
  writeNow?(buffers: readonly Uint8Array[], position: number): number

  /** Truncates or zero-extends the file to `sizeBytes`. Durable only after {@link File.sync}. */
  truncate(sizeBytes: number): Promise<void>

  /**
   * `fdatasync`: content and size are durable once it resolves. After a rejection the state on disk
   * is unknown and the call must not be repeated: the kernel may have dropped the pages.
   */
  datasync(): Promise<void>

  /**
   * Synchronous variant of {@link File.datasync}. Absent if the file system has none.
   *
   * @returns false, with nothing done, if {@link File.datasync} has to be used.
   * @throws the error that {@link File.datasync} would reject with.
   */
  datasyncNow?(): boolean

  /** `fsync`: like {@link File.datasync}, and the file's other metadata is durable too. */
  sync(): Promise<void>

  /**
   * Sets the modification time, until the content changes again. Absent if the file system cannot
   * do this: compacted data then looks newer than it is and may be kept longer.
   *
   * @param modifiedMs milliseconds since the epoch.
   */
  setModified?(modifiedMs: number): Promise<void>

  /** Size and times of the open file, even if its name refers to another file by now. */
  stat(): Promise<FileStat>

  /** Waits for calls in flight, then closes the descriptor. Idempotent. */
  close(): Promise<void>
}

/** What of a {@link File} is needed to read it. */
export type FileSource = Pick<File, 'path' | 'read' | 'stat'>

/** The owner of a locked directory. Fields are `null` if unknown. */
export interface LockHolder {
  readonly pid: number | null
  readonly host: string | null
  /** When the lock was taken, milliseconds since the epoch. */
  readonly sinceMs: number | null
  /** Whether the owner is known to be the process that tried to take the lock. */
  readonly isThisProcess?: boolean
}

/**
 * Exclusive ownership of one directory.
 *
 * A held lock can be lost: the process was suspended and another one took over, or the directory
 * was removed. Losing it never throws: {@link DirectoryLock.held} turns false and `onLost` is
 * called once. Writers must check `held` before every write and every acknowledgement.
 */
export interface DirectoryLock {
  readonly held: boolean
  /**
   * Checks the disk now, even right after an earlier check. For rare operations that must never
   * affect another owner's directory.
   *
   * @returns {@link DirectoryLock.held} after the check.
   */
  verify(): boolean
  /** Called at most once, when the lock is found to be lost. Must not throw. */
  onLost: ((reason: Error) => void) | null
  /** Why the machine of the owner has stopped; `null` while it runs. Only simulated ones stop. */
  readonly stopReason?: Error | null
  /** Called at most once, when that machine stops. Whatever waits in it must end. Must not throw. */
  onStopped?: ((reason: Error) => void) | null
  /** Releases the directory. Idempotent. Has no effect on a lock that another owner has taken. */
  release(): Promise<void>
}

/**
 * All disk access of the library.
 *
 * Errors are Node.js system errors (`code` `ENOENT`, `ENOSPC`, …), so that they are translated in
 * one way for the real and the simulated file system. Creating, renaming and unlinking are durable
 * only after {@link FileSystem.syncDirectory} of the directory that holds the name.
 */
export interface FileSystem {
  /**
   * Opens a regular file with a single hard link. A directory rejects with `EISDIR`, anything else
   * with another error. Never follows a symbolic link in the last component of `path`. New files
   * have mode 0600 by default.
   */
  open(path: string, mode: OpenMode): Promise<File>
  /** Entries of `path`, sorted by name. Rejects with `ENOENT` if it does not exist. */
  list(path: string): Promise<DirectoryEntry[]>
  /** Resolves with `null` if nothing exists at `path`. Does not follow symbolic links. */
  stat(path: string): Promise<FileStat | null>
  /**
   * Synchronous variant of {@link FileSystem.stat}. Absent if the file system has none.
   *
   * @returns `undefined` if {@link FileSystem.stat} has to be used.
   * @throws the error that {@link FileSystem.stat} would reject with.
   */
  statNow?(path: string): FileStat | null | undefined
  /** `path` without symbolic links; `ENOENT` if nothing is there. Absent if there are no links. */
  realPath?(path: string): Promise<string>
  /**
   * Creates `path` and its missing parents, by default with mode 0700. Resolves with the
   * directories created, topmost first.
   */
  createDirectory(path: string): Promise<string[]>
  /** Renames a file or directory. Atomically replaces `to` if it exists. */
  rename(from: string, to: string): Promise<void>
  /** Removes a name. A file that is still open remains usable. */
  unlink(path: string): Promise<void>
  /** Removes an empty directory. */
  removeDirectory(path: string): Promise<void>
  /** `fsync` of a directory: the names in it are durable once it resolves. */
  syncDirectory(path: string): Promise<void>
  /** Bytes that this process's user can still write to the file system that holds `path`. */
  freeBytes(path: string): Promise<number>
  /**
   * Takes the exclusive lock of an existing directory.
   *
   * @throws `LockedError` when another owner (process, worker thread, or object in this process)
   * holds it, `StorageError` when that cannot be determined.
   */
  lock(path: string): Promise<DirectoryLock>
}

/** The methods that an object needs to be used as a {@link FileSystem}. */
export const FILE_SYSTEM_METHODS: readonly Exclude<keyof FileSystem, 'realPath' | 'statNow'>[] = [
  'open',
  'list',
  'stat',
  'createDirectory',
  'rename',
  'unlink',
  'removeDirectory',
  'syncDirectory',
  'freeBytes',
  'lock',
]
