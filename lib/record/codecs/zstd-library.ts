import { promisify } from 'node:util'
import { asBuffer, isError } from '../../checks.ts'
import {
  isZstdWasmInstalled,
  loadZstdWasm,
  nodeZstd,
  type NodeZstd,
  type ZstdWasm,
} from '../../platform/zstd-module.ts'
import { damaged, tooLarge } from './codec.ts'

const STREAM = 'zstd stream'
/** What the package's message for an output that does not fit ends with: ZSTD_error_dstSize_tooSmall. */
const NO_ROOM_CODE = ' -70'

/** Something that can do zstd. */
export interface ZstdLibrary {
  /** Whether it is there. To be asked before anything else. */
  isThere(): boolean
  compress(bytes: Buffer, level: number): Promise<Buffer>
  /**
   * Decompresses one frame, which is whole.
   *
   * @throws {@link CorruptRecordError} when the bytes are damaged, or more than `mostBytes` would
   * come out
   */
  decompress(frame: Buffer, mostBytes: number): Promise<Buffer>
}

/** The zstd of Node.js, on its thread pool. */
export class NodeZstdLibrary implements ZstdLibrary {
  readonly #zstd: NodeZstd

  constructor(zstd: NodeZstd) {
    this.#zstd = zstd
  }

  isThere(): boolean {
    return true
  }

  compress(bytes: Buffer, level: number): Promise<Buffer> {
    const { zstdCompress, constants } = this.#zstd
    return promisify(zstdCompress)(bytes, {
      params: { [constants.ZSTD_c_compressionLevel]: level },
    })
  }

  async decompress(frame: Buffer, mostBytes: number): Promise<Buffer> {
    try {
      // It takes no limit of 0.
      const maxOutputLength = Math.max(mostBytes, 1)
      return await promisify(this.#zstd.zstdDecompress)(frame, { maxOutputLength })
    } catch (error) {
      throw nodeZstdError(error, mostBytes)
    }
  }
}

/**
 * Tells what a failure of Node.js means. Only what the bytes are to blame for is corruption.
 *
 * @internal
 */
export function nodeZstdError(error: unknown, mostBytes: number): unknown {
  const code = isError(error) && 'code' in error ? String(error.code) : ''
  if (code === 'ERR_BUFFER_TOO_LARGE') return tooLarge(mostBytes, error)
  const isOfBytes = code.startsWith('ZSTD_error_') || code === 'Z_BUF_ERROR'
  if (!isOfBytes || code === 'ZSTD_error_memory_allocation') return error
  return damaged(STREAM, (error as Error).message, error)
}

/** The package, on the thread of its caller. It is loaded at its first use. */
export class WasmZstdLibrary implements ZstdLibrary {
  readonly #isInstalled: () => boolean
  readonly #load: () => Promise<ZstdWasm>
  #isThere = false
  #loading: Promise<ZstdWasm> | null = null

  constructor(
    isInstalled: () => boolean = isZstdWasmInstalled,
    load: () => Promise<ZstdWasm> = loadZstdWasm,
  ) {
    this.#isInstalled = isInstalled
    this.#load = load
  }

  isThere(): boolean {
    // It is looked for on the disk, and that only once where it is found: batches ask each time.
    this.#isThere ||= this.#isInstalled()
    return this.#isThere
  }

  async compress(bytes: Buffer, level: number): Promise<Buffer> {
    return asBuffer((await this.#loaded()).compress(bytes, level))
  }

  async decompress(frame: Buffer, mostBytes: number): Promise<Buffer> {
    const zstd = await this.#loaded()
    try {
      return asBuffer(zstd.decompress(frame, { defaultHeapSize: Math.max(mostBytes, 1) }))
    } catch (error) {
      const { message } = error as Error
      throw message.endsWith(NO_ROOM_CODE)
        ? tooLarge(mostBytes, error)
        : damaged(STREAM, message, error)
    }
  }

  /** After a failure, be it for want of a descriptor, the next call tries again. */
  #loaded(): Promise<ZstdWasm> {
    this.#loading ??= this.#load().catch((error: unknown) => {
      this.#loading = null
      throw error
    })
    return this.#loading
  }
}

/** The best that is there, or may be. */
export function zstdLibrary(zstd: NodeZstd | null = nodeZstd()): ZstdLibrary {
  return zstd === null ? new WasmZstdLibrary() : new NodeZstdLibrary(zstd)
}
