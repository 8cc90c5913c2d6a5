import { fdatasyncSync, readSync, writeSync, writevSync, type Dirent, type Stats } from 'node:fs'
import { ClosedError } from '../errors.ts'
import type { File, FileStat } from './file-system.ts'
import { promptIo } from './prompt-io.ts'
import type { PromptSync } from './prompt-sync.ts'
import type { FileDescriptor } from './plain-descriptor.ts'

/** Mode of new files: by default nobody but the owner can read a log. */
export const FILE_MODE = 0o600
/** Mode of new directories. */
export const DIRECTORY_MODE = 0o700

/**
 * A sync of more bytes is left to the pool, however fast the disk is, because it takes time for
 * every byte. For a segment of 1 GiB that was not synced before its roll it is 0.3 s.
 */
const MAX_PROMPT_SYNC_BYTES = 1024 * 1024

/**
 * All open files. A `FileHandle` that is garbage collected closes its descriptor and emits a
 * warning, so a file is kept until it is closed, even if its user forgets it.
 */
const openFiles = new Set<NodeFile>()

/** An open file, with either kind of descriptor. */
export class NodeFile implements File {
  readonly path: string
  readonly identity: string | undefined
  readonly #handle: FileDescriptor
  readonly #promptSync: PromptSync
  #unsyncedBytes = 0
  #callsInFlight = 0
  #onIdle: (() => void) | null = null
  #closed: Promise<void> | null = null

  constructor(path: string, handle: FileDescriptor, promptSync: PromptSync, identity?: string) {
    this.path = path
    this.identity = identity
    this.#handle = handle
    this.#promptSync = promptSync
    openFiles.add(this)
  }

  async read(buffer: Uint8Array, position: number): Promise<number> {
    this.#ensureOpen()
    const { fd } = this.#handle
    const call = (): number => readNow(fd, buffer, position)
    const size = promptIo.try('read', buffer.length, call)
    if (size >= 0) return size
    return this.#run(async (handle) => {
      const turn = promptIo.whenTurned('read', buffer.length)
      if (turn !== null) {
        await turn
        const sizeThen = promptIo.try('read', buffer.length, call)
        if (sizeThen >= 0) return sizeThen
      }
      return readInPool(handle, buffer, position)
    })
  }

  readNow(buffer: Uint8Array, position: number): number {
    if (this.#closed !== null) return -1
    const { fd } = this.#handle
    return promptIo.try('read', buffer.length, () => readNow(fd, buffer, position))
  }

  async write(buffers: readonly Uint8Array[], position: number): Promise<number> {
    this.#ensureOpen()
    const size = this.writeNow(buffers, position)
    if (size >= 0) return size
    return this.#run(async (handle) => {
      const turn = promptIo.whenTurned('write', totalBytes(buffers))
      if (turn !== null) {
        await turn
        const sizeThen = this.writeNow(buffers, position)
        if (sizeThen >= 0) return sizeThen
      }
      const { bytesWritten } = await handle.writev(buffers, position)
      this.#unsyncedBytes += bytesWritten
      return bytesWritten
    })
  }

  writeNow(buffers: readonly Uint8Array[], position: number): number {
    if (this.#closed !== null) return -1
    const { fd } = this.#handle
    const size = promptIo.try('write', totalBytes(buffers), () => writeAt(fd, buffers, position))
    if (size > 0) this.#unsyncedBytes += size
    return size
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#run((handle) => handle.truncate(sizeBytes))
  }

  async datasync(): Promise<void> {
    this.#ensureOpen()
    if (this.datasyncNow()) return
    const { fd } = this.#handle
    const call = (): void => {
      fdatasyncSync(fd)
    }
    const isLarge = this.#unsyncedBytes > MAX_PROMPT_SYNC_BYTES
    const promptSync = this.#promptSync
    await this.#runSync((handle) => {
      const callInPool = (): Promise<void> => handle.datasync()
      return isLarge ? promptSync.runInPool(callInPool) : promptSync.run(call, callInPool)
    })
  }

  datasyncNow(): boolean {
    if (this.#closed !== null || this.#unsyncedBytes > MAX_PROMPT_SYNC_BYTES) return false
    const { fd } = this.#handle
    const isMade = this.#promptSync.try(() => {
      fdatasyncSync(fd)
    })
    if (isMade) this.#unsyncedBytes = 0
    return isMade
  }

  sync(): Promise<void> {
    return this.#runSync((handle) => handle.sync())
  }

  setModified(modifiedMs: number): Promise<void> {
    const time = modifiedMs / 1000
    return this.#run((handle) => handle.utimes(time, time))
  }

  stat(): Promise<FileStat> {
    return this.#run(async (handle) => toFileStat(await handle.stat()))
  }

  close(): Promise<void> {
    this.#closed ??= this.#closeOnceIdle()
    return this.#closed
  }

  async #closeOnceIdle(): Promise<void> {
    if (this.#callsInFlight > 0) {
      await new Promise<void>((resolveIdle) => {
        this.#onIdle = resolveIdle
      })
    }
    openFiles.delete(this)
    await this.#handle.close()
  }

  #ensureOpen(): void {
    if (this.#closed !== null) throw new ClosedError(`${this.path} is closed`)
  }

  /** A sync in flight may not cover what is written meanwhile. */
  async #runSync(call: (handle: FileDescriptor) => Promise<void>): Promise<void> {
    const sizeBytes = this.#unsyncedBytes
    await this.#run(call)
    this.#unsyncedBytes -= Math.min(sizeBytes, this.#unsyncedBytes)
  }

  async #run<T>(call: (handle: FileDescriptor) => Promise<T>): Promise<T> {
    this.#ensureOpen()
    this.#callsInFlight += 1
    try {
      return await call(this.#handle)
    } finally {
      this.#callsInFlight -= 1
      if (this.#callsInFlight === 0) this.#onIdle?.()
    }
  }
}

