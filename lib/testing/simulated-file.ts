import { ClosedError } from '../errors.ts'
import type { File, FileStat } from '../platform/file-system.ts'
import { statOf, type SimulatedDisk } from './simulated-disk.ts'
import type { FileInode } from './simulated-inode.ts'
import type { Operation, SimulatedMachine } from './simulated-machine.ts'
import { simulatedError } from './simulated-error.ts'
import { requireAtLeast } from './simulation-options.ts'

/** What an open file refers to. */
export interface OpenedFile {
  /** Path as the caller gave it. */
  readonly path: string
  /** Path in the simulation, for the operation log and for faults. */
  readonly at: string
  /** Opened for this handle only. */
  readonly inode: FileInode
  readonly writable: boolean
  readonly disk: SimulatedDisk
  readonly machine: SimulatedMachine
}

/**
 * An open file of a simulated file system.
 *
 * Calls may overlap; each takes effect as a whole at one moment. `close` waits for calls that have
 * started.
 */
export class SimulatedFile implements File {
  readonly path: string
  readonly identity: string
  readonly #at: string
  readonly #inode: FileInode
  readonly #writable: boolean
  readonly #disk: SimulatedDisk
  readonly #machine: SimulatedMachine
  #closing: Promise<void> | null = null
  #callsInFlight = 0
  #onIdle: (() => void) | null = null

  constructor(opened: OpenedFile) {
    this.path = opened.path
    this.identity = statOf(opened.inode).identity
    this.#at = opened.at
    this.#inode = opened.inode
    this.#writable = opened.writable
    this.#disk = opened.disk
    this.#machine = opened.machine
  }

  async read(buffer: Uint8Array, position: number): Promise<number> {
    return await this.#perform(this.#reading(buffer, position))
  }

  readNow(buffer: Uint8Array, position: number): number {
    if (this.#closing !== null) return -1
    return this.#machine.performNow(this.#reading(buffer, position)) ?? -1
  }

  #reading(buffer: Uint8Array, position: number): Operation<number> {
    requireAtLeast('position', position, 0)
    return {
      kind: 'read',
      path: this.#at,
      syscall: 'read',
      detail: `@${position} +${buffer.length}`,
      run: (limitBytes) =>
        this.#inode.memory.read(buffer.subarray(0, Math.min(buffer.length, limitBytes)), position),
    }
  }

  async write(buffers: readonly Uint8Array[], position: number): Promise<number> {
    return await this.#perform(this.#writing(buffers, position))
  }

  writeNow(buffers: readonly Uint8Array[], position: number): number {
    if (this.#closing !== null) return -1
    return this.#machine.performNow(this.#writing(buffers, position)) ?? -1
  }

  #writing(buffers: readonly Uint8Array[], position: number): Operation<number> {
    requireAtLeast('position', position, 0)
    const sizeBytes = buffers.reduce((sum, buffer) => sum + buffer.length, 0)
    return {
      kind: 'write',
      path: this.#at,
      syscall: 'write',
      detail: `@${position} +${sizeBytes}`,
      countParts: () => sizeBytes,
      run: (limitBytes) => {
        this.#requireWritable('write')
        const room = this.#disk.roomAt(this.#inode, position)
        if (room <= 0 && sizeBytes > 0) {
          throw simulatedError('ENOSPC', 'write', this.path)
        }
        const count = Math.min(sizeBytes, room, limitBytes)
        this.#inode.write(Buffer.concat(buffers, count), position)
        this.#inode.modifiedMs = this.#disk.model.nowMs()
        return count
      },
    }
  }

  async truncate(sizeBytes: number): Promise<void> {
    requireAtLeast('sizeBytes', sizeBytes, 0)
    await this.#perform({
      kind: 'truncate',
      path: this.#at,
      syscall: 'ftruncate',
      detail: `=${sizeBytes}`,
      run: () => {
        this.#requireWritable('ftruncate', 'EINVAL')
        if (sizeBytes > this.#inode.sizeBytes && sizeBytes > this.#disk.growthLimit(this.#inode)) {
          throw simulatedError('ENOSPC', 'ftruncate', this.path)
        }
        this.#inode.truncate(sizeBytes)
        this.#inode.modifiedMs = this.#disk.model.nowMs()
      },
    })
  }

  async datasync(): Promise<void> {
    await this.#perform(this.#syncing('datasync', 'fdatasync'))
  }

  datasyncNow(): boolean {
    if (this.#closing !== null) return false
    return this.#machine.performNow(this.#syncing('datasync', 'fdatasync')) !== null
  }

  async sync(): Promise<void> {
    await this.#perform(this.#syncing('sync', 'fsync'))
  }

  async setModified(modifiedMs: number): Promise<void> {
    await this.#perform({
      kind: 'setModified',
      path: this.#at,
      syscall: 'futime',
      run: () => {
        this.#inode.modifiedMs = modifiedMs
      },
    })
  }

  async stat(): Promise<FileStat> {
    return await this.#perform({
      kind: 'stat',
      path: this.#at,
      syscall: 'fstat',
      run: () => statOf(this.#inode),
    })
  }

  async close(): Promise<void> {
    this.#closing ??= this.#closeOnce()
    await this.#closing
  }

  async #closeOnce(): Promise<void> {
    if (this.#callsInFlight > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve
      })
    }
    const free = (): void => {
      this.#disk.closeFile(this.#inode)
    }
    await this.#machine.perform({
      kind: 'close',
      path: this.#at,
      syscall: 'close',
      run: free,
      // The descriptor is freed even if closing it reports an error.
      onFault: free,
    })
  }

  #syncing(kind: 'datasync' | 'sync', syscall: string): Operation<void> {
    return {
      kind,
      path: this.#at,
      syscall,
      run: () => {
        this.#disk.syncFile(this.#inode)
      },
      onFault: (partial) => {
        this.#disk.failSyncFile(this.#inode, partial)
      },
    }
  }

  async #perform<T>(operation: Operation<T>): Promise<T> {
    if (this.#closing !== null) {
      throw new ClosedError(`${this.path} is closed`)
    }
    this.#callsInFlight += 1
    try {
      return await this.#machine.perform(operation)
    } finally {
      this.#callsInFlight -= 1
      if (this.#callsInFlight === 0) {
        this.#onIdle?.()
      }
    }
  }

  #requireWritable(syscall: string, code = 'EBADF'): void {
    if (!this.#writable) {
      throw simulatedError(code, syscall, this.path)
    }
  }
}
