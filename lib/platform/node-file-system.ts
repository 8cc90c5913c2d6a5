import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readSync,
  statSync,
  writevSync,
  type Dirent,
  type Stats,
} from 'node:fs'
import { chmod, lstat, open, readdir, rename, rmdir, stat, unlink } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { ClosedError } from '../errors.ts'
import { lockDirectory } from './directory-lock.ts'
import type {
  DirectoryEntry,
  DirectoryLock,
  File,
  FileStat,
  FileSystem,
  OpenMode,
} from './file-system.ts'
import { loadFsExtra } from './foreign-modules.ts'
import { CAUTIOUS_OPEN_FLAGS, DIRECTORY_OPEN_FLAGS } from './open-flags.ts'
import { MAX_PROMPT_READ_BYTES, MAX_PROMPT_WRITE_BYTES, promptIo } from './prompt-io.ts'
import { ReadDescriptor, type FileDescriptor } from './read-descriptor.ts'
import { isSystemError, systemError } from './system-error.ts'

/** Mode of new files: what is in a log is nobody else's business unless the owner says so. */
const FILE_MODE = 0o600
/** A directory that is no larger holds some hundred names. */
const MAX_DIRECTORY_BYTES = 16 * 1024
/** Mode of new directories. */
const DIRECTORY_MODE = 0o700

const OPEN_FLAGS: Readonly<Record<OpenMode, number>> = {
  read: constants.O_RDONLY,
  update: constants.O_RDWR,
  create: constants.O_RDWR,
  'create-new': constants.O_RDWR | constants.O_CREAT | constants.O_EXCL,
}

/** How a {@link NodeFileSystem} judges what it finds. */
export interface NodeFileSystemOptions {
  /**
   * Opens files of other users for writing too, which a directory that others write to may hold.
   *
   * @defaultValue false
   */
  readonly allowSharedDirectory?: boolean
}

/**
 * The real disk. Opens regular files only: a symbolic link rejects with `ELOOP`, a directory with
 * `EISDIR`, a FIFO or device with `EINVAL`, a socket with `ENXIO`, and a file that has a further
 * name somewhere else with `EMLINK`. To be written to, a file must belong to this process's user,
 * to root, or to the owner of its directory, who could replace it anyway; others reject with `EPERM`.
 *
 * New files have mode 0600 and new directories 0700, whatever the umask of the process.
 *
 * Node.js cannot open a name relative to an open directory, so who can replace a directory above
 * the files while they are opened is not kept out.
 *
 * Stateless: all calls may overlap.
 */
export class NodeFileSystem implements FileSystem {
  readonly #allowsForeignFiles: boolean

  constructor(options: NodeFileSystemOptions = {}) {
    this.#allowsForeignFiles = options.allowSharedDirectory ?? false
  }

  async open(path: string, mode: OpenMode): Promise<File> {
    const opened = mode === 'read' ? promptIo.attempt(() => openNow(path)) : undefined
    if (opened !== undefined) return opened
    if (mode !== 'create') return this.#openAs(path, mode)
    for (;;) {
      // Exclusively first, because only so it is known whose mode has to be set.
      try {
        return await this.#openAs(path, 'create-new')
      } catch (error) {
        if (!isSystemError(error, 'EEXIST')) throw error
      }
      try {
        return await this.#openAs(path, 'create')
      } catch (error) {
        if (!isSystemError(error, 'ENOENT')) throw error
      }
    }
  }

