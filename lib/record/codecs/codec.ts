import { CorruptRecordError } from '../../errors.ts'

/**
 * Kafka's codecs. The index of a name in this list is its id in the batch attributes, so an
 * application that could sort the list would change what is written.
 */
export const COMPRESSION_TYPES: readonly ['none', 'gzip', 'snappy', 'lz4', 'zstd'] = Object.freeze([
  'none',
  'gzip',
  'snappy',
  'lz4',
  'zstd',
] as const)

/** How the records of a batch are compressed. */
export type CompressionType = (typeof COMPRESSION_TYPES)[number]

/** Compresses and decompresses the records of a batch. Stateless: calls may overlap. */
export interface Codec {
  readonly type: Exclude<CompressionType, 'none'>
  /**
   * Returns why the codec cannot be used here, `null` if it can. Called before any use of it.
   *
   * @defaultValue the codec can always be used
   */
  readonly whyMissing?: () => string | null
  /** @param level on the codec's own scale, checked by the caller; its default when absent */
  compress(bytes: Buffer, level?: number): Promise<Buffer>
  /**
   * @param maxOutputBytes the limit of the result: a few hostile bytes can expand to gigabytes
   * @throws {@link CorruptRecordError} if `bytes` are damaged, or expand beyond `maxOutputBytes`
   */
  decompress(bytes: Buffer, maxOutputBytes: number): Promise<Buffer>
}

/** How many bytes a codec on the event loop's thread processes, in and out, in one turn. */
export const BYTES_PER_TURN: number = 256 * 1024

/** Creates the error for bytes that no writer of the format produces. */
export function damaged(format: string, why: string, cause?: unknown): CorruptRecordError {
  return new CorruptRecordError(
    `the ${format} is damaged: ${why}`,
    { path: null, position: 0 },
    { cause },
  )
}

/** Creates the error for bytes that expand to more than their reader allows. */
export function tooLarge(maxOutputBytes: number, cause?: unknown): CorruptRecordError {
  return new CorruptRecordError(
    `the records take more than the allowed ${maxOutputBytes} bytes when decompressed`,
    { path: null, position: 0 },
    { cause },
  )
}
