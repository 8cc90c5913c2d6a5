import type { DirectoryEntry, File, FileStat } from '../platform/file-system.ts'
import { RoomyFileSystem } from '../platform/roomy-file-system.ts'
import { isReadFailure } from './read-failure.ts'

/** The first read that failed. */
export interface FailedRead {
  readonly path: string
  /** Position of the first requested byte. */
  readonly position: number
  readonly error: NodeJS.ErrnoException
}

/**
 * A file system that opens files for reading only, and notes the first failed read: the system's
 * error does not say which file it is about.
 */
export class ReadWatch extends RoomyFileSystem {
  /** `null` while no read has failed. */
  failure: FailedRead | null = null

  override open(path: string): Promise<File> {
    return this.#noting(path, 0, async () => this.#watched(await super.open(path, 'read')))
  }

  override list(path: string): Promise<DirectoryEntry[]> {
    return this.#noting(path, 0, () => super.list(path))
  }

  override stat(path: string): Promise<FileStat | null> {
    return this.#noting(path, 0, () => super.stat(path))
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
