import { dirname } from 'node:path'
import { ClosedError, LockLostError } from '../errors.ts'
import { writeFully } from '../platform/file-io.ts'
import type { File, FileSystem, OpenMode } from '../platform/file-system.ts'
import { openFilesOf, type OpenFiles, type ParkableFile } from '../platform/open-files.ts'
import { isSystemError, systemError } from '../platform/system-error.ts'
import { LogGoneError, orInDoubt } from './in-doubt-error.ts'
import { isOfAnotherTopic } from './partition-metadata.ts'
import { writeAgain } from './write-again.ts'

/** How a {@link SegmentFile} is opened. */
export interface SegmentFileOptions {
  readonly fileSystem: FileSystem
  /** Whether it is the file of another owner. */
  readonly readOnly: boolean
  /** See `SegmentOptions`. */
  readonly topicId?: string | undefined
}

/**
 * The log file of one segment, opened at first use and given back while nobody needs it, so that
 * many segments, and many logs, do not hold as many descriptors.
 *
 * It is opened for reading and writing alike, and where that is refused, because the lock is lost or
 * the disk can only be read by now, for who wants to read. Whoever comes to write then opens it anew.
 *
 * The file of another owner is opened for reading only. He may have deleted its topic and made another of
 * that name, whose files have the same names and perhaps the same numbers, so the directory is asked
 * whose it is.
 *
 * Uses may overlap. A file that was written to is not parked before it is synced: another descriptor
 * would not hear of a write that failed behind the back of the first one.
 */
export class SegmentFile implements ParkableFile {
  readonly path: string
  /** Which file has this name, where that is known; see `FileStat`. */
  identity: string | null = null
  /** How often it was opened, by its name, for a change of it, and was the file that it had been. */
  timesFound = 0
  readonly #options: SegmentFileOptions
  readonly #files: OpenFiles
  #opening: Promise<File> | null = null
  /** What `#opening` has come to; `null` while nobody has used it since. */
  #openFile: File | null = null
  /** Whether it may only be read, because it could not be opened for more. */
  #isForReading = false
  /** In whose place one was opened that can be written to: closed when nobody uses the file any more. */
  #outdated: File | null = null
  #useCount = 0
  #isParking = false
  #isClosed = false
  /** Whether something was written that no sync covers. */
  #isUnsynced = false
  /** Whether what is open is the file that it has been from the start. */
  #isProven = false
  #wasUsed = false

  constructor(path: string, options: SegmentFileOptions) {
    this.path = path
    this.#options = options
    this.#files = openFilesOf(options.fileSystem)
  }

  /** Whether it is open, or about to be. */
  get isOpen(): boolean {
    return this.#opening !== null
  }

  /** Whether a use of it goes on. */
  get isInUse(): boolean {
    return this.#useCount > 0
  }

  get isIdle(): boolean {
    return this.#opening !== null && this.#useCount === 0 && !this.#isUnsynced
  }

  takeUse(): boolean {
    const wasUsed = this.#wasUsed
    this.#wasUsed = false
    return wasUsed
  }

  /** Makes the file if it does not exist, and opens it. */
  async create(): Promise<void> {
    this.#opening = this.#openAs('create')
    this.identity = await this.use(identityOf)
  }

