import * as nodeZlib from 'node:zlib'
import { requireFromHere } from './require-from-here.ts'

/** The first versions of Node.js with zstd of their own. */
export const NODE_WITH_ZSTD = '22.15 (or 23.8)'
/** What writes and reads zstd where Node.js does not. */
export const ZSTD_PACKAGE = '@bokuweb/zstd-wasm'

/** The zstd of Node.js, as far as it is used. */
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

/** The package, as far as it is used. All of it runs on the calling thread. */
export interface ZstdWasm {
  init(): Promise<void>
  compress(bytes: Uint8Array, level: number): Uint8Array
  /** @param options what to take for what comes out, where the bytes do not say. */
  decompress(bytes: Uint8Array, options: { readonly defaultHeapSize: number }): Uint8Array
}

/** The zstd of this Node.js, `null` where it has none. */
export function nodeZstd(zlib: object = nodeZlib): NodeZstd | null {
  return 'zstdCompress' in zlib && 'zstdDecompress' in zlib ? (zlib as unknown as NodeZstd) : null
}

/** Whether the package is there to be loaded. */
export function isZstdWasmInstalled(): boolean {
  try {
    requireFromHere.resolve(ZSTD_PACKAGE)
    return true
  } catch {
    return false
  }
}

let loading: Promise<ZstdWasm> | null = null

/**
 * Loads the package, which is ready then, for all who use it in this process: it has one memory, and to make
 * it ready once more takes that away under everybody who works in it.
 */
export function loadZstdWasm(): Promise<ZstdWasm> {
  loading ??= load().catch((error: unknown) => {
    // What has failed may be tried again.
    loading = null
    throw error
  })
  return loading
}

async function load(): Promise<ZstdWasm> {
  const zstd = requireFromHere(ZSTD_PACKAGE) as ZstdWasm
  await zstd.init()
  return zstd
}