function totalBytes(buffers: readonly Uint8Array[]): number {
  let sizeBytes = 0
  for (const { length } of buffers) sizeBytes += length
  return sizeBytes
}

function writeAt(fd: number, buffers: readonly Uint8Array[], position: number): number {
  const [first] = buffers
  if (first === undefined) return 0
  return buffers.length === 1
    ? writeSync(fd, first, 0, first.length, position)
    : writevSync(fd, buffers, position)
}

/** Fills `buffer`, up to the end of the file. @returns the number of bytes read */
function readNow(fd: number, buffer: Uint8Array, position: number): number {
  let size = 0
  while (size < buffer.length) {
    const count = readSync(fd, buffer, size, buffer.length - size, position + size)
    if (count === 0) break
    size += count
  }
  return size
}

/** Like {@link readNow}, on threads of the pool. */
async function readInPool(
  handle: FileDescriptor,
  buffer: Uint8Array,
  position: number,
): Promise<number> {
  let size = 0
  while (size < buffer.length) {
    const { bytesRead } = await handle.read(buffer, size, buffer.length - size, position + size)
    if (bytesRead === 0) break
    size += bytesRead
  }
  return size
}

/** Converts the system's description of a file to that of all file systems here. */
export function toFileStat(stats: Stats): FileStat {
  const { size: sizeBytes, mtimeMs: modifiedMs, birthtimeMs } = stats
  const [kind, permissions, identity] = [kindOf(stats), permissionsOf(stats), identityOf(stats)]
  // File systems that do not record it are reported to return 1970.
  return birthtimeMs > 0
    ? { kind, sizeBytes, modifiedMs, permissions, identity, createdMs: birthtimeMs }
    : { kind, sizeBytes, modifiedMs, permissions, identity }
}

/** The identity of a file, see {@link FileStat}. */
export function identityOf({ dev, ino }: Stats): string {
  return `${dev}:${ino}`
}

/** Windows only knows whether a file is writable, and reports that for everybody. */
export function permissionsOf(stats: Stats): number {
  return process.platform === 'win32'
    ? stats.isDirectory()
      ? DIRECTORY_MODE
      : FILE_MODE
    : stats.mode & 0o777
}

/** Whether an entry is a file, a directory, or something that a log does not use. */
export function kindOf(entry: Dirent | Stats): FileStat['kind'] {
  if (entry.isFile()) return 'file'
  return entry.isDirectory() ? 'directory' : 'other'
}
