import type { LockLostError } from '../errors.ts'
import { lockLostBy } from '../errors/lock-lost-by.ts'
import type { DirectoryLock, File, FileStat, FileSystem, OpenMode } from './file-system.ts'
import { RoomyFileSystem } from './roomy-file-system.ts'

/**
 * A file system that changes nothing once the lock of `dir` is lost.
 *
 * Ownership is checked here, not by each of the many callers, so the check covers everything that
 * is written: batches, rolls, indexes, checkpoints, the list of topics, the clean shutdown mark. It
 * comes before each change, because the bytes may already be the next owner's. It also comes after
 * each sync, because the result of a sync is reported to somebody.
 *
 * Calls by path check the disk every time: the path may lead into a directory that has replaced
 * this one. Calls on an open file can only reach that file.
 *
 * Changes may have to wait, see {@link FencedFileSystem.holdChanges}.
 *
 * When descriptors run out, idle files are closed, see {@link RoomyFileSystem}.
 *
 * Without the lock every change fails with {@link LockLostError}; reads go on. All calls may overlap
 * as they may on the file system behind it.
 */
export class FencedFileSystem extends RoomyFileSystem {
  readonly #fence: Fence

  constructor(behind: FileSystem, lock: DirectoryLock, dir: string) {
    super(behind)
    this.#fence = new Fence(lock, dir)
  }

  /**
   * Holds back every change that is requested from now on until `until` resolves. If it rejects,
   * they are never made, and reject with its error. Reads go on, and so do syncs, which change
   * nothing. Changes of files that were opened before wait as well.
   */
  holdChanges(until: Promise<void>): void {
    this.#fence.hold(until)
  }

  override async open(path: string, mode: OpenMode): Promise<File> {
    if (mode === 'read') return super.open(path, mode)
    if (mode !== 'update' && this.#fence.held !== null) await this.#fence.held
    this.#fence.verify()
    return new FencedFile(await super.open(path, mode), this.#fence)
  }

  override async createDirectory(path: string): Promise<string[]> {
    if (this.#fence.held !== null) await this.#fence.held
    this.#fence.verify()
    return super.createDirectory(path)
  }

  override async rename(from: string, to: string): Promise<void> {
    if (this.#fence.held !== null) await this.#fence.held
    this.#fence.verify()
    await super.rename(from, to)
  }

  override async unlink(path: string): Promise<void> {
    if (this.#fence.held !== null) await this.#fence.held
    this.#fence.verify()
    await super.unlink(path)
  }

  override async removeDirectory(path: string): Promise<void> {
    if (this.#fence.held !== null) await this.#fence.held
    this.#fence.verify()
    await super.removeDirectory(path)
  }

  override async syncDirectory(path: string): Promise<void> {
    await super.syncDirectory(path)
    this.#fence.verify()
  }
}

class Fence {
  readonly #lock: DirectoryLock
  readonly #dir: string

  /** What changes wait for; `null` if they need not wait. */
  held: Promise<void> | null = null

  constructor(lock: DirectoryLock, dir: string) {
    this.#lock = lock
    this.#dir = dir
  }

  hold(until: Promise<void>): void {
    this.held = until
    const release = (): void => {
      this.held = null
    }
    // If it has failed, everything goes on waiting for it, and fails.
    until.then(release, () => undefined)
  }

  /** @throws {@link LockLostError} when the lock is known to be lost. */
  ensureHeld(): void {
    if (!this.#lock.held) throw this.#lost()
  }

  /** @throws {@link LockLostError} when a check of the disk finds the lock lost. */
  verify(): void {
    if (!this.#lock.verify()) throw this.#lost()
  }

  /** The outcome is unknown: the operation that the refused call belongs to may have begun. */
  #lost(): LockLostError {
    return lockLostBy(this.#dir, this.#lock.stopReason ?? null)
  }
}

class FencedFile implements File {
  readonly #behind: File
  readonly #fence: Fence

  constructor(behind: File, fence: Fence) {
    this.#behind = behind
    this.#fence = fence
  }

  get path(): string {
    return this.#behind.path
  }

  get identity(): string | undefined {
    return this.#behind.identity
  }

  read(buffer: Uint8Array, position: number): Promise<number> {
    return this.#behind.read(buffer, position)
  }

  readNow(buffer: Uint8Array, position: number): number {
    return this.#behind.readNow?.(buffer, position) ?? -1
  }

  async write(buffers: readonly Uint8Array[], position: number): Promise<number> {
    if (this.#fence.held !== null) await this.#fence.held
    this.#fence.ensureHeld()
    return this.#behind.write(buffers, position)
  }

  writeNow(buffers: readonly Uint8Array[], position: number): number {
    if (this.#behind.writeNow === undefined || this.#fence.held !== null) return -1
    this.#fence.ensureHeld()
    return this.#behind.writeNow(buffers, position)
  }

  async truncate(sizeBytes: number): Promise<void> {
    if (this.#fence.held !== null) await this.#fence.held
    this.#fence.ensureHeld()
    await this.#behind.truncate(sizeBytes)
  }

  async datasync(): Promise<void> {
    await this.#behind.datasync()
    this.#fence.ensureHeld()
  }

  datasyncNow(): boolean {
    const isDone = this.#behind.datasyncNow?.() === true
    if (isDone) this.#fence.ensureHeld()
    return isDone
  }

  async sync(): Promise<void> {
    await this.#behind.sync()
    this.#fence.ensureHeld()
  }

  async setModified(modifiedMs: number): Promise<void> {
    if (this.#fence.held !== null) await this.#fence.held
    this.#fence.ensureHeld()
    await this.#behind.setModified?.(modifiedMs)
  }

  stat(): Promise<FileStat> {
    return this.#behind.stat()
  }

  close(): Promise<void> {
    return this.#behind.close()
  }
}
