import { promisify } from 'node:util'
import { asBuffer, isError } from '../../checks.ts'
import { loadedOnce } from '../../platform/loaded-once.ts'
import {
  isZstdWasmInstalled,
  loadZstdWasm,
  nodeZstd,
  type NodeZstd,
  type ZstdWasm,
} from '../../platform/zstd-module.ts'
import { damaged, tooLarge } from './codec.ts'

const STREAM = 'zstd stream'
/** ZSTD_error_dstSize_tooSmall: the output does not fit. */
const NO_ROOM_CODE = -70
/** ZSTD_error_memory_allocation, workSpace_tooSmall and dstBuffer_null: there is no memory. */
const NO_MEMORY_CODES: ReadonlySet<number> = new Set([-64, -66, -74])

/** An implementation of zstd. */
export interface ZstdLibrary {
  /** Whether the library is available. Must be called before any other method. */
  isThere(): boolean
  compress(bytes: Buffer, level: number): Promise<Buffer>
  /**
   * Decompresses one complete frame.
   *
   * @throws {@link CorruptRecordError} if the bytes are damaged, or decompress to more than
   * `mostBytes`
   */
  decompress(frame: Buffer, mostBytes: number): Promise<Buffer>
}

/** Node.js' own zstd, on its thread pool. */
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
    // Node.js takes -1 for a parameter that is not set, so it gets the level next to it.
    const params = { [constants.ZSTD_c_compressionLevel]: level === -1 ? -2 : level }
    return promisify(zstdCompress)(bytes, { params })
  }

  async decompress(frame: Buffer, mostBytes: number): Promise<Buffer> {
    try {
      // Node.js rejects a limit of 0.
      const maxOutputLength = Math.max(mostBytes, 1)
      return await promisify(this.#zstd.zstdDecompress)(frame, { maxOutputLength })
    } catch (error) {
      throw nodeZstdError(error, mostBytes)
    }
  }
}

/**
 * Translates a failure of Node.js' zstd. Only a failure caused by the bytes is corruption.
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

/** Like {@link nodeZstdError}, for the package, whose messages end in the code. */
function wasmZstdError(error: unknown, mostBytes: number): unknown {
  const { message = '' } = error as Partial<Error>
  const code = Number(/ code (-\d+)$/.exec(message)?.[1])
  if (code === NO_ROOM_CODE) return tooLarge(mostBytes, error)
  const isOfBytes = code < 0 && !NO_MEMORY_CODES.has(code)
  return isOfBytes ? damaged(STREAM, message, error) : error
}

/** The WebAssembly package, on the caller's thread. Loaded on first use. */
export class WasmZstdLibrary implements ZstdLibrary {
  readonly #isInstalled: () => boolean
  readonly #load: () => Promise<ZstdWasm>
  #isThere = false

  constructor(
    isInstalled: () => boolean = isZstdWasmInstalled,
    load: () => Promise<ZstdWasm> = loadZstdWasm,
  ) {
    this.#isInstalled = isInstalled
    this.#load = loadedOnce(load)
  }

  isThere(): boolean {
    // The search reads the disk, and every batch calls this: a package once found is remembered.
    this.#isThere ||= this.#isInstalled()
    return this.#isThere
  }

  async compress(bytes: Buffer, level: number): Promise<Buffer> {
    return asBuffer((await this.#load()).compress(bytes, level))
  }

  async decompress(frame: Buffer, mostBytes: number): Promise<Buffer> {
    const zstd = await this.#load()
    try {
      return asBuffer(zstd.decompress(frame, { defaultHeapSize: Math.max(mostBytes, 1) }))
    } catch (error) {
      throw wasmZstdError(error, mostBytes)
    }
  }
}

/** Returns Node.js' library if it has one, otherwise that of the package, which may be missing. */
export function zstdLibrary(zstd: NodeZstd | null = nodeZstd()): ZstdLibrary {
  return zstd === null ? new WasmZstdLibrary() : new NodeZstdLibrary(zstd)
}
