import {
  close,
  closeSync,
  fdatasync,
  fstatSync,
  fsync,
  ftruncate,
  futimes,
  read,
  writev,
  type Stats,
} from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { promisify } from 'node:util'

/** What the library uses of an open file. */
export type FileDescriptor = Pick<
  FileHandle,
  'fd' | 'datasync' | 'sync' | 'truncate' | 'utimes' | 'close'
> & {
  stat(): Promise<Stats>
  read(
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ bytesRead: number }>
  writev(buffers: readonly Uint8Array[], position: number): Promise<{ bytesWritten: number }>
}

const readInPool = promisify(read)
const writevInPool = promisify(writev)
const truncateInPool = promisify(ftruncate)
const datasyncInPool = promisify(fdatasync)
const syncInPool = promisify(fsync)
const setTimesInPool = promisify(futimes)
const closeInPool = promisify(close)

/**
 * A file that was opened as a number; Node.js only creates a `FileHandle` by way of its pool. Has no
 * checks of its own: the system refuses what is not permitted.
 */
export class PlainDescriptor implements FileDescriptor {
  readonly fd: number
  readonly #isWritable: boolean

  constructor(fd: number, { isWritable }: { readonly isWritable: boolean }) {
    this.fd = fd
    this.#isWritable = isWritable
  }

  read(
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ bytesRead: number }> {
    return readInPool(this.fd, buffer, offset, length, position)
  }

  writev(buffers: readonly Uint8Array[], position: number): Promise<{ bytesWritten: number }> {
    return writevInPool(this.fd, [...buffers], position)
  }

  truncate(sizeBytes?: number): Promise<void> {
    return truncateInPool(this.fd, sizeBytes)
  }

  datasync(): Promise<void> {
    return datasyncInPool(this.fd)
  }

  sync(): Promise<void> {
    return syncInPool(this.fd)
  }

  utimes(accessed: number | string | Date, modified: number | string | Date): Promise<void> {
    return setTimesInPool(this.fd, accessed, modified)
  }

  stat(): Promise<Stats> {
    return Promise.resolve(fstatSync(this.fd))
  }

  close(): Promise<void> {
    // A network file system may send written data at the close.
    if (this.#isWritable) return closeInPool(this.fd)
    closeSync(this.fd)
    return Promise.resolve()
  }
}
