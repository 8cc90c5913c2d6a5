import { resolve } from 'node:path'
import type {
  DirectoryEntry,
  DirectoryLock,
  File,
  FileStat,
  FileSystem,
  OpenMode,
} from '../../lib/platform/file-system.ts'

/** A file system that records which paths were changed, and how many files were open. */
export class RecordingFileSystem implements FileSystem {
  /** Paths that were opened for writing, created, renamed or removed. */
  readonly changed: Set<string> = new Set<string>()
  mostOpen = 0
  #open = 0
  readonly #target: FileSystem

  constructor(target: FileSystem) {
    this.#target = target
  }

  /** Files that are open now. */
  get openCount(): number {
    return this.#open
  }

  async open(path: string, mode: OpenMode): Promise<File> {
    if (mode !== 'read') this.#note(path)
    const file = await this.#target.open(path, mode)
    this.#open += 1
    this.mostOpen = Math.max(this.mostOpen, this.#open)
    const close = file.close.bind(file)
    let isClosed = false
    file.close = () => {
      if (!isClosed) this.#open -= 1
      isClosed = true
      return close()
    }
    return file
  }

  list(path: string): Promise<DirectoryEntry[]> {
    return this.#target.list(path)
  }

  stat(path: string): Promise<FileStat | null> {
    return this.#target.stat(path)
  }

  async createDirectory(path: string): Promise<string[]> {
    const created = await this.#target.createDirectory(path)
    for (const each of created) this.#note(each)
    return created
  }

  rename(from: string, to: string): Promise<void> {
    this.#note(from)
    this.#note(to)
    return this.#target.rename(from, to)
  }

  unlink(path: string): Promise<void> {
    this.#note(path)
    return this.#target.unlink(path)
  }

  removeDirectory(path: string): Promise<void> {
    this.#note(path)
    return this.#target.removeDirectory(path)
  }

  syncDirectory(path: string): Promise<void> {
    return this.#target.syncDirectory(path)
  }

  freeBytes(path: string): Promise<number> {
    return this.#target.freeBytes(path)
  }

  lock(path: string): Promise<DirectoryLock> {
    return this.#target.lock(path)
  }

  #note(path: string): void {
    this.changed.add(resolve(path))
  }
}
