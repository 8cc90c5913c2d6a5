import CRC32C from 'crc-32/crc32c.js'

/**
 * Checksum that guards a record batch: CRC-32C (Castagnoli), which is not the CRC-32 of `node:zlib`.
 *
 * @param start first byte that counts, inclusive
 * @param end last byte that counts, exclusive
 * @returns an unsigned 32-bit number, 0 for an empty range
 */
export function crc32c(buffer: Uint8Array, start = 0, end: number = buffer.length): number {
  const bytes = start === 0 && end === buffer.length ? buffer : buffer.subarray(start, end)
  return CRC32C.buf(bytes, 0) >>> 0
}

/** The checksum of bytes that follow those whose checksum is `before`; 0 where there are none before. */
export function continueCrc32c(before: number, buffer: Uint8Array): number {
  return CRC32C.buf(buffer, before | 0) >>> 0
}
