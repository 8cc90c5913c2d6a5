import { checkWholeNumber, wholeNumber, type Checks, type Resolved } from '../../checks.ts'
import type { CompressionType } from './codec.ts'

/**
 * Compression levels, each on its codec's own scale; snappy has none. The topic's levels apply if
 * it has a `compressionType` of its own, the producer's if the topic leaves the type to producers.
 */
export interface CompressionLevels {
  /** 1 (fast) to 9 (small); -1 leaves the choice to zlib, which uses 6. @defaultValue -1 */
  readonly compressionGzipLevel?: number | undefined
  /**
   * 9 is Kafka's fast compressor. Every other level is the thorough one: 1 (fast) to 17 (small).
   *
   * @defaultValue 9
   */
  readonly compressionLz4Level?: number | undefined
  /** -131072 (fast) to 22 (small). @defaultValue 3 */
  readonly compressionZstdLevel?: number | undefined
}

/** Kafka's defaults. */
export const DEFAULT_LEVELS: Readonly<Resolved<CompressionLevels>> = Object.freeze({
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

/** Returns the level for one codec; `undefined` if the codec has none. */
export function levelOf(
  type: CompressionType,
  levels: Resolved<CompressionLevels>,
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
