import { posix } from 'node:path'
import { LockedError } from '../errors.ts'
import type { DirectoryEntry, FileStat, OpenMode } from '../platform/file-system.ts'
import { afterPowerLoss, syncSomeContent, type PowerLoss } from './crash-model.ts'
import { DirectoryInode, type FileInode, type Inode } from './simulated-inode.ts'
import type { SimulatedLock } from './simulated-lock.ts'
import { SimulatedTree } from './simulated-tree.ts'
import { simulatedError } from './simulated-error.ts'
import { digestOf } from './tree-digest.ts'

/** Free bytes of a disk without a limit. */
const MAX_FREE_BYTES = Number.MAX_SAFE_INTEGER

/** Parameters of a {@link SimulatedDisk}. */
export interface DiskModel extends Omit<PowerLoss, 'fate'> {
  /** Maximum total size of all files. */
  readonly capacityBytes: number
  /** Whether overwriting bytes needs space too, because nothing is overwritten in place. */
  readonly copyOnWrite: boolean
  readonly nowMs: () => number
}

/**
 * The state of a simulated file system and the effects of its calls, each of which is atomic.
 *
 * Paths are absolute and normal. Errors are those of Linux.
 */
export class SimulatedDisk {
  model: DiskModel
  readonly #tree: SimulatedTree
  readonly #locks: Map<DirectoryInode, SimulatedLock> = new Map<DirectoryInode, SimulatedLock>()
  /** Files with an open handle, even without a name. */
  readonly #open: Set<FileInode> = new Set<FileInode>()

  constructor(model: DiskModel, tree?: SimulatedTree) {
    this.model = model
    this.#tree = tree ?? new SimulatedTree(new DirectoryInode(model.nowMs()))
  }

  /** Opens the file at `path`. Pair it with {@link SimulatedDisk.closeFile}. */
  openFile(path: string, mode: OpenMode): FileInode {
    const place = this.#tree.find(path, 'open')
    if (place.inode !== null && mode === 'create-new') {
      throw simulatedError('EEXIST', 'open', path)
    }
    if (place.inode?.kind === 'directory') {
      throw simulatedError('EISDIR', 'open', path)
    }
    if (place.inode === null && (mode === 'read' || mode === 'update')) {
      throw simulatedError('ENOENT', 'open', path)
    }
    const file = place.inode ?? this.#tree.createFile(place, this.model.nowMs())
    file.openCount += 1
    this.#open.add(file)
    return file
  }

  closeFile(file: FileInode): void {
    file.openCount -= 1
    if (file.openCount === 0) {
      this.#open.delete(file)
    }
  }

  list(path: string): DirectoryEntry[] {
    const { memory } = this.#tree.findDirectory(path, 'scandir')
    // Names alone sort much faster than entries with a comparison function.
    return [...memory.keys()]
      .sort()
      .map((name): DirectoryEntry => ({ name, kind: memory.get(name)?.kind ?? 'file' }))
  }

  stat(path: string): FileStat | null {
    const inode = this.#tree.findOrNull(path, 'lstat')
    return inode === null ? null : statOf(inode)
  }

  /** The directories that {@link SimulatedDisk.createDirectories} would create, topmost first. */
  missingDirectories(path: string): string[] {
    const missing: string[] = []
    for (let at = path; ; at = posix.dirname(at)) {
      const inode = this.#tree.findOrNull(at, 'mkdir')
      if (inode?.kind === 'directory') {
        return missing.reverse()
      }
      if (inode !== null) {
        throw simulatedError('EEXIST', 'mkdir', path)
      }
      missing.push(at)
    }
  }

  /** Creates at most `count` of the missing directories, and returns them. */
  createDirectories(path: string, count: number): string[] {
    const created = this.missingDirectories(path).slice(0, count)
    for (const directory of created) {
      this.#tree.createDirectory(this.#tree.find(directory, 'mkdir'), this.model.nowMs())
    }
    return created
  }

  rename(from: string, to: string): void {
    const moved = this.#tree.find(from, 'rename').inode
    const replaced = this.#tree.rename(from, to, this.model.nowMs())
    if (this.model.persona === 'ext4' && replaced !== null && moved?.kind === 'file') {
      // ext4 writes a file back before the file replaces another one (auto_da_alloc).
      moved.sync()
    }
    if (replaced?.kind === 'directory') {
      this.#loseLock(replaced, `${to} was replaced`)
    }
  }

  unlink(path: string): void {
    this.#tree.unlink(path, this.model.nowMs())
  }

  removeDirectory(path: string): void {
    this.#loseLock(this.#tree.removeDirectory(path, this.model.nowMs()), `${path} was removed`)
  }

  syncDirectory(path: string): void {
    const directory = this.#tree.findDirectory(path, 'open')
    this.#tree.journal.commitDirectory(directory, this.model.persona !== 'strict-posix')
    this.#syncName(directory)
  }

  /** Effect of a failed `syncDirectory`: its names stay uncertain permanently. */
  failSyncDirectory(path: string): void {
    const inode = this.#tree.findOrNull(path, 'open')
    if (inode?.kind === 'directory') {
      this.#tree.journal.abandonDirectory(inode)
    }
  }

  /** Makes the content durable, and the name too if the modelled file system does that. */
  syncFile(file: FileInode): void {
    file.sync()
    this.#syncName(file)
  }

