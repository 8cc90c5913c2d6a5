import { IllegalStateError } from '../errors.ts'
import { readFully } from '../platform/file-io.ts'
import type { File, FileStat } from '../platform/file-system.ts'
import { isBadMedium } from './read-failure.ts'

/** What a disk gives, or does not give, at once. */
const PIECE_BYTES = 4096

/**
 * A log file that is read as far as the disk gives its bytes. What it does not give reads as zeros, which
 * no checksum fits, so that what lies behind them can be found. What no checksum covers may still fit.
 *
 * A piece that has failed is not asked for again: a disk may take seconds to say that it cannot read one.
 */
export class SalvageSource implements File {
  readonly #file: File
  /** By their positions, what the system has said of the pieces that cannot be read. */
  readonly #failures = new Map<number, string>()

  constructor(file: File) {
    this.#file = file
  }

  get path(): string {
    return this.#file.path
  }

  /** As a file is read. What does not come at once is asked for in pieces. */
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

  /** Why bytes in [`position`, `end`) could not be read; `null` where none has failed that was asked for. */
  whyUnreadable(position: number, end: number): string | null {
    if (this.#failures.size === 0) return null
    for (let piece = pieceOf(position); piece < end; piece += PIECE_BYTES) {
      const reason = this.#failures.get(piece)
      if (reason !== undefined) return reason
    }
    return null
  }

  write(): Promise<number> {
    return onlyRead()
  }

  truncate(): Promise<void> {
    return onlyRead()
  }

  datasync(): Promise<void> {
    return onlyRead()
  }

  sync(): Promise<void> {
    return onlyRead()
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

/** A salvage changes nothing of what it reads. */
function onlyRead(): Promise<never> {
  return Promise.reject(new IllegalStateError('a file that is salvaged is only read'))
}
