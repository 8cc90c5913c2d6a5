import type {
  DirectoryEntry,
  DirectoryLock,
  File,
  FileStat,
  FileSystem,
  OpenMode,
} from './file-system.ts'
import { openFilesOf, shareOpenFiles, type OpenFiles } from './open-files.ts'

/**
 * A file system that closes idle files when descriptors run out, see {@link OpenFiles}: for every
 * call that takes a descriptor, be it for a log file, a checkpoint or a list of names.
 *
 * All calls may overlap as they may on the file system behind it.
 */
export class RoomyFileSystem implements FileSystem {
  readonly #behind: FileSystem
  readonly #files: OpenFiles

  constructor(behind: FileSystem) {
    this.#behind = behind
    this.#files = openFilesOf(behind)
    shareOpenFiles(this, this.#files)
  }

  open(path: string, mode: OpenMode): Promise<File> {
    return this.#files.withRoom(() => this.#behind.open(path, mode))
  }

  list(path: string): Promise<DirectoryEntry[]> {
    return this.#files.withRoom(() => this.#behind.list(path))
  }

  stat(path: string): Promise<FileStat | null> {
    return this.#behind.stat(path)
  }

  statNow(path: string): FileStat | null | undefined {
    return this.#behind.statNow?.(path)
  }

  createDirectory(path: string): Promise<string[]> {
    return this.#behind.createDirectory(path)
  }

  rename(from: string, to: string): Promise<void> {
    return this.#behind.rename(from, to)
  }

  unlink(path: string): Promise<void> {
    return this.#behind.unlink(path)
  }

  removeDirectory(path: string): Promise<void> {
    return this.#behind.removeDirectory(path)
  }

  /** A call that got no descriptor has not tried to sync, so it may be repeated. */
  syncDirectory(path: string): Promise<void> {
    return this.#files.withRoom(() => this.#behind.syncDirectory(path))
  }

  freeBytes(path: string): Promise<number> {
    return this.#behind.freeBytes(path)
  }

  lock(path: string): Promise<DirectoryLock> {
    return this.#behind.lock(path)
  }
}
