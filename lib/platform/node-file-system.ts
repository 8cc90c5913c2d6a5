import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  realpathSync,
  statSync,
  type Stats,
} from 'node:fs'
import {
  chmod,
  lstat,
  mkdir,
  open,
  realpath,
  rename,
  rmdir,
  stat,
  statfs,
  unlink,
} from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { lockDirectory } from './directory-lock.ts'
import { entriesIn } from './directory-names.ts'
import type {
  DirectoryEntry,
  DirectoryLock,
  File,
  FileStat,
  FileSystem,
  OpenMode,
} from './file-system.ts'
import { loadFsExtra } from './foreign-modules.ts'
import {
  DIRECTORY_MODE,
  FILE_MODE,
  identityOf,
  kindOf,
  NodeFile,
  permissionsOf,
  toFileStat,
} from './node-file.ts'
import { OpenFiles, shareOpenFiles } from './open-files.ts'
import { CAUTIOUS_OPEN_FLAGS, DIRECTORY_OPEN_FLAGS } from './open-flags.ts'
import { PlainDescriptor, type FileDescriptor } from './plain-descriptor.ts'
import { promptIo } from './prompt-io.ts'
import { promptSyncOf } from './prompt-sync.ts'
import { isSystemError, systemError } from './system-error.ts'
import { windowsNames } from './windows-names.ts'

/** Shared by all file systems, because descriptors belong to the process. */
const processFiles = new OpenFiles()

const OPEN_FLAGS: Readonly<Record<OpenMode, number>> = {
  read: constants.O_RDONLY,
  update: constants.O_RDWR,
  create: constants.O_RDWR,
  'create-new': constants.O_RDWR | constants.O_CREAT | constants.O_EXCL,
}

/** Options of a {@link NodeFileSystem}. */
export interface NodeFileSystemOptions {
  /**
   * Also opens other users' files for writing, which a directory that others write to may hold.
   *
   * @defaultValue false
   */
  readonly allowSharedDirectory?: boolean
  /**
   * Mode of new files, regardless of the umask.
   *
   * @defaultValue 0600
   */
  readonly fileMode?: number
  /**
   * Mode of new directories, regardless of the umask.
   *
   * @defaultValue 0700
   */
  readonly directoryMode?: number
}

/**
 * The real disk. Opens regular files only: a symbolic link rejects with `ELOOP`, a directory with
 * `EISDIR`, a FIFO or device with `EINVAL`, a socket with `ENXIO`, and a file with several hard
 * links with `EMLINK`. To be opened for writing, a file must belong to this process's user, to
 * root, or to the owner of its directory, who could replace it anyway; others reject with `EPERM`.
 *
 * New files have mode 0600 and new directories 0700, unless the options say otherwise, regardless
 * of the umask of the process.
 *
 * Node.js cannot open a name relative to an open directory, so there is no protection against a
 * user who can replace a parent directory while a file is being opened.
 *
 * Stateless: all calls may overlap.
 */
export class NodeFileSystem implements FileSystem {
  readonly #allowsForeignFiles: boolean
  readonly #fileMode: number
  readonly #directoryMode: number

  constructor(options: NodeFileSystemOptions = {}) {
    this.#allowsForeignFiles = options.allowSharedDirectory ?? false
    this.#fileMode = options.fileMode ?? FILE_MODE
    this.#directoryMode = options.directoryMode ?? DIRECTORY_MODE
    shareOpenFiles(this, processFiles)
  }

  open(path: string, mode: OpenMode): Promise<File> {
    const call = (): Promise<File> => this.#open(path, mode)
    return windowsNames === null ? call() : windowsNames.whileBusy(call, ['EBUSY'])
  }