  /**
   * Writes `buffers` one behind the other from `position`.
   *
   * @param onBegin called once the file is open: until then nothing of it can be in the file.
   * @throws LogGoneError when the file was opened again and is another one by now.
   */
  write(buffers: readonly Uint8Array[], position: number, onBegin?: () => void): Promise<void> {
    // No sync follows a write of nothing.
    if (buffers.length === 0) return Promise.resolve()
    return this.#use('change', (file) => {
      onBegin?.()
      return writeFully(file, buffers, position)
    })
  }

  /**
   * Like {@link SegmentFile.write}, inside of the call.
   *
   * @returns how many bytes were written, which may be fewer than there are; -1 when it has to be
   * waited for, and nothing was tried.
   * @throws what the file system says; any prefix of the bytes may have been written.
   */
  writeNow(buffers: readonly Uint8Array[], position: number): number {
    const file = this.openNow
    if (file?.writeNow === undefined || !this.#isProven) return -1
    this.#isUnsynced = true
    return file.writeNow(buffers, position)
  }

  /** Like {@link SegmentFile.datasync}, inside of the call. @returns false when it has to be waited for */
  datasyncNow(): boolean {
    if (this.#isForReading || this.openNow?.datasyncNow?.() !== true) return false
    this.#isUnsynced = false
    return true
  }

  /** Makes what was written durable. A rejection must not be retried. Must not overlap with writes. */
  datasync(): Promise<void> {
    return this.#use('sync', (file) => file.datasync())
  }

  /**
   * Runs `task` with the open file, which stays open at least as long.
   *
   * @throws {@link ClosedError} after {@link SegmentFile.close}, also in the middle of `task`.
   */
  use<T>(task: (file: File) => Promise<T>): Promise<T> {
    return this.#use('read', task)
  }

  async #use<T>(kind: 'read' | 'change' | 'sync', task: (file: File) => Promise<T>): Promise<T> {
    if (this.#isClosed) throw new ClosedError(`${this.path} is closed`)
    this.#useCount += 1
    this.#wasUsed = true
    try {
      const isDoubtful = kind === 'change' && !this.#isProven
      let file = await (isDoubtful ? this.#openProven() : this.#open())
      if (kind === 'sync' && this.#isForReading) file = await this.#openForMore(file)
      if (kind === 'change') this.#isUnsynced = true
      // It may have been closed meanwhile.
      this.#openFile = this.#opening === null ? null : file
      const result = await task(file)
      if (kind === 'sync') this.#isUnsynced = false
      return result
    } finally {
      this.#useCount -= 1
      if (this.#outdated !== null) await this.#closeOutdated()
      if (this.#isParking) await this.park()
    }
  }

  /** The file, for who is done with it before the call ends; `null` when it has to be opened first. */
  get openNow(): File | null {
    this.#wasUsed = true
    return this.#openFile
  }

  /** Cuts the file at `sizeBytes`, behind its last batch; not durable before the next sync. */
  shrink(sizeBytes: number): Promise<void> {
    return this.#use('change', (file) => file.truncate(sizeBytes))
  }

  /** Sets the time of its last modification, where the file system can do that. */
  async setModified(modifiedMs: number): Promise<void> {
    await this.#use('read', async (file) => file.setModified?.(modifiedMs))
  }

  /** Cuts the file at `sizeBytes`; durable when it resolves. @throws InDoubtError when the sync fails */
  async cut(sizeBytes: number): Promise<void> {
    await this.#use('change', async (file) => {
      await file.truncate(sizeBytes)
      await orInDoubt('a sync failed', () => file.sync())
    })
    this.#isUnsynced = false
  }

  /** See {@link writeAgain}. */
  async writeAgain(position: number, end: number): Promise<void> {
    await this.#use('change', (file) => writeAgain(file, position, end))
  }

  /** Whether the file that is used is still the one that its name stands for. */
  async isInPlace(): Promise<boolean> {
    const identity = this.identity ?? (await this.use(identityOf))
    return (await this.#options.fileSystem.stat(this.path))?.identity === identity
  }

  /** The same inside of the call. @returns false also when it has to be waited for, or the look fails */
  isInPlaceNow(): boolean {
    if (this.identity === null) return false
    try {
      return this.#options.fileSystem.statNow?.(this.path)?.identity === this.identity
    } catch {
      return false
    }
  }

  /** Closes the file as soon as nobody uses it, unless no sync covers it. The next use opens it again. */
  async park(): Promise<void> {
    if (this.#isUnsynced) return
    this.#isParking = this.#useCount > 0
    if (this.#isParking) return
    const opening = this.#opening
    this.#opening = null
    this.#isProven = false
    this.#openFile = null
    this.#files.closed(this)
    // What was written is synced, so a close that fails takes nothing along.
    await (await opening?.catch(() => null))?.close().catch(() => undefined)
  }

  /** Closes the file for good. Idempotent: the descriptor is gone also when that fails, which is told once. */
  async close(): Promise<void> {
    this.#isClosed = true
    const opening = this.#opening
    this.#opening = null
    this.#openFile = null
    this.#files.closed(this)
    if (this.#outdated !== null) await this.#closeOutdated()
    await (await opening?.catch(() => null))?.close()
  }

  async #closeOutdated(): Promise<void> {
    if (this.#useCount > 0 && !this.#isClosed) return
    const outdated = this.#outdated
    this.#outdated = null
    await outdated?.close().catch(() => undefined)
  }

  #open(): Promise<File> {
    if (this.#opening === null) {
      this.#isForReading = false
      this.#opening = this.#options.readOnly ? this.#openOfOwner() : this.#openAs('update')
    }
    return this.#opening
  }

  /** @throws `ENOENT` also when it is the file of another topic by now. */
  async #openOfOwner(): Promise<File> {
    const file = await this.#openAs('read')
    const { fileSystem, topicId } = this.#options
    try {
      // Asked for behind the open: whose a directory is, it says before it has any file of the log, and
      // until all of them are gone.
      if (await isOfAnotherTopic(fileSystem, dirname(this.path), topicId)) {
        throw systemError('ENOENT', 'open', this.path, 'it belongs to another topic by now')
      }
      return file
    } catch (error) {
      await this.#abandon(file)
      throw error
    }
  }

  /** Closes a file that was opened and is not to be used. */
  async #abandon(file: File): Promise<void> {
    this.#opening = null
    this.#files.closed(this)
    await file.close().catch(() => undefined)
  }

  /** Those who read meanwhile go on with the file that is open, and share no failure of this. */
  async #openForMore(file: File): Promise<File> {
    const opening = this.#opening
    const anew = await this.#openPath('update')
    if (this.#isClosed || this.#opening !== opening) {
      await anew.close()
      return this.#opening ?? file
    }
    this.#outdated = file
    this.#opening = Promise.resolve(anew)
    this.#isForReading = false
    return anew
  }

  #openPath(mode: OpenMode): Promise<File> {
    return this.#files.withRoom(() => this.#options.fileSystem.open(this.path, mode))
  }

  async #openAs(mode: OpenMode): Promise<File> {
    try {
      const file = await this.#openPath(mode)
      // It may have been closed meanwhile.
      const parking = this.#isClosed ? null : this.#files.opened(this)
      if (parking !== null) await parking
      return file
    } catch (error) {
      if (mode === 'update' && isRefused(error)) return this.#openForReading(error)
      this.#opening = null
      throw error
    }
  }

  /** @throws the refusal, where the file that has the name by now is another owner's, or may be. */
  async #openForReading(refusal: unknown): Promise<File> {
    this.#isForReading = true
    const file = await this.#openAs('read')
    const known = this.identity
    if (known === null) return file
    if ((await identityOf(file).catch(() => null)) === known) return file
    await this.#abandon(file)
    throw refusal
  }

  /** @throws LogGoneError when another file has its name, or none. */
  async #openProven(): Promise<File> {
    const known = this.identity
    // Somebody who reads may have opened it long ago.
    const isOpenedNow = this.#opening === null
    try {
      let file = await this.#open()
      if (this.#isForReading) file = await this.#openForMore(file)
      const identity = file.identity ?? (await file.stat()).identity
      if (known !== null && known !== identity) throw new LogGoneError(this.path)
      this.identity = identity
      this.#isProven = true
      if (isOpenedNow) this.timesFound += 1
      return file
    } catch (error) {
      if (known !== null && isSystemError(error, 'ENOENT')) throw new LogGoneError(this.path)
      throw error
    }
  }
}

async function identityOf(file: File): Promise<string> {
  return file.identity ?? (await file.stat()).identity
}

/** Whether nothing may be written to any more, so that a file could not be opened for that either. */
function isRefused(error: unknown): boolean {
  return error instanceof LockLostError || isSystemError(error, 'EROFS')
}
