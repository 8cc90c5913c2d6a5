import * as nodeZlib from 'node:zlib'
import { loadedOnce } from './loaded-once.ts'
import { requireFromHere } from './require-from-here.ts'

/** The first versions of Node.js with built-in zstd. */
export const NODE_WITH_ZSTD = '22.15 (or 23.8)'
/** The package that compresses and decompresses zstd if Node.js does not. */
export const ZSTD_PACKAGE = '@bokuweb/zstd-wasm'

/** The zstd of Node.js, as far as the library uses it. */
export interface NodeZstd {
  readonly zstdCompress: (
    bytes: Uint8Array,
    options: { readonly params: Readonly<Record<number, number>> },
    callback: (error: Error | null, result: Buffer) => void,
  ) => void
  readonly zstdDecompress: (
    bytes: Uint8Array,
    options: { readonly maxOutputLength: number },
    callback: (error: Error | null, result: Buffer) => void,
  ) => void
  readonly constants: { readonly ZSTD_c_compressionLevel: number }
}

/** The package, as far as the library uses it. All of it runs on the calling thread. */
export interface ZstdWasm {
  init(): Promise<void>
  compress(bytes: Uint8Array, level: number): Uint8Array
  /** @param options size to assume for the output if the input does not state it. */
  decompress(bytes: Uint8Array, options: { readonly defaultHeapSize: number }): Uint8Array
}

/** The zstd of this Node.js, or `null` if it has none. */
export function nodeZstd(zlib: object = nodeZlib): NodeZstd | null {
  return 'zstdCompress' in zlib && 'zstdDecompress' in zlib ? (zlib as unknown as NodeZstd) : null
}

/** Whether the package is installed. */
export function isZstdWasmInstalled(): boolean {
  try {
    requireFromHere.resolve(ZSTD_PACKAGE)
    return true
  } catch {
    return false
  }
}

/**
 * Loads the package and initializes it, once for the whole process: it has one memory, and
 * initializing it again would replace that memory while others use it.
 */
export const loadZstdWasm: () => Promise<ZstdWasm> = loadedOnce(async () => {
  const zstd = requireFromHere(ZSTD_PACKAGE) as ZstdWasm
  await zstd.init()
  return zstd
})
