import * as zlib from 'node:zlib'
import { asBuffer } from '../checks.ts'
import {
  isZstdWasmInstalled,
  loadZstdWasm,
  NODE_WITH_ZSTD,
  ZSTD_PACKAGE,
} from '../platform/zstd-module.ts'
import { decompressLz4Block } from '../record/codecs/lz4-block.ts'
import { MissingModuleError } from './optional-module.ts'

/** Decompresses a page to its content, whose length is in the page's header. */
export type Decompress = (page: Uint8Array, length: number) => Uint8Array

/** The codecs of Parquet that a file may use besides Snappy, which hyparquet supports itself. */
export type Decompressors = Partial<
  Record<'GZIP' | 'BROTLI' | 'ZSTD' | 'LZ4' | 'LZ4_RAW', Decompress>
>

/** Before each block of a Hadoop page: its decompressed and its compressed size, big-endian. */
const HADOOP_HEADER_BYTES = 8

const DECOMPRESSORS: Decompressors = {
  GZIP: (page, length) => zlib.gunzipSync(page, limitedTo(length)),
  BROTLI: (page, length) => zlib.brotliDecompressSync(page, limitedTo(length)),
  LZ4: (page, length) => hadoopLz4(asBuffer(page), length) ?? lz4(asBuffer(page), length),
  LZ4_RAW: (page, length) => lz4(asBuffer(page), length),
}

/**
 * The decompressors that a file needs.
 *
 * @param codecs used by the file
 * @throws {@link MissingModuleError} if it uses zstd, and neither Node.js nor an installed package
 * supports it.
 */
export async function decompressorsFor(codecs: ReadonlySet<string>): Promise<Decompressors> {
  return codecs.has('ZSTD') ? { ...DECOMPRESSORS, ZSTD: await zstd() } : DECOMPRESSORS
}

async function zstd(): Promise<Decompress> {
  const { zstdDecompressSync } = zlib as {
    zstdDecompressSync?: (bytes: Uint8Array, options: zlib.ZlibOptions) => Uint8Array
  }
  if (zstdDecompressSync !== undefined) {
    return (page, length) => zstdDecompressSync(page, limitedTo(length))
  }
  if (!isZstdWasmInstalled()) {
    const purpose = `the import of zstd-compressed Parquet before Node.js ${NODE_WITH_ZSTD}`
    throw new MissingModuleError(ZSTD_PACKAGE, purpose, null)
  }
  const library = await loadZstdWasm()
  return (page, length) => library.decompress(page, { defaultHeapSize: Math.max(length, 1) })
}

/** Limits memory: no page may become larger than its header says. */
function limitedTo(length: number): { maxOutputLength: number } {
  return { maxOutputLength: Math.max(length, 1) }
}

function lz4(block: Buffer, length: number): Uint8Array {
  const content = Buffer.allocUnsafe(length)
  // The reader of the file refuses a page of another length.
  return content.subarray(0, Math.max(0, decompressLz4Block(block, content)))
}

/** Decompresses what old writers call LZ4. @returns `null` if the page is not of that kind */
function hadoopLz4(page: Buffer, length: number): Uint8Array | null {
  const blocks: Uint8Array[] = []
  let rest = length
  for (let at = 0; at < page.length;) {
    if (page.length - at < HADOOP_HEADER_BYTES) return null
    const contentBytes = page.readUInt32BE(at)
    const blockBytes = page.readUInt32BE(at + 4)
    at += HADOOP_HEADER_BYTES
    if (contentBytes > rest || blockBytes > page.length - at) return null
    const content = lz4(page.subarray(at, at + blockBytes), contentBytes)
    if (content.length !== contentBytes) return null
    blocks.push(content)
    rest -= contentBytes
    at += blockBytes
  }
  return rest === 0 ? Buffer.concat(blocks) : null
}
