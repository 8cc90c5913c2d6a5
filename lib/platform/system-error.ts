import { constants } from 'node:os'
import { isError } from '../checks.ts'

const ERRNO: Partial<Record<string, number>> = constants.errno

/**
 * Tells whether `error` is a system error, so that a caller can treat one cause (`ENOENT`) as an
 * answer and let all others pass.
 *
 * @param codes the codes to look for; without any, every system error matches.
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

/** libuv has no name for some, such as `EDQUOT`: they come as unknown, with their number. */
function hasNumberOf(error: Error, code: string): boolean {
  const errno = ERRNO[code]
  return errno !== undefined && 'errno' in error && error.errno === -errno
}

/** Makes an error that looks like the operating system's, for causes the system reports as success. */
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