  async #openAs(path: string, mode: OpenMode): Promise<File> {
    const handle = await open(path, OPEN_FLAGS[mode] | CAUTIOUS_OPEN_FLAGS, FILE_MODE)
    try {
      const stats = await handle.stat()
      ensureRegularFile(path, stats)
      if (mode === 'create-new') {
        if (permissionsOf(stats) !== FILE_MODE) await handle.chmod(FILE_MODE)
      } else if (mode !== 'read' && !this.#allowsForeignFiles) {
        await ensureTrustedOwner(path, stats)
      }
    } catch (error) {
      await handle.close()
      throw error
    }
    return new NodeFile(path, handle)
  }

  async list(path: string): Promise<DirectoryEntry[]> {
    const entries =
      promptIo.attempt(() => readNamesNow(path)) ?? (await readdir(path, { withFileTypes: true }))
    return entries
      .map((entry) => ({ name: entry.name, kind: kindOf(entry) }))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  async stat(path: string): Promise<FileStat | null> {
    const found = promptIo.attempt(() => lstatSync(path, { throwIfNoEntry: false }) ?? null)
    if (found !== undefined) return found === null ? null : toFileStat(found)
    try {
      return toFileStat(await lstat(path))
    } catch (error) {
      if (isSystemError(error, 'ENOENT')) return null
      throw error
    }
  }

  /** The paths in the result are absolute. */
  async createDirectory(path: string): Promise<string[]> {
    const missing: string[] = []
    let at = resolve(path)
    // The parent of a root is the root itself: a drive that does not exist has to end the walk.
    while (at !== missing[0] && (await this.stat(at)) === null) {
      missing.unshift(at)
      at = dirname(at)
    }
    if (missing.length === 0) {
      const there = promptIo.attempt(() => statSync(path)) ?? (await stat(path))
      if (there.isDirectory()) return []
    }
    const { ensureDir } = await loadFsExtra()
    await ensureDir(path, DIRECTORY_MODE)
    for (const each of missing) {
      const stats = await lstat(each)
      if (permissionsOf(stats) !== DIRECTORY_MODE) await chmod(each, DIRECTORY_MODE)
    }
    return missing
  }

  async rename(from: string, to: string): Promise<void> {
    await rename(from, to)
  }

  async unlink(path: string): Promise<void> {
    await unlink(path)
  }

  async removeDirectory(path: string): Promise<void> {
    await rmdir(path)
  }

  /** Does nothing on Windows, which has no such call and keeps names in a journal of its own. */
  async syncDirectory(path: string): Promise<void> {
    try {
      const handle = await open(path, constants.O_RDONLY | DIRECTORY_OPEN_FLAGS)
      try {
        await handle.sync()
      } finally {
        await handle.close()
      }
    } catch (error) {
      if (process.platform === 'win32' && isSystemError(error, 'EPERM', 'EISDIR')) return
      throw error
    }
  }

  async lock(path: string): Promise<DirectoryLock> {
    return lockDirectory(path)
  }
}

/**
 * Files that are open. A `FileHandle` that is garbage collected closes its descriptor and warns
 * about it, so a file lives until it is closed, whoever forgets it.
 */
const openFiles = new Set<NodeFile>()

class NodeFile implements File {
  readonly path: string
  readonly #handle: FileDescriptor
  #callsInFlight = 0
  #onIdle: (() => void) | null = null
  #closed: Promise<void> | null = null

  constructor(path: string, handle: FileDescriptor) {
    this.path = path
    this.#handle = handle
    openFiles.add(this)
  }

  async read(buffer: Uint8Array, position: number): Promise<number> {
    this.#ensureOpen()
    const { fd } = this.#handle
    const call = (): number => readNow(fd, buffer, position)
    let size = promptIo.try(buffer.length, MAX_PROMPT_READ_BYTES, call)
    if (size >= 0) return size
    await promptIo.whenTurned(buffer.length, MAX_PROMPT_READ_BYTES)
    this.#ensureOpen()
    size = promptIo.try(buffer.length, MAX_PROMPT_READ_BYTES, call)
    return size >= 0 ? size : this.#run((handle) => readInPool(handle, buffer, position))
  }

  readNow(buffer: Uint8Array, position: number): number {
    if (this.#closed !== null) return -1
    const { fd } = this.#handle
    return promptIo.try(buffer.length, MAX_PROMPT_READ_BYTES, () => readNow(fd, buffer, position))
  }

  async write(buffers: readonly Uint8Array[], position: number): Promise<number> {
    this.#ensureOpen()
    if (buffers.length === 0) return 0
    const { fd } = this.#handle
    let sizeBytes = 0
    for (const { length } of buffers) sizeBytes += length
    const size = promptIo.try(sizeBytes, MAX_PROMPT_WRITE_BYTES, () =>
      writevSync(fd, buffers, position),
    )
    if (size >= 0) return size
    return this.#run(async (handle) => (await handle.writev(buffers, position)).bytesWritten)
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#run((handle) => handle.truncate(sizeBytes))
  }

  datasync(): Promise<void> {
    return this.#run((handle) => handle.datasync())
  }

  sync(): Promise<void> {
    return this.#run((handle) => handle.sync())
  }

  stat(): Promise<FileStat> {
    return this.#run(async (handle) => toFileStat(await handle.stat()))
  }

  close(): Promise<void> {
    this.#closed ??= this.#closeOnceIdle()
    return this.#closed
  }

  async #closeOnceIdle(): Promise<void> {
    if (this.#callsInFlight > 0) {
      await new Promise<void>((resolveIdle) => {
        this.#onIdle = resolveIdle
      })
    }
    openFiles.delete(this)
    await this.#handle.close()
  }

