import { UnsupportedCompressionTypeError } from '../errors.ts'
import { COMPRESSION_TYPES, type Codec, type CompressionType } from './codecs/codec.ts'
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

const codecs: Record<Codec['type'], Codec> = { gzip: GZIP, snappy: SNAPPY, lz4: LZ4, zstd: ZSTD }

/**
 * The codec for a type.
 *
 * @throws {@link UnsupportedCompressionTypeError} with the reason when the codec is not available
 */
export function codecFor(type: Codec['type']): Codec {
  const codec = codecs[type]
  const whyMissing = codec.whyMissing?.() ?? null
  if (whyMissing !== null) throw new UnsupportedCompressionTypeError(whyMissing)
  return codec
}

/** Registers a codec for the whole process, in place of the previous one of its type. */
export function registerCodec(codec: Codec): void {
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
