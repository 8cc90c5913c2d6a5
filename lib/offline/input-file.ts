import { createHash } from 'node:crypto'
import { pipeline } from 'node:stream/promises'
import { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { reasonOf } from '../checks.ts'
import type { File, FileStat, FileSystem } from '../index.ts'
import { readFully } from '../platform/file-io.ts'
import { openInputFile } from '../platform/input-file.ts'
import { ImportFileError } from './import-errors.ts'

const CHUNK_BYTES = 256 * 1024
const HEAD_BYTES = 1024
const TAIL_BYTES = 1024

/** What a file is recognised by. */
export interface FileIdentity {
  readonly size: number
  /** How many bytes from its beginning `head` is of. */
  readonly headBytes: number
  /** SHA-256 of them, the first 16 bytes in hexadecimal. */
  readonly head: string
  /** Likewise of the last KiB before `size`; empty where an earlier version has not kept it. */
  readonly tail: string
}

/** A file that is imported, as long as it was when it was opened. */
export class InputFile {
  readonly path: string
  readonly size: number
  /** Tells it from other files of its file system, whatever its name. */
  readonly fileIdentity: string
  readonly #file: File
  #bytesRead = 0
  #position = 0

  private constructor(file: File, { sizeBytes, identity }: FileStat) {
    this.path = file.path
    this.#file = file
    this.size = sizeBytes
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

  /** Bytes that were read by {@link InputFile.chunks} and {@link InputFile.slice}. */
  get bytesRead(): number {
    return this.#bytesRead
  }

  /** The place in the file behind what was read last. */
  get position(): number {
    return this.#position
  }

  /** @param like what the file may have grown from: the identity is of the same bytes */
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

  /** The content from `from` on, in pieces. @param gzip whether it is compressed; `from` counts what it holds */
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
      if (cause instanceof ImportFileError) throw cause
      throw new ImportFileError(this.path, `it cannot be decompressed: ${reasonOf(cause)}`, {
        cause,
      })
    }
  }

  /** Zeros end what gunzip reads: behind them nothing else may come. @throws {@link ImportFileError} */
  async #ensurePadding(from: number): Promise<void> {
    for (let at = from; at < this.size; at += CHUNK_BYTES) {
      const bytes = Buffer.alloc(Math.min(CHUNK_BYTES, this.size - at))
      await readFully(this.#file, bytes, at)
      if (bytes.every((byte) => byte === 0)) continue
      throw new ImportFileError(this.path, `there is more behind zeros after byte ${from}`)
    }
  }

  async close(): Promise<void> {
    await this.#file.close()
  }

  async *#plainChunks(from: number): AsyncGenerator<Buffer, void, undefined> {
    let at = from
    while (at < this.size) {
      const bytes = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, this.size - at))
      await this.#fill(bytes, at)
      at += bytes.length
      yield bytes
    }
  }

  async #fill(bytes: Buffer, at: number): Promise<void> {
    const count = await readFully(this.#file, bytes, at)
    if (count < bytes.length) {
      throw new ImportFileError(this.path, `it was cut short at ${at + count} while it was read`)
    }
    this.#bytesRead += count
    this.#position = at + count
  }
}
