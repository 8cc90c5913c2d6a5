import { CorruptRecordError } from '../../errors.ts'

/** Kafka's codecs. The place of a name in this list is its id in the batch attributes. */
export const COMPRESSION_TYPES = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const

/** How the records of a batch are compressed. */
export type CompressionType = (typeof COMPRESSION_TYPES)[number]

/** One way to compress the records of a batch. Stateless: calls may overlap. */
export interface Codec {
  readonly type: CompressionType
  /**
   * Why the codec cannot be used here, `null` when it can. Asked before any use of it.
   *
   * @defaultValue it always can
   */
  readonly whyMissing?: () => string | null
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

/** What is taken and given in one turn of the event loop by codecs that run on its thread. */
export const BYTES_PER_TURN: number = 256 * 1024

/** The error for bytes that no writer of the format has written. */
export function damaged(format: string, why: string, cause?: unknown): CorruptRecordError {
  return new CorruptRecordError(
    `the ${format} is damaged: ${why}`,
    { path: null, position: 0 },
    { cause },
  )
}

/** The error for bytes that would become more than their reader takes. */
export function tooLarge(maxOutputBytes: number, cause?: unknown): CorruptRecordError {
  return new CorruptRecordError(
    `the records take more than the allowed ${maxOutputBytes} bytes when decompressed`,
    { path: null, position: 0 },
    { cause },
  )
}
