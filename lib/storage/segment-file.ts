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
  /** Whether another process owns the file. */
  readonly readOnly: boolean
  /** See `SegmentOptions`. */
  readonly topicId?: string | undefined
}

/**
 * The log file of one segment. It is opened at first use and closed while nobody uses it, so that
 * many segments and many logs do not need as many descriptors.
 *
 * It is opened for reading and writing. If that is refused, because the lock is lost or the disk
 * has become read-only, it is opened for reading only. A later write opens it again.
 *
 * A file of another owner is opened for reading only. The owner may have deleted the topic and
 * created another of the same name, whose files have the same names and perhaps the same identity.
 * So the directory is checked for the id of its topic.
 *
 * Uses may overlap. A file that was written to is not parked before it is synced: a new descriptor
 * would not report a write-back that failed before it was opened.
 */
export class SegmentFile implements ParkableFile {
  readonly path: string
  /** Identity of the file with this name, if it is known; see `FileStat`. */
  identity: string | null = null
  /** How often it was opened by its name for a change, and was still the same file. */
  timesFound = 0
  readonly #options: SegmentFileOptions
  readonly #files: OpenFiles
  #opening: Promise<File> | null = null
  /** Resolved value of `#opening`; `null` until its first use. */
  #openFile: File | null = null
  /** Whether it is open for reading only, because it could not be opened for more. */
  #isForReading = false
  /** The file that a writable one has replaced; closed when nobody uses it any more. */
  #outdated: File | null = null
  #useCount = 0
  #isParking = false
  #isClosed = false
  /** Whether there are writes that no sync covers. */
  #isUnsynced = false
  /** Whether the open file is known to be the original one. */
  #isProven = false
  #wasUsed = false

  constructor(path: string, options: SegmentFileOptions) {
    this.path = path
    this.#options = options
    this.#files = openFilesOf(options.fileSystem)
  }

  /** Whether it is open or being opened. */
  get isOpen(): boolean {
    return this.#opening !== null
  }

  /** Whether somebody is using it. */
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

  /** Creates the file if it does not exist, and opens it. */
  async create(): Promise<void> {
    this.#opening = this.#openAs('create')
    this.identity = await this.use(identityOf)
  }

  /**
   * Writes `buffers` one after another from `position`.
   *
   * @param onBegin called once the file is open; nothing is written before.
   * @throws LogGoneError when the file was reopened and is a different one now.
   */
  write(buffers: readonly Uint8Array[], position: number, onBegin?: () => void): Promise<void> {
    // A write of nothing is not followed by a sync.
    if (buffers.length === 0) return Promise.resolve()
    return this.#use('change', (file) => {
      onBegin?.()
      return writeFully(file, buffers, position)
    })
  }

  /**
   * Like {@link SegmentFile.write}, but synchronous.
   *
   * @returns the number of bytes written, which may be fewer than there are; -1 if it would have to
   * wait, and nothing was tried.
   * @throws the system's error; any prefix of the bytes may have been written.
   */
  writeNow(buffers: readonly Uint8Array[], position: number): number {
    const file = this.openNow
    if (file?.writeNow === undefined || !this.#isProven) return -1
    this.#isUnsynced = true
    return file.writeNow(buffers, position)
  }

  /** Like {@link SegmentFile.datasync}, but synchronous. @returns false if it would have to wait */
  datasyncNow(): boolean {
    if (this.#isForReading || this.openNow?.datasyncNow?.() !== true) return false
    this.#isUnsynced = false
    return true
  }

  /** Makes all writes durable. A rejection must not be retried. Must not overlap with writes. */
  datasync(): Promise<void> {
    return this.#use('sync', (file) => file.datasync())
  }

  /**
   * Runs `task` with the open file, which stays open at least until it ends.
   *
   * @throws {@link ClosedError} after {@link SegmentFile.close}, even in the middle of `task`.
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
      // It may have been closed in the meantime.
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

  /** The open file, for synchronous use only; `null` if it has to be opened first. */
  get openNow(): File | null {
    this.#wasUsed = true
    return this.#openFile
  }

  /** Truncates the file to `sizeBytes`, after its last batch; not durable before the next sync. */
  shrink(sizeBytes: number): Promise<void> {
    return this.#use('change', (file) => file.truncate(sizeBytes))
  }

  /** Sets the time of the last modification, if the file system supports it. */
  async setModified(modifiedMs: number): Promise<void> {
    await this.#use('read', async (file) => file.setModified?.(modifiedMs))
  }

  /** Truncates to `sizeBytes`, durably. @throws InDoubtError when the sync fails */
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

  /** Whether the file in use is still the one that has this name. */
  async isInPlace(): Promise<boolean> {
    const identity = this.identity ?? (await this.use(identityOf))
    return (await this.#options.fileSystem.stat(this.path))?.identity === identity
  }

  /** Like `isInPlace`, but synchronous. @returns false also if it would have to wait or fails */
  isInPlaceNow(): boolean {
    if (this.identity === null) return false
    try {
      return this.#options.fileSystem.statNow?.(this.path)?.identity === this.identity
    } catch {
      return false
    }
  }

  /** Closes the file once nobody uses it, unless writes are unsynced. The next use reopens it. */
  async park(): Promise<void> {
    if (this.#isUnsynced) return
    this.#isParking = this.#useCount > 0
    if (this.#isParking) return
    const opening = this.#opening
    this.#opening = null
    this.#isProven = false
    this.#openFile = null
    this.#files.closed(this)
    // All writes are synced, so a close that fails loses nothing.
    await (await opening?.catch(() => null))?.close().catch(() => undefined)
  }

  /** Closes the file for good. Idempotent. A failure is reported once; the descriptor is gone. */
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

  /** @throws `ENOENT` also if the file now belongs to another topic. */
  async #openOfOwner(): Promise<File> {
    const file = await this.#openAs('read')
    const { fileSystem, topicId } = this.#options
    try {
      // Checked after the open: a directory names its topic before it has any file of the log, and
      // until all of them are gone.
      if (await isOfAnotherTopic(fileSystem, dirname(this.path), topicId)) {
        throw systemError('ENOENT', 'open', this.path, 'it now belongs to another topic')
      }
      return file
    } catch (error) {
      await this.#abandon(file)
      throw error
    }
  }

  /** Closes a file that was opened but is not to be used. */
  async #abandon(file: File): Promise<void> {
    this.#opening = null
    this.#files.closed(this)
    await file.close().catch(() => undefined)
  }

  /** Reads continue with the file that is open, and are not affected if this fails. */
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
      // It may have been closed in the meantime.
      const parking = this.#isClosed ? null : this.#files.opened(this)
      if (parking !== null) await parking
      return file
    } catch (error) {
      if (mode === 'update' && isRefused(error)) return this.#openForReading(error)
      this.#opening = null
      throw error
    }
  }

  /** @throws the refusal, if another owner's file has the name by now, or may have. */
  async #openForReading(refusal: unknown): Promise<File> {
    this.#isForReading = true
    const file = await this.#openAs('read')
    const known = this.identity
    if (known === null) return file
    if ((await identityOf(file).catch(() => null)) === known) return file
    await this.#abandon(file)
    throw refusal
  }

  /** @throws LogGoneError when the name now stands for another file, or for none. */
  async #openProven(): Promise<File> {
    const known = this.identity
    // A reader may have opened it long ago.
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

/** Whether nothing may be written any more, so that opening a file for writing fails too. */
function isRefused(error: unknown): boolean {
  return error instanceof LockLostError || isSystemError(error, 'EROFS')
}
