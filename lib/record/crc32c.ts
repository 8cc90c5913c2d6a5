import CRC32C from 'crc-32/crc32c.js'
import { Crc32cFolder, FEWEST_FOLDED_BYTES } from './crc32c-folder.ts'

/** The fast way for many bytes, created on first use; `null` if there is none. */
let folder: Crc32cFolder | null | undefined

/**
 * The checksum of a record batch: CRC-32C (Castagnoli), which is not the CRC-32 of `node:zlib`.
 *
 * @param start first byte, inclusive
 * @param end end of the bytes, exclusive
 * @returns an unsigned 32-bit number, 0 for an empty range
 */
export function crc32c(buffer: Uint8Array, start = 0, end: number = buffer.length): number {
  const bytes = start === 0 && end === buffer.length ? buffer : buffer.subarray(start, end)
  return continueCrc32c(0, bytes)
}

/** Continues a checksum. `before` is that of the preceding bytes, or 0 if there are none. */
export function continueCrc32c(before: number, buffer: Uint8Array): number {
  if (buffer.length >= FEWEST_FOLDED_BYTES) {
    if (folder === undefined) folder = Crc32cFolder.create()
    if (folder !== null) return folder.continue(before | 0, buffer) >>> 0
  }
  return CRC32C.buf(buffer, before | 0) >>> 0
}

/** Makes the first checksum of many bytes, which creates the fast way: 1 ms in a new process. */
export function prepareCrc32c(): void {
  continueCrc32c(0, new Uint8Array(FEWEST_FOLDED_BYTES))
}