  async #open(path: string, mode: OpenMode): Promise<File> {
    if (mode === 'read' || mode === 'update') {
      const call = (): NodeFile => this.#openNow(path, mode)
      const opened = promptIo.attempt(call) ?? (await promptIo.attemptNextTurn(call))
      if (opened !== undefined) return opened
    }
    if (mode !== 'create') return this.#openAs(path, mode)
    for (;;) {
      // Exclusively first: only then is it known that this call created the file and sets its mode.
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
    const handle = await open(path, OPEN_FLAGS[mode] | CAUTIOUS_OPEN_FLAGS, this.#fileMode)
    let stats: Stats
    try {
      stats = await handle.stat()
      ensureRegularFile(path, stats)
      if (mode === 'create-new') {
        if (permissionsOf(stats) !== this.#fileMode) await handle.chmod(this.#fileMode)
      } else if (mode !== 'read' && !this.#allowsForeignFiles && isForeign(stats)) {
        ensureTrustedOwner(path, stats, await stat(dirname(path)))
      }
    } catch (error) {
      await handle.close()
      throw error
    }
    return new NodeFile(path, handle, promptSyncOf(stats.dev), identityOf(stats))
  }

  /** Opens an existing file synchronously: creating no name, this does not wait for a journal. */
  #openNow(path: string, mode: 'read' | 'update'): NodeFile {
    const fd = openSync(path, OPEN_FLAGS[mode] | CAUTIOUS_OPEN_FLAGS)
    const isWritable = mode === 'update'
    let stats: Stats
    try {
      stats = fstatSync(fd)
      ensureRegularFile(path, stats)
      if (isWritable && !this.#allowsForeignFiles && isForeign(stats)) {
        ensureTrustedOwner(path, stats, statSync(dirname(path)))
      }
    } catch (error) {
      closeSync(fd)
      throw error
    }
    const descriptor = new PlainDescriptor(fd, { isWritable })
    return new NodeFile(path, descriptor, promptSyncOf(stats.dev), identityOf(stats))
  }

  async list(path: string): Promise<DirectoryEntry[]> {
    const names = await entriesIn(path)
    return names
      .map((entry) => ({ name: entry.name, kind: kindOf(entry) }))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  async stat(path: string): Promise<FileStat | null> {
    const call = (): FileStat | null => statHere(path)
    let found = promptIo.attempt(call)
    if (found === undefined) found = await promptIo.attemptNextTurn(call)
    if (found !== undefined) return found
    try {
      return toFileStat(await lstat(path))
    } catch (error) {
      if (isSystemError(error, 'ENOENT')) return null
      throw error
    }
  }

  /**
   * Uses the write share of the turn first, because it follows a write. The first call of a turn
   * would start the read share, which with many files to write is over before the other calls.
   */
  statNow(path: string): FileStat | null | undefined {
    const call = (): FileStat | null => statHere(path)
    const found = promptIo.attempt(call, 'write')
    return found === undefined ? promptIo.attempt(call) : found
  }

  async realPath(path: string): Promise<string> {
    const call = (): string => realpathSync.native(path)
    return promptIo.attempt(call) ?? (await promptIo.attemptNextTurn(call)) ?? realpath(path)
  }

  /** The returned paths are absolute. */
  async createDirectory(path: string): Promise<string[]> {
    const missing: string[] = []
    let at = resolve(path)
    // The parent of a root is the root itself: a drive that does not exist has to end the loop.
    while (at !== missing[0] && (await this.stat(at)) === null) {
      missing.unshift(at)
      at = dirname(at)
    }
    if (missing.length === 0) {
      const there = promptIo.attempt(() => statSync(path)) ?? (await stat(path))
      if (there.isDirectory()) return []
    }
    // Before anything is created: for lack of a descriptor, the caller may repeat the call.
    const { ensureDir } = await processFiles.withRoom(loadFsExtra)
    const [first] = missing
    if (first !== undefined) await this.#createFirst(first)
    await ensureDir(path, this.#directoryMode)
    for (const each of missing) {
      const stats = await lstat(each)
      if (permissionsOf(stats) !== this.#directoryMode) await chmod(each, this.#directoryMode)
    }
    return missing
  }

  /**
   * Creates the topmost directory: where that is impossible, Node's recursion never ends (`/proc`).
   */
  async #createFirst(path: string): Promise<void> {
    try {
      await mkdir(path, this.#directoryMode)
    } catch (error) {
      if (!isSystemError(error, 'EEXIST')) throw error
    }
  }

  async rename(from: string, to: string): Promise<void> {
    await (windowsNames?.rename(from, to) ?? rename(from, to))
  }

  async unlink(path: string): Promise<void> {
    await (windowsNames?.unlink(path) ?? unlink(path))
  }

  async removeDirectory(path: string): Promise<void> {
    await (windowsNames?.removeDirectory(path) ?? rmdir(path))
  }

  /** Does nothing on Windows, which has no such call and keeps its own journal of names. */
  async syncDirectory(path: string): Promise<void> {
    try {
      const directory = await openDirectory(path)
      try {
        await directory.sync()
      } finally {
        await directory.close()
      }
    } catch (error) {
      if (process.platform === 'win32' && isSystemError(error, 'EPERM', 'EISDIR')) return
      throw error
    }
  }

  async freeBytes(path: string): Promise<number> {
    const { bavail, bsize } = await statfs(path)
    return bavail * bsize
  }

  async lock(path: string): Promise<DirectoryLock> {
    return lockDirectory(path)
  }
}

/** Opens a directory. Its name exists, so this does not wait for a journal, unlike its sync. */
async function openDirectory(path: string): Promise<FileDescriptor> {
  const flags = constants.O_RDONLY | DIRECTORY_OPEN_FLAGS
  const opened = promptIo.attempt(
    () => new PlainDescriptor(openSync(path, flags), { isWritable: false }),
  )
  return opened ?? open(path, flags)
}

function ensureRegularFile(path: string, stats: Stats): void {
  if (stats.isDirectory()) throw systemError('EISDIR', 'open', path, 'is a directory')
  if (!stats.isFile()) throw systemError('EINVAL', 'open', path, 'not a regular file')
  if (stats.nlink > 1) throw systemError('EMLINK', 'open', path, 'has several hard links')
}

/** What exists at `path`, by a synchronous call. */
function statHere(path: string): FileStat | null {
  const stats = lstatSync(path, { throwIfNoEntry: false })
  return stats === undefined ? null : toFileStat(stats)
}

/** Whether a file belongs neither to this process's user nor to root. */
function isForeign({ uid }: Stats): boolean {
  const self = process.geteuid?.()
  return self !== undefined && uid !== self && uid !== 0
}

function ensureTrustedOwner(path: string, { uid }: Stats, directory: Stats): void {
  if (uid === directory.uid) return
  const self = process.geteuid?.()
  throw systemError('EPERM', 'open', path, `belongs to user ${uid}, not to ${self}`)
}
