import { createHash } from 'node:crypto'
import { pipeline } from 'node:stream/promises'
import { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import type { File, FileStat, FileSystem } from '../index.ts'
import { readFully, readPieces } from '../platform/file-io.ts'
import { openInputFile } from '../platform/input-file.ts'
import { ImportFileError, readError } from './import-errors.ts'

const CHUNK_BYTES = 256 * 1024
const HEAD_BYTES = 1024
const TAIL_BYTES = 1024

/** Properties by which a file is recognised. */
export interface FileIdentity {
  readonly size: number
  /** Number of bytes at the beginning that `head` covers. */
  readonly headBytes: number
  /** SHA-256 of these bytes, the first 16 bytes in hexadecimal. */
  readonly head: string
  /** The same for the last KiB before `size`; empty if an earlier version did not store it. */
  readonly tail: string
}

/** A file to import, limited to its size when it was opened. */
export class InputFile {
  readonly path: string
  readonly size: number
  /** Distinguishes it from other files of its file system, whatever its name. */
  readonly fileIdentity: string
  /** How much of it {@link InputFile.chunks} reads: up to `size` bytes. */
  readableBytes: number
  readonly #file: File
  #bytesRead = 0
  #position = 0

  private constructor(file: File, { sizeBytes, identity }: FileStat) {
    this.path = file.path
    this.#file = file
    this.size = sizeBytes
    this.readableBytes = sizeBytes
    this.fileIdentity = identity
  }

  static async open(path: string, fileSystem: FileSystem | null): Promise<InputFile> {
    const file = await (fileSystem === null ? openInputFile(path) : fileSystem.open(path, 'read'))
    try {
      return new InputFile(file, await file.stat())
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** Bytes read by {@link InputFile.chunks} and {@link InputFile.slice}. */
  get bytesRead(): number {
    return this.#bytesRead
  }

  /** Position in the file after the last read. */
  get position(): number {
    return this.#position
  }

  /** @param like the file from which this one may have grown; the identity covers the same bytes */
  async identity(like?: Pick<FileIdentity, 'size' | 'headBytes'>): Promise<FileIdentity> {
    const { size, headBytes } = like ?? { size: this.size, headBytes: HEAD_BYTES }
    const headEnd = Math.min(headBytes, size)
    const head = await this.#digest(0, headEnd)
    const tail = await this.#digest(Math.max(0, size - TAIL_BYTES), size)
    return { size, headBytes: headEnd, head, tail }
  }

  async #digest(start: number, end: number): Promise<string> {
    const bytes = Buffer.alloc(end - start)
    await readFully(this.#file, bytes, start)
    return createHash('sha256').update(bytes).digest('hex').slice(0, 32)
  }

  /** The bytes [`start`, `end`). */
  async slice(start: number, end: number): Promise<Buffer> {
    const bytes = Buffer.alloc(Math.max(0, Math.min(end, this.size) - start))
    await this.#fill(bytes, start)
    return bytes
  }

  /**
   * The content from `from` on, in pieces. @param gzip whether the file is compressed; `from` is a
   * position in its decompressed content
   */
  async *chunks(from: number, gzip: boolean): AsyncGenerator<Buffer, void, undefined> {
    if (!gzip) {
      yield* this.#plainChunks(from)
      return
    }
    const gunzip = createGunzip({ chunkSize: CHUNK_BYTES })
    const feeding = pipeline(Readable.from(this.#plainChunks(0)), gunzip)
    // The reader below gets the same error.
    feeding.catch(() => undefined)
    let toSkip = from
    try {
      for await (const piece of gunzip as AsyncIterable<Buffer>) {
        if (toSkip < piece.length) yield piece.subarray(toSkip)
        toSkip = Math.max(0, toSkip - piece.length)
      }
      await this.#ensurePadding(gunzip.bytesWritten)
    } catch (cause) {
      throw readError(this.path, 'decompressed', cause)
    }
  }

  /** gunzip stops at zeros, which nothing else may follow. @throws {@link ImportFileError} */
  async #ensurePadding(from: number): Promise<void> {
    for await (const piece of readPieces(this.#file, from, this.size)) {
      if (piece.every((byte) => byte === 0)) continue
      throw new ImportFileError(this.path, `there is more data after the zeros at byte ${from}`)
    }
  }

  async close(): Promise<void> {
    await this.#file.close()
  }

  async *#plainChunks(from: number): AsyncGenerator<Buffer, void, undefined> {
    let at = from
    while (at < this.readableBytes) {
      const bytes = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, this.readableBytes - at))
      await this.#fill(bytes, at)
      at += bytes.length
      yield bytes
    }
  }

  async #fill(bytes: Buffer, at: number): Promise<void> {
    const count = await readFully(this.#file, bytes, at)
    if (count < bytes.length) {
      throw new ImportFileError(
        this.path,
        `it was truncated at byte ${at + count} while it was read`,
      )
    }
    this.#bytesRead += count
    this.#position = at + count
  }
}
