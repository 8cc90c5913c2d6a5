import { NODE_WITH_ZSTD, ZSTD_PACKAGE } from '../../platform/zstd-module.ts'
import type { Codec } from './codec.ts'
import { DEFAULT_LEVELS } from './levels.ts'
import { zstdFramesIn } from './zstd-frames.ts'
import { zstdLibrary, type ZstdLibrary } from './zstd-library.ts'

/** Creates the codec over a library that may be missing. */
export function zstdCodec(library: ZstdLibrary): Codec {
  return {
    type: 'zstd',
    whyMissing: () =>
      library.isThere()
        ? null
        : `compression type 'zstd' needs Node.js ${NODE_WITH_ZSTD} or later, but this is ` +
          `${process.versions.node}; for older versions, install the package '${ZSTD_PACKAGE}'`,
    compress: async (bytes, level = DEFAULT_LEVELS.compressionZstdLevel) =>
      library.compress(bytes, level),
    decompress: async (bytes, maxOutputBytes) => {
      const parts: Buffer[] = []
      let totalBytes = 0
      for (const { bytes: frame, mostBytes } of zstdFramesIn(bytes, maxOutputBytes)) {
        const limitBytes = Math.min(mostBytes, maxOutputBytes - totalBytes)
        const part = await library.decompress(frame, limitBytes)
        totalBytes += part.length
        parts.push(part)
      }
      const [first] = parts
      return first !== undefined && parts.length === 1 ? first : Buffer.concat(parts, totalBytes)
    },
  }
}

/** Zstandard: by Node.js if it has it, otherwise by an optional package. */
export const ZSTD: Codec = zstdCodec(zstdLibrary())
