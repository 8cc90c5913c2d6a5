import { ClosedError } from '../errors.ts'
import { writeFully } from '../platform/file-io.ts'
import type { File, FileSystem } from '../platform/file-system.ts'
import { BatchReader } from './batch-reader.ts'
import { orInDoubt } from './in-doubt-error.ts'

/** Bytes that are read and written at once, unless a batch is larger. */
const CHUNK_BYTES = 1024 * 1024

/** How a {@link SegmentFile} is opened. */
export interface SegmentFileOptions {
  readonly fileSystem: FileSystem
  readonly readOnly: boolean
}

/**
 * The log file of one segment, opened at first use and given back while nobody needs it, so that a
 * log of many segments does not hold as many descriptors.
 *
 * Uses may overlap. A file that was written to must not be parked before it is synced: another
 * descriptor would not hear of a write that failed behind the back of the first one.
 */
export class SegmentFile {
  readonly path: string
  readonly #options: SegmentFileOptions
  #opening: Promise<File> | null = null
  /** What `#opening` has come to; `null` while nobody has used it since. */
  #openFile: File | null = null
  #useCount = 0
  #isParking = false
  #isClosed = false

  constructor(path: string, options: SegmentFileOptions) {
    this.path = path
    this.#options = options
  }

  /** Whether it is open, or about to be. */
  get isOpen(): boolean {
    return this.#opening !== null
  }

  /** Whether a use of it goes on. */
  get isInUse(): boolean {
    return this.#useCount > 0
  }

  /** Makes the file if it does not exist, and opens it. */
  async create(): Promise<void> {
    this.#opening = this.#options.fileSystem.open(this.path, 'create')
    await this.#opening
  }

  /**
   * Runs `task` with the open file, which stays open at least as long.
   *
   * @throws {@link ClosedError} after {@link SegmentFile.close}, also in the middle of `task`.
   */
  async use<T>(task: (file: File) => Promise<T>): Promise<T> {
    if (this.#isClosed) throw new ClosedError(`${this.path} is closed`)
    this.#useCount += 1
    try {
      const file = await this.#open()
      // It may have been closed meanwhile.
      this.#openFile = this.#opening === null ? null : file
      return await task(file)
    } finally {
      this.#useCount -= 1
      if (this.#isParking) await this.park()
    }
  }

  /** The file, for who is done with it before the call ends; `null` when it has to be opened first. */
  get openNow(): File | null {
    return this.#openFile
  }

  /** Cuts the file at `sizeBytes`; durable when it resolves. @throws InDoubtError when the sync fails */
  async cut(sizeBytes: number): Promise<void> {
    await this.use(async (file) => {
      await file.truncate(sizeBytes)
      await orInDoubt('a sync failed', () => file.sync())
    })
  }

  /**
   * Writes the batches in [`position`, `end`) over themselves and ends the file behind them, so that
   * the next sync tells of bytes and of a size that an earlier one may have lost. A power loss in the
   * middle of it does not matter: each byte becomes what it is.
   *
   * @throws {@link CorruptRecordError} when they are not whole: the page cache has changed.
   */
  async writeAgain(position: number, end: number): Promise<void> {
    await this.use(async (file) => {
      const reader = new BatchReader(file, position, end)
      while (!reader.isAtEnd()) {
        const from = reader.position
        const batches: Buffer[] = []
        while (!reader.isAtEnd() && reader.position - from < CHUNK_BYTES) {
          await reader.header(CHUNK_BYTES)
          batches.push((await reader.batch()).buffer)
          reader.skip()
        }
        await writeFully(file, batches, from)
      }
      await file.truncate(end)
    })
  }

  /** Whether the file that is open is still the one that its name stands for. */
  async isInPlace(): Promise<boolean> {
    const open = await this.use((file) => file.stat())
    return (await this.#options.fileSystem.stat(this.path))?.identity === open.identity
  }

  /** Closes the file as soon as nobody uses it. The next use opens it again. */
  async park(): Promise<void> {
    this.#isParking = this.#useCount > 0
    if (this.#isParking) return
    const opening = this.#opening
    this.#opening = null
    this.#openFile = null
    // What was written is synced, so a close that fails takes nothing along.
    await (await opening?.catch(() => null))?.close().catch(() => undefined)
  }

  /** Closes the file for good. Idempotent: the descriptor is gone also when that fails, which is told once. */
  async close(): Promise<void> {
    this.#isClosed = true
    const opening = this.#opening
    this.#opening = null
    this.#openFile = null
    await (await opening?.catch(() => null))?.close()
  }

  #open(): Promise<File> {
    const { fileSystem, readOnly } = this.#options
    this.#opening ??= fileSystem
      .open(this.path, readOnly ? 'read' : 'update')
      .catch((error: unknown) => {
        this.#opening = null
        throw error
      })
    return this.#opening
  }
}
