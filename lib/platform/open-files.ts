import type { FileSystem } from './file-system.ts'
import { isSystemError } from './system-error.ts'

/** An open file that can be closed while nobody needs it, because its next use opens it again. */
export interface ParkableFile {
  /** Whether it is open, or about to be. */
  readonly isOpen: boolean
  /** Whether it is open and may be closed now. */
  readonly isIdle: boolean
  /** Whether it was used since it was asked this last. */
  takeUse(): boolean
  /** Closes it. Never rejects. */
  park(): Promise<void>
}

/** Most systems let a process have 1024 descriptors; the application wants some too. */
const MAX_OPEN_FILES = 256

/** However few there are to be had, so many stay open. */
const MIN_OPEN_FILES = 8

/**
 * Who opens a file looks at so many others, at most, for one to close. Where thousands have writes that
 * no sync covers, each open would look at all of them in vain.
 */
const LOOKS_PER_OPEN = 32

/**
 * Bounds how many files are open that nobody uses. When there are too many, those are closed that
 * were not used since the last time that it was asked for; a use costs no more than a mark on the file.
 *
 * Files in use, and files with writes that no sync covers, are counted and never closed.
 */
export class OpenFiles {
  readonly #files = new Set<ParkableFile>()
  #maxFiles: number
  #making: Promise<boolean> | null = null

  constructor(maxFiles: number = MAX_OPEN_FILES) {
    this.#maxFiles = maxFiles
  }

  /** How many may be open while nobody uses them. It falls when the system has no more. */
  get maxFiles(): number {
    return this.#maxFiles
  }

  /** Counts a file that has been opened. @returns what to wait for where others are closed for it */
  opened(file: ParkableFile): Promise<unknown> | null {
    this.#files.add(file)
    return this.#files.size > this.#maxFiles ? this.#parkSome(this.#maxFiles, LOOKS_PER_OPEN) : null
  }

  /** Counts a file no more. */
  closed(file: ParkableFile): void {
    this.#files.delete(file)
  }

  /**
   * Runs what opens a file; once more when the process or the system has no descriptor left, and some
   * could be given back.
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

  /** Half of them, for good: who has run into the limit once would do so again and again. */
  async #makeRoom(): Promise<boolean> {
    const half = Math.floor(this.#files.size / 2)
    this.#maxFiles = Math.min(this.#maxFiles, Math.max(MIN_OPEN_FILES, half))
    // Whoever was used comes round a second time.
    return (await this.#parkSome(half, this.#files.size * 2)) > 0
  }

  /** Goes on where it has stopped last. @returns how many were closed */
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

/** What bounds the open files of a file system: its own, unless it shares that of others. */
export function openFilesOf(fileSystem: FileSystem): OpenFiles {
  const known = filesOf.get(fileSystem)
  if (known !== undefined) return known
  const files = new OpenFiles()
  filesOf.set(fileSystem, files)
  return files
}

/** Has the files of a file system counted among others. To be called before any is open. */
export function shareOpenFiles(fileSystem: FileSystem, files: OpenFiles): void {
  filesOf.set(fileSystem, files)
}
