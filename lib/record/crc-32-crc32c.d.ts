/** The package `crc-32` ships its Castagnoli variant without types. */
declare module 'crc-32/crc32c.js' {
  const CRC32C: {
    /** CRC-32C of `data` as a signed 32-bit number, continued from `seed`. */
    buf(data: Uint8Array, seed?: number): number
  }
  export default CRC32C
}
