import type {
  DirectoryEntry,
  DirectoryLock,
  File,
  FileStat,
  FileSystem,
} from '../platform/file-system.ts'
import { openFilesOf, shareOpenFiles } from '../platform/open-files.ts'
import { isReadFailure } from './read-failure.ts'

/** The first read that failed. */
export interface FailedRead {
  readonly path: string
  /** Position of the first requested byte. */
  readonly position: number
  readonly error: NodeJS.ErrnoException
}

/**
 * A read-only file system that notes the first failed read: the system's error does not say which
 * file it is about.
 */
export class ReadWatch implements FileSystem {
  /** `null` while no read has failed. */
  failure: FailedRead | null = null
  readonly #behind: FileSystem

  constructor(behind: FileSystem) {
    this.#behind = behind
    shareOpenFiles(this, openFilesOf(behind))
  }

  open(path: string): Promise<File> {
    return this.#noting(path, 0, async () => {
      const file = await this.#behind.open(path, 'read')
      return this.#watched(file)
    })
  }

  list(path: string): Promise<DirectoryEntry[]> {
    return this.#noting(path, 0, () => this.#behind.list(path))
  }

  stat(path: string): Promise<FileStat | null> {
    return this.#noting(path, 0, () => this.#behind.stat(path))
  }

  createDirectory(path: string): Promise<string[]> {
    return refused(path)
  }

  rename(from: string): Promise<void> {
    return refused(from)
  }

  unlink(path: string): Promise<void> {
    return refused(path)
  }

  removeDirectory(path: string): Promise<void> {
    return refused(path)
  }

  syncDirectory(path: string): Promise<void> {
    return refused(path)
  }

  freeBytes(path: string): Promise<number> {
    return this.#behind.freeBytes(path)
  }

  lock(path: string): Promise<DirectoryLock> {
    return refused(path)
  }

  #watched(file: File): File {
    const { path } = file
    return {
      path,
      read: (buffer, position) => this.#noting(path, position, () => file.read(buffer, position)),
      write: () => refused(path),
      truncate: () => refused(path),
      datasync: () => refused(path),
      sync: () => refused(path),
      stat: () => this.#noting(path, 0, () => file.stat()),
      close: () => file.close(),
    }
  }

  async #noting<T>(path: string, position: number, reading: () => Promise<T>): Promise<T> {
    try {
      return await reading()
    } catch (error) {
      if (isReadFailure(error)) this.failure ??= { path, position, error }
      throw error
    }
  }
}

function refused(path: string): Promise<never> {
  return Promise.reject(new Error(`${path} is open for reading only`))
}