  /**
   * Effect of a failed sync of a file: its pages count as clean.
   *
   * @param partial whether a random part of them reached the disk
   */
  failSyncFile(file: FileInode, partial: boolean): void {
    if (partial) {
      syncSomeContent(file, this.model)
    }
    file.abandonUnsynced()
  }

  /** @throws ENOENT if `path` does not exist */
  freeBytes(path: string): number {
    if (this.stat(path) === null) throw simulatedError('ENOENT', 'statfs', path)
    return Math.max(0, Math.min(this.model.capacityBytes - this.#usedBytes(), MAX_FREE_BYTES))
  }

  /** The maximum size of `file` while nothing else grows. */
  growthLimit(file: FileInode): number {
    if (this.model.capacityBytes === Infinity) {
      return Infinity
    }
    const freeBytes = this.model.capacityBytes - this.#usedBytes()
    return Math.max(file.sizeBytes, file.sizeBytes + freeBytes)
  }

  #usedBytes(): number {
    let usedBytes = 0
    for (const { sizeBytes } of this.#reachableFiles()) {
      usedBytes += sizeBytes
    }
    return usedBytes
  }

  /** Maximum bytes of `file` that can be written at `position` while nothing else grows. */
  roomAt(file: FileInode, position: number): number {
    const room = this.growthLimit(file) - (this.model.copyOnWrite ? file.sizeBytes : position)
    return Math.max(0, room)
  }

  /** @throws LockedError if another lock is held on the directory */
  lock(path: string, create: (directory: DirectoryInode) => SimulatedLock): SimulatedLock {
    const directory = this.#tree.findDirectory(path, 'open')
    const holder = this.#locks.get(directory)
    if (holder !== undefined) {
      const { pid } = process
      throw new LockedError(path, { pid, host: null, sinceMs: holder.sinceMs, isThisProcess: true })
    }
    const lock = create(directory)
    this.#locks.set(directory, lock)
    return lock
  }

  holdsLock(directory: DirectoryInode, lock: SimulatedLock): boolean {
    return this.#locks.get(directory) === lock
  }

  /** Has no effect if another owner has taken the lock. */
  unlock(directory: DirectoryInode, lock: SimulatedLock): void {
    if (this.holdsLock(directory, lock)) {
      this.#locks.delete(directory)
    }
  }

  /** Takes the lock from its owner. Has no effect without a lock. */
  loseLock(path: string, reason: string): void {
    this.#loseLock(this.#tree.findDirectory(path, 'open'), reason)
  }

  /** Tells the owners of all locks that their machine has stopped. */
  tellStopped(reason: Error): void {
    for (const lock of [...this.#locks.values()]) lock.stopped(reason)
  }

  /** Every file that has a name, with its path, in path order. */
  files(): [string, FileInode][] {
    return this.#tree.files()
  }

  /** @throws ENOENT, or EISDIR for a directory */
  file(path: string): FileInode {
    const inode = this.#tree.findOrNull(path, 'open')
    if (inode?.kind !== 'file') {
      throw simulatedError(inode === null ? 'ENOENT' : 'EISDIR', 'open', path)
    }
    return inode
  }

  /** Creates a file with exactly this content, durable together with all names above it. */
  putFile(path: string, bytes: Uint8Array): void {
    const directory = posix.dirname(path)
    this.createDirectories(directory, Infinity)
    const file = this.openFile(path, 'create')
    file.truncate(0)
    file.write(Buffer.from(bytes), 0)
    file.modifiedMs = this.model.nowMs()
    file.sync()
    this.closeFile(file)
    for (let at = path; at !== '/'; at = posix.dirname(at)) {
      const place = this.#tree.find(at, 'open')
      if (place.directory !== null) {
        this.#tree.journal.commitName(place.directory, place.name)
      }
    }
  }

  /** Drops memory that counts as clean without being on the disk: reads see the disk again. */
  evictPageCache(): void {
    for (const file of this.#reachableFiles()) {
      file.evict()
    }
  }

  /** See {@link digestOf}. */
  digest(): string {
    return digestOf(this.#tree)
  }

  /** A separate, equal disk without handles or locks. */
  clone(model: DiskModel): SimulatedDisk {
    return new SimulatedDisk(model, this.#tree.clone())
  }

  /** The disk as found after a power loss. This one is not changed. */
  afterPowerLoss(model: DiskModel, fate: PowerLoss['fate']): SimulatedDisk {
    return new SimulatedDisk(model, afterPowerLoss(this.#tree, { ...model, fate }))
  }

  #reachableFiles(): Set<FileInode> {
    return new Set([...this.#tree.files().map(([, file]) => file), ...this.#open])
  }

  #syncName(inode: Inode): void {
    if (this.model.persona !== 'strict-posix') {
      this.#tree.journal.commitCreation(inode)
    }
  }

  #loseLock(directory: DirectoryInode, reason: string): void {
    const lock = this.#locks.get(directory)
    this.#locks.delete(directory)
    lock?.lost(new Error(reason))
  }
}

/** The result of `stat` for a file or directory. Directories have size 0. */
export function statOf(inode: Inode): FileStat {
  const sizeBytes = inode.kind === 'file' ? inode.sizeBytes : 0
  const permissions = inode.kind === 'file' ? 0o600 : 0o700
  const { kind, modifiedMs, createdMs, number } = inode
  return { kind, sizeBytes, modifiedMs, createdMs, permissions, identity: String(number) }
}