  #ensureOpen(): void {
    if (this.#closed !== null) throw new ClosedError(`${this.path} is closed`)
  }

  async #run<T>(call: (handle: FileDescriptor) => Promise<T>): Promise<T> {
    this.#ensureOpen()
    this.#callsInFlight += 1
    try {
      return await call(this.#handle)
    } finally {
      this.#callsInFlight -= 1
      if (this.#callsInFlight === 0) this.#onIdle?.()
    }
  }
}

/** Opens a file for reading, in this thread. */
function openNow(path: string): NodeFile {
  const fd = openSync(path, OPEN_FLAGS.read | CAUTIOUS_OPEN_FLAGS)
  try {
    ensureRegularFile(path, fstatSync(fd))
  } catch (error) {
    closeSync(fd)
    throw error
  }
  return new NodeFile(path, new ReadDescriptor(fd))
}

function ensureRegularFile(path: string, stats: Stats): void {
  if (stats.isDirectory()) throw systemError('EISDIR', 'open', path, 'is a directory')
  if (!stats.isFile()) throw systemError('EINVAL', 'open', path, 'not a regular file')
  if (stats.nlink > 1) throw systemError('EMLINK', 'open', path, 'has several hard links')
}

/** The names in a directory; `undefined` where there may be many, which takes its time. */
function readNamesNow(path: string): Dirent[] | undefined {
  const stats = statSync(path, { throwIfNoEntry: false })
  if (stats === undefined || stats.size > MAX_DIRECTORY_BYTES) return undefined
  return readdirSync(path, { withFileTypes: true })
}

/** Fills `buffer`, as far as the file goes. @returns the bytes read */
function readNow(fd: number, buffer: Uint8Array, position: number): number {
  let size = 0
  while (size < buffer.length) {
    const count = readSync(fd, buffer, size, buffer.length - size, position + size)
    if (count === 0) break
    size += count
  }
  return size
}

/** Like {@link readNow}, by threads of the pool. */
async function readInPool(
  handle: FileDescriptor,
  buffer: Uint8Array,
  position: number,
): Promise<number> {
  let size = 0
  while (size < buffer.length) {
    const { bytesRead } = await handle.read(buffer, size, buffer.length - size, position + size)
    if (bytesRead === 0) break
    size += bytesRead
  }
  return size
}

function toFileStat(stats: Stats): FileStat {
  const { size: sizeBytes, mtimeMs: modifiedMs } = stats
  const identity = `${stats.dev}:${stats.ino}`
  return { kind: kindOf(stats), sizeBytes, modifiedMs, permissions: permissionsOf(stats), identity }
}

/** Windows knows no more than whether a file may be written to, and reports that for everybody. */
function permissionsOf(stats: Stats): number {
  return process.platform === 'win32'
    ? stats.isDirectory()
      ? DIRECTORY_MODE
      : FILE_MODE
    : stats.mode & 0o777
}

async function ensureTrustedOwner(path: string, { uid }: Stats): Promise<void> {
  const self = process.geteuid?.()
  if (self === undefined || uid === self || uid === 0) return
  if (uid === (await stat(dirname(path))).uid) return
  throw systemError('EPERM', 'open', path, `belongs to user ${uid}, not to ${self}`)
}

function kindOf(entry: Dirent | Stats): FileStat['kind'] {
  if (entry.isFile()) return 'file'
  return entry.isDirectory() ? 'directory' : 'other'
}
