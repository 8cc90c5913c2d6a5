import { promisify } from 'node:util'
import { gunzip, gzip } from 'node:zlib'
import { CorruptRecordError, UnsupportedCompressionTypeError } from '../errors.ts'

/** Kafka's codecs. The place of a name in this list is its id in the batch attributes. */
export const COMPRESSION_TYPES = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const

/**
 * How large the records of a compressed batch may be: half a megabyte of gzip can ask for half a
 * gigabyte. No larger batch is built, and no larger one is read.
 */
export const MAX_DECOMPRESSED_BYTES: number = 64 * 1024 * 1024

/** How the records of a batch are compressed. */
export type CompressionType = (typeof COMPRESSION_TYPES)[number]

/** One way to compress the records of a batch. Stateless: calls may overlap. */
export interface Codec {
  readonly type: CompressionType
  /**
   * @param level the codec's own scale, its default when absent
   * @throws RangeError when the codec has no such level
   */
  compress(bytes: Buffer, level?: number): Promise<Buffer>
  /**
   * @param maxOutputBytes how much may come out: a few hostile bytes can ask for gigabytes
   * @throws {@link CorruptRecordError} when `bytes` are damaged, or would exceed `maxOutputBytes`
   */
  decompress(bytes: Buffer, maxOutputBytes: number): Promise<Buffer>
}

const codecs = new Map<CompressionType, Codec>()

/**
 * The codec to compress or decompress with.
 *
 * @throws {@link UnsupportedCompressionTypeError} when there is none for `type`
 */
export function codecFor(type: CompressionType): Codec {
  const codec = codecs.get(type)
  if (codec === undefined) {
    throw new UnsupportedCompressionTypeError(
      `there is no codec for compression type '${type}' here, only for ` +
        [...codecs.keys()].map((name) => `'${name}'`).join(', '),
    )
  }
  return codec
}

/**
 * Makes a further codec available to the whole process, in place of the one that had its type.
 *
 * @throws TypeError for type 'none', whose records are always read without a codec
 */
export function registerCodec(codec: Codec): void {
  if (codec.type === 'none') throw new TypeError("the codec 'none' cannot be replaced")
  codecs.set(codec.type, codec)
}

/** The id of a codec in the batch attributes, 0 to 4. */
export function compressionIdOf(type: CompressionType): number {
  return COMPRESSION_TYPES.indexOf(type)
}

/**
 * The codec that an id in the batch attributes stands for.
 *
 * @throws {@link UnsupportedCompressionTypeError} when Kafka has not given the id to a codec
 */
export function compressionTypeOf(id: number): CompressionType {
  const type = COMPRESSION_TYPES[id]
  if (type === undefined) {
    throw new UnsupportedCompressionTypeError(`compression id ${id} is not known`)
  }
  return type
}

codecs.set('none', {
  type: 'none',
  compress: (bytes) => Promise.resolve(bytes),
  decompress: (bytes, maxOutputBytes) =>
    bytes.length > maxOutputBytes
      ? Promise.reject(tooLarge(maxOutputBytes))
      : Promise.resolve(bytes),
})

const GZIP_DEFAULT_LEVEL = -1
const GZIP_MAX_LEVEL = 9
const deflate = promisify<Buffer, { level: number }, Buffer>(gzip)
const inflate = promisify<Buffer, { maxOutputLength: number }, Buffer>(gunzip)

codecs.set('gzip', {
  type: 'gzip',
  compress: async (bytes, level = GZIP_DEFAULT_LEVEL) => {
    const isLevel = Number.isInteger(level) && level >= -1 && level <= GZIP_MAX_LEVEL
    if (!isLevel || level === 0) {
      throw new RangeError(`compressionLevel ${level} of gzip must be -1, or 1 to 9`)
    }
    return deflate(bytes, { level })
  },
  decompress: async (bytes, maxOutputBytes) => {
    try {
      return await inflate(bytes, { maxOutputLength: maxOutputBytes })
    } catch (error) {
      throw inflateError(error, maxOutputBytes)
    }
  },
})

/**
 * Tells what a failure of zlib means. Only what the bytes are to blame for is corruption; a failed
 * allocation says nothing about them.
 *
 * @internal
 */
export function inflateError(error: unknown, maxOutputBytes: number): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  switch (code) {
    case 'ERR_BUFFER_TOO_LARGE':
      return tooLarge(maxOutputBytes, error)
    case 'Z_DATA_ERROR':
    case 'Z_BUF_ERROR':
    case 'Z_NEED_DICT':
      return new CorruptRecordError(
        'the gzip stream is damaged',
        { path: null, position: 0 },
        { cause: error },
      )
    default:
      return error
  }
}

function tooLarge(maxOutputBytes: number, cause?: unknown): CorruptRecordError {
  return new CorruptRecordError(
    `the records take more than the allowed ${maxOutputBytes} bytes when decompressed`,
    { path: null, position: 0 },
    { cause },
  )
}
