import { readFully } from '../platform/file-io.ts'
import type { File, FileStat, FileSource } from '../platform/file-system.ts'
import { isBadMedium } from './read-failure.ts'

/** Unit in which a disk returns bytes or fails to. */
const PIECE_BYTES = 4096

/**
 * A log file that is read as far as the disk returns its bytes. Unreadable bytes read as zeros,
 * which match no checksum: later batches can be found. Fields without a checksum may still match.
 *
 * A piece that failed is not read again: a disk may take seconds to report that it cannot read it.
 */
export class SalvageSource implements FileSource {
  readonly #file: File
  /** The system's messages for the pieces that cannot be read, by position. */
  readonly #failures = new Map<number, string>()

  constructor(file: File) {
    this.#file = file
  }

  get path(): string {
    return this.#file.path
  }

  /** Reads like a file. Bytes that cannot be read at once are read in pieces. */
  async read(buffer: Uint8Array, position: number): Promise<number> {
    if (this.whyUnreadable(position, position + buffer.length) === null) {
      try {
        return await this.#file.read(buffer, position)
      } catch (error) {
        if (!isBadMedium(error)) throw error
      }
    }
    const { sizeBytes } = await this.#file.stat()
    const end = Math.max(position, Math.min(position + buffer.length, sizeBytes))
    for (let at = position; at < end;) {
      const piece = pieceOf(at)
      const pieceEnd = Math.min(piece + PIECE_BYTES, end)
      await this.#readPiece(piece, buffer.subarray(at - position, pieceEnd - position), at)
      at = pieceEnd
    }
    return end - position
  }

  /** Why bytes in [`position`, `end`) could not be read; `null` if no read of them has failed. */
  whyUnreadable(position: number, end: number): string | null {
    if (this.#failures.size === 0) return null
    for (let piece = pieceOf(position); piece < end; piece += PIECE_BYTES) {
      const reason = this.#failures.get(piece)
      if (reason !== undefined) return reason
    }
    return null
  }

  stat(): Promise<FileStat> {
    return this.#file.stat()
  }

  close(): Promise<void> {
    return this.#file.close()
  }

  async #readPiece(piece: number, bytes: Uint8Array, position: number): Promise<void> {
    try {
      if (this.#failures.has(piece)) bytes.fill(0)
      else bytes.fill(0, await readFully(this.#file, bytes, position))
    } catch (error) {
      if (!isBadMedium(error)) throw error
      this.#failures.set(piece, error.message)
      bytes.fill(0)
    }
  }
}

function pieceOf(position: number): number {
  return position - (position % PIECE_BYTES)
}
