import { checkWholeNumber, wholeNumber, type Checks } from '../../checks.ts'
import type { CompressionType } from './codec.ts'

/**
 * How hard codecs try, each on its own scale; snappy has none. A topic's count where it has a
 * `compressionType` of its own, the producer's where that is left to producers.
 */
export interface CompressionLevels {
  /** 1 (fast) to 9 (small); -1 leaves the choice to zlib, which takes 6. @defaultValue -1 */
  readonly compressionGzipLevel?: number
  /** 9 is Kafka's fast compressor. Every other number is the thorough one: 1 (fast) to 17 (small). @defaultValue 9 */
  readonly compressionLz4Level?: number
  /** -131072 (fast) to 22 (small). @defaultValue 3 */
  readonly compressionZstdLevel?: number
}

/** Kafka's. */
export const DEFAULT_LEVELS: Readonly<Required<CompressionLevels>> = Object.freeze({
  compressionGzipLevel: -1,
  compressionLz4Level: 9,
  compressionZstdLevel: 3,
})

/** The check of each level. */
export const LEVEL_CHECKS: Checks<CompressionLevels> = {
  compressionGzipLevel: (name, value) => {
    if (typeof value === 'number' && (value === 0 || !(value >= -1 && value <= 9))) {
      throw new RangeError(`${name} must be -1, or a whole number from 1 to 9, got ${value}`)
    }
    checkWholeNumber(name, value, -1, 9)
  },
  compressionLz4Level: wholeNumber(1, 17),
  compressionZstdLevel: wholeNumber(-131_072, 22),
}

/** The level for one codec; `undefined` where it has none. */
export function levelOf(
  type: CompressionType,
  levels: Required<CompressionLevels>,
): number | undefined {
  switch (type) {
    case 'gzip':
      return levels.compressionGzipLevel
    case 'lz4':
      return levels.compressionLz4Level
    case 'zstd':
      return levels.compressionZstdLevel
    case 'none':
    case 'snappy':
      return undefined
  }
}

/**
 * Checks what a codec is told, whoever tells it.
 *
 * @throws RangeError naming the range
 */
export function checkLevel(key: keyof CompressionLevels, level: number): number {
  LEVEL_CHECKS[key](key, level)
  return level
}
