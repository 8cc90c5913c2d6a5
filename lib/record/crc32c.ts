import CRC32C from 'crc-32/crc32c.js'
import { Crc32cFolder, FEWEST_FOLDED_BYTES } from './crc32c-folder.ts'

/** What makes it quick for many bytes: made when there are some; `null` where there is none. */
let folder: Crc32cFolder | null | undefined

/**
 * Checksum that guards a record batch: CRC-32C (Castagnoli), which is not the CRC-32 of `node:zlib`.
 *
 * @param start first byte that counts, inclusive
 * @param end last byte that counts, exclusive
 * @returns an unsigned 32-bit number, 0 for an empty range
 */
export function crc32c(buffer: Uint8Array, start = 0, end: number = buffer.length): number {
  const bytes = start === 0 && end === buffer.length ? buffer : buffer.subarray(start, end)
  return continueCrc32c(0, bytes)
}

/** The checksum of bytes that follow those whose checksum is `before`; 0 where there are none before. */
export function continueCrc32c(before: number, buffer: Uint8Array): number {
  if (buffer.length >= FEWEST_FOLDED_BYTES) {
    if (folder === undefined) folder = Crc32cFolder.create()
    if (folder !== null) return folder.continue(before | 0, buffer) >>> 0
  }
  return CRC32C.buf(buffer, before | 0) >>> 0
}
