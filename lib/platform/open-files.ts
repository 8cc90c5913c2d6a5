import type { FileSystem } from './file-system.ts'
import { isSystemError } from './system-error.ts'

/** An open file that can be closed while it is idle, because its next use reopens it. */
export interface ParkableFile {
  /** Whether the file is open, or being opened. */
  readonly isOpen: boolean
  /** Whether the file is open and may be closed now. */
  readonly isIdle: boolean
  /** Whether the file was used since the last call of this method. */
  takeUse(): boolean
  /** Closes the file. Never rejects. */
  park(): Promise<void>
}

/** Most systems limit a process to 1024 descriptors, and the application needs some of them. */
const MAX_OPEN_FILES = 256

/** The limit never falls below this, however few descriptors are available. */
const MIN_OPEN_FILES = 8

/**
 * Each open examines at most this many other files for one to close. If thousands have writes that
 * no sync covers, examining all of them at every open would be wasted work.
 */
const LOOKS_PER_OPEN = 32

/**
 * Limits the number of open files by closing idle ones. Above the limit, files are closed that were
 * not used since they were last examined; a use only sets a mark on the file.
 *
 * Files in use, and files with writes that no sync covers, are counted but never closed.
 */
export class OpenFiles {
  readonly #files = new Set<ParkableFile>()
  #maxFiles: number
  #making: Promise<boolean> | null = null

  constructor(maxFiles: number = MAX_OPEN_FILES) {
    this.#maxFiles = maxFiles
  }

  /** How many files may stay open while idle. Reduced when the system runs out of descriptors. */
  get maxFiles(): number {
    return this.#maxFiles
  }

  /** Counts an opened file. @returns a promise if others are being closed to make room for it */
  opened(file: ParkableFile): Promise<unknown> | null {
    this.#files.add(file)
    return this.#files.size > this.#maxFiles ? this.#parkSome(this.#maxFiles, LOOKS_PER_OPEN) : null
  }

  /** Stops counting a file. */
  closed(file: ParkableFile): void {
    this.#files.delete(file)
  }

  /**
   * Runs `open`. If the process or the system is out of descriptors and some files could be closed,
   * runs it once more.
   */
  withRoom<T>(open: () => Promise<T>): Promise<T> {
    return open().catch(async (error: unknown) => {
      if (!isSystemError(error, 'EMFILE', 'ENFILE')) throw error
      this.#making ??= this.#makeRoom().finally(() => {
        this.#making = null
      })
      if (!(await this.#making)) throw error
      return open()
    })
  }

  /** Closes half of the files and lowers the limit for good: the process would reach it again. */
  async #makeRoom(): Promise<boolean> {
    const half = Math.floor(this.#files.size / 2)
    this.#maxFiles = Math.min(this.#maxFiles, Math.max(MIN_OPEN_FILES, half))
    // A file that was used is examined a second time.
    return (await this.#parkSome(half, this.#files.size * 2)) > 0
  }

  /** Resumes where the last call stopped. @returns the number of files closed */
  async #parkSome(maxFiles: number, mostLooks: number): Promise<number> {
    const parking: Promise<void>[] = []
    let looksLeft = mostLooks
    for (const file of this.#files) {
      if (this.#files.size <= maxFiles || looksLeft === 0) break
      looksLeft -= 1
      this.#files.delete(file)
      if (file.isIdle && !file.takeUse()) parking.push(file.park())
      else if (file.isOpen) this.#files.add(file)
    }
    await Promise.all(parking)
    return parking.length
  }
}

const filesOf = new WeakMap<FileSystem, OpenFiles>()

/** The {@link OpenFiles} of a file system: its own, unless it shares another's. */
export function openFilesOf(fileSystem: FileSystem): OpenFiles {
  const known = filesOf.get(fileSystem)
  if (known !== undefined) return known
  const files = new OpenFiles()
  filesOf.set(fileSystem, files)
  return files
}

/** Makes a file system share the limit of others. To be called before any of its files is open. */
export function shareOpenFiles(fileSystem: FileSystem, files: OpenFiles): void {
  filesOf.set(fileSystem, files)
}
