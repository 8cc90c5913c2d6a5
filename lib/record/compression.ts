import { UnsupportedCompressionTypeError } from '../errors.ts'
import { COMPRESSION_TYPES, tooLarge, type Codec, type CompressionType } from './codecs/codec.ts'
import { GZIP } from './codecs/gzip.ts'
import { LZ4 } from './codecs/lz4.ts'
import { SNAPPY } from './codecs/snappy.ts'
import { ZSTD } from './codecs/zstd.ts'

export { COMPRESSION_TYPES, type Codec, type CompressionType } from './codecs/codec.ts'

/**
 * Largest size of the uncompressed records of a compressed batch: half a megabyte of gzip can
 * expand to half a gigabyte. No larger batch is built or read.
 */
export const MAX_DECOMPRESSED_BYTES: number = 64 * 1024 * 1024

const NONE: Codec = {
  type: 'none',
  compress: (bytes) => Promise.resolve(bytes),
  decompress: (bytes, maxOutputBytes) =>
    bytes.length > maxOutputBytes
      ? Promise.reject(tooLarge(maxOutputBytes))
      : Promise.resolve(bytes),
}

const codecs: Record<CompressionType, Codec> = {
  none: NONE,
  gzip: GZIP,
  snappy: SNAPPY,
  lz4: LZ4,
  zstd: ZSTD,
}

/**
 * The codec for a type.
 *
 * @throws {@link UnsupportedCompressionTypeError} with the reason when the codec is not available
 */
export function codecFor(type: CompressionType): Codec {
  const codec = codecs[type]
  const whyMissing = codec.whyMissing?.() ?? null
  if (whyMissing !== null) throw new UnsupportedCompressionTypeError(whyMissing)
  return codec
}

/**
 * Registers a codec for the whole process, in place of the previous one of its type.
 *
 * @throws TypeError for type 'none', whose records are always read without a codec
 */
export function registerCodec(codec: Codec): void {
  if (codec.type === 'none') throw new TypeError("the codec 'none' cannot be replaced")
  codecs[codec.type] = codec
}

/** The id of a codec in the batch attributes, 0 to 4. */
export function compressionIdOf(type: CompressionType): number {
  return COMPRESSION_TYPES.indexOf(type)
}

/**
 * The codec for an id in the batch attributes.
 *
 * @throws {@link UnsupportedCompressionTypeError} when Kafka has assigned the id to no codec
 */
export function compressionTypeOf(id: number): CompressionType {
  const type = COMPRESSION_TYPES[id]
  if (type === undefined) {
    throw new UnsupportedCompressionTypeError(`compression id ${id} is unknown`)
  }
  return type
}
