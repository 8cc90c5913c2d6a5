import { promisify } from 'node:util'
import { gunzip, gzip } from 'node:zlib'
import { isError } from '../../checks.ts'
import { damaged, tooLarge, type Codec } from './codec.ts'
import { DEFAULT_LEVELS } from './levels.ts'

const deflate = promisify<Buffer, { level: number }, Buffer>(gzip)
const inflate = promisify<Buffer, { maxOutputLength: number }, Buffer>(gunzip)

/** Gzip (RFC 1952) by Node.js' zlib, on its thread pool. */
export const GZIP: Codec = {
  type: 'gzip',
  compress: async (bytes, level = DEFAULT_LEVELS.compressionGzipLevel) => deflate(bytes, { level }),
  decompress: async (bytes, maxOutputBytes) => {
    try {
      return await inflate(bytes, { maxOutputLength: maxOutputBytes })
    } catch (error) {
      throw inflateError(error, maxOutputBytes)
    }
  },
}

/**
 * Translates a failure of zlib. Only a failure caused by the bytes is corruption; a failed
 * allocation says nothing about them.
 *
 * @internal
 */
export function inflateError(error: unknown, maxOutputBytes: number): unknown {
  const code = isError(error) && 'code' in error ? error.code : undefined
  switch (code) {
    case 'ERR_BUFFER_TOO_LARGE':
      return tooLarge(maxOutputBytes, error)
    case 'Z_DATA_ERROR':
    case 'Z_BUF_ERROR':
    case 'Z_NEED_DICT':
      return damaged('gzip stream', (error as Error).message, error)
    default:
      return error
  }
}
