import { constants } from 'node:os'
import { isError } from '../checks.ts'

const ERRNO: Partial<Record<string, number>> = constants.errno

/**
 * Checks whether `error` is a system error, so that a caller can handle one cause (`ENOENT`) and
 * rethrow all others.
 *
 * @param codes the codes to match; without any, every system error matches.
 */
export function isSystemError(
  error: unknown,
  ...codes: readonly string[]
): error is NodeJS.ErrnoException {
  if (!isError(error) || !('code' in error) || typeof error.code !== 'string') {
    return false
  }
  if (codes.length === 0) return 'syscall' in error
  return codes.includes(error.code) || codes.some((code) => hasNumberOf(error, code))
}

/** libuv has no name for some, such as `EDQUOT`: their code is unknown, but `errno` is set. */
function hasNumberOf(error: Error, code: string): boolean {
  const errno = ERRNO[code]
  return errno !== undefined && 'errno' in error && error.errno === -errno
}

/** Creates an error like the system's, for failures that the system reports as success. */
export function systemError(
  code: string,
  syscall: string,
  path: string,
  reason: string,
): NodeJS.ErrnoException {
  const error: NodeJS.ErrnoException = new Error(`${code}: ${reason}, ${syscall} '${path}'`)
  error.code = code
  error.syscall = syscall
  error.path = path
  const errno = ERRNO[code]
  if (errno !== undefined) error.errno = -errno
  return error
}
