/**
 * How a file is opened.
 *
 * - `read`: must exist, read only.
 * - `update`: must exist, read and write.
 * - `create`: created when absent, kept when present, read and write.
 * - `create-new`: must not exist (`EEXIST` otherwise), read and write.
 */
export type OpenMode = 'read' | 'update' | 'create' | 'create-new'

/** What {@link FileSystem.stat} and {@link File.stat} tell about a file or directory. */
export interface FileStat {
  readonly kind: 'file' | 'directory' | 'other'
  readonly sizeBytes: number
  /** Last modification, milliseconds since the epoch. */
  readonly modifiedMs: number
  /** When the file was created, milliseconds since the epoch; absent where nobody has kept that. */
  readonly createdMs?: number
  /** Who may do what, as in chmod(2): the lowest nine bits of a mode. */
  readonly permissions: number
  /** Which file it is, whatever its name: equal in two answers exactly when they are about one file. */
  readonly identity: string
}

/** One name in a directory listing. */
export interface DirectoryEntry {
  readonly name: string
  readonly kind: 'file' | 'directory' | 'other'
}

/**
 * An open file, read and written at explicit positions.
 *
 * Reads may overlap with each other and with one write. Two overlapping writes of one file are the
 * caller's mistake: their order is not defined. A file that was closed rejects every further call.
 */
export interface File {
  readonly path: string
  /** See {@link FileStat.identity}: known since the open, and never another. Absent where it has to be asked for. */
  readonly identity?: string | undefined

  /**
   * Fills `buffer` from `position`.
   *
   * @returns the number of bytes read: less than asked for only where the file ends, 0 at its end.
   */
  read(buffer: Uint8Array, position: number): Promise<number>

  /**
   * Like {@link File.read}, inside of the call: for a few bytes that need not be waited for. Absent
   * where nothing can be had so.
   *
   * @returns -1 when the bytes have to be asked for by {@link File.read}; so it is on a closed file.
   * @throws what {@link File.read} rejects with.
   */
  readNow?(buffer: Uint8Array, position: number): number

  /**
   * Writes `buffers` one behind the other from `position`, growing the file where needed.
   *
   * @returns the number of bytes written, which may be less than asked for: a full disk shows
   * itself as a short count first and as an error in the next call.
   */
  write(buffers: readonly Uint8Array[], position: number): Promise<number>

  /**
   * Like {@link File.write}, inside of the call. Absent where nothing can be done so.
   *
   * @returns -1, and nothing is written, when it has to be asked of {@link File.write}; so it is on a
   * closed file.
   * @throws what {@link File.write} rejects with.
   */
  writeNow?(buffers: readonly Uint8Array[], position: number): number

  /** Cuts or zero-extends the file to `sizeBytes`. Durable only after {@link File.sync}. */
  truncate(sizeBytes: number): Promise<void>

  /**
   * `fdatasync`: content and size are durable when it resolves. After a rejection the state on
   * disk is unknown and the call must not be repeated: the kernel may have dropped the pages.
   */
  datasync(): Promise<void>

  /**
   * Like {@link File.datasync}, inside of the call. Absent where nothing can be done so.
   *
   * @returns false, and nothing is done, when it has to be asked of {@link File.datasync}.
   * @throws what {@link File.datasync} rejects with.
   */
  datasyncNow?(): boolean

  /** `fsync`: like {@link File.datasync}, with the file's other metadata. */
  sync(): Promise<void>

  /**
   * Sets the time of the last modification, until the next change of the content. Absent where that
   * cannot be done: what is compacted then counts as younger than it is, and may be kept longer.
   *
   * @param modifiedMs milliseconds since the epoch.
   */
  setModified?(modifiedMs: number): Promise<void>

  /** Size and times of the open file, whatever its name refers to by now. */
  stat(): Promise<FileStat>

  /** Waits for calls in flight, then frees the descriptor. Idempotent. */
  close(): Promise<void>
}

/** The owner of a locked directory, as far as it is known. */
export interface LockHolder {
  readonly pid: number | null
  readonly host: string | null
  /** When the lock was taken, milliseconds since the epoch. */
  readonly sinceMs: number | null
  /** Whether it is known to be the process that has asked. */
  readonly isThisProcess?: boolean
}

/**
 * Exclusive ownership of one directory.
 *
 * Ownership can be lost while it is held (the process was suspended and another took over, or the
 * directory was removed). Loss never throws: {@link DirectoryLock.held} turns false and `onLost`
 * is called once. Who writes must look at `held` before every write and every acknowledgement.
 */
export interface DirectoryLock {
  readonly held: boolean
  /**
   * Looks at the disk now, however short ago it was found to be held. For what is done seldom and
   * must not come to the wrong place.
   *
   * @returns {@link DirectoryLock.held}, as it is after the look.
   */
  verify(): boolean
  /** Called at most once, when ownership is found to be lost. Never throws into the lock. */
  onLost: ((reason: Error) => void) | null
  /** Gives the directory up. Idempotent; does nothing to a lock that another owner has taken. */
  release(): Promise<void>
}

/**
 * Everything the library does with a disk.
 *
 * Errors are Node's system errors (`code` `ENOENT`, `ENOSPC`, …) so that one translation serves
 * the real and the simulated file system. Creating, renaming and unlinking are durable only after
 * {@link FileSystem.syncDirectory} of the directory that holds the name.
 */
export interface FileSystem {
  /**
   * Opens a regular file that has no further name; a directory rejects with `EISDIR`, what else is
   * no such file with an error of its own. Never follows a symbolic link in the last part of `path`.
   * A file that is created has mode 0600.
   */
  open(path: string, mode: OpenMode): Promise<File>
  /** Names in `path`, sorted. Rejects with `ENOENT` when it does not exist. */
  list(path: string): Promise<DirectoryEntry[]>
  /** `null` when nothing is there. Does not follow symbolic links. */
  stat(path: string): Promise<FileStat | null>
  /**
   * Like {@link FileSystem.stat}, inside of the call: for a look that need not be waited for. Absent
   * where nothing can be had so.
   *
   * @returns `undefined` when it has to be asked of {@link FileSystem.stat}.
   * @throws what {@link FileSystem.stat} rejects with.
   */
  statNow?(path: string): FileStat | null | undefined
  /** `path` with all symbolic links followed; `ENOENT` when nothing is there. Absent where there are no links. */
  realPath?(path: string): Promise<string>
  /** Creates `path` and what is missing above it, with mode 0700. Resolves with the directories created, topmost first. */
  createDirectory(path: string): Promise<string[]>
  /** Atomically replaces `to` where it exists. */
  rename(from: string, to: string): Promise<void>
  /** Removes a name. Who has the file open can go on using it. */
  unlink(path: string): Promise<void>
  /** Removes an empty directory. */
  removeDirectory(path: string): Promise<void>
  /** `fsync` of a directory: the names in it are durable when it resolves. */
  syncDirectory(path: string): Promise<void>
  /** Bytes that can still be written to the file system that holds `path`, by this process's user. */
  freeBytes(path: string): Promise<number>
  /**
   * Takes the exclusive lock of an existing directory.
   *
   * @throws `LockedError` when another owner (process, worker thread, or object in this
   * process) holds it, `StorageError` when that cannot be told.
   */
  lock(path: string): Promise<DirectoryLock>
}

/** What an object must have to be used as a {@link FileSystem}. */
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
