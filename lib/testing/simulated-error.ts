import { constants } from 'node:os'
import { getSystemErrorMap } from 'node:util'

/** Error numbers of Linux, for platforms whose own table lacks the name. */
const LINUX_ERRNO: Readonly<Record<string, number>> = { EDQUOT: 122 }
/** Cached: Node.js builds the map at every call, and errors are as frequent as missing files. */
const SYSTEM_ERRORS = getSystemErrorMap()

/**
 * The error of a failing file system call in Node.js.
 *
 * @param code name of the error, such as `ENOSPC`. Names that libuv does not translate (`EDQUOT`)
 * appear as `UNKNOWN` with their number, as in Node.js.
 * @throws RangeError if no system error has that name
 */
export function simulatedError(
  code: string,
  syscall: string,
  path: string,
  dest?: string,
): NodeJS.ErrnoException {
  const errno = -errnoOf(code)
  const [name, reason] = SYSTEM_ERRORS.get(errno) ?? ['UNKNOWN', 'unknown error']
  const target = dest === undefined ? `'${path}'` : `'${path}' -> '${dest}'`
  const error = new Error(`${name}: ${reason}, ${syscall} ${target}`)
  return Object.assign(error, {
    errno,
    code: name,
    syscall,
    path,
    ...(dest === undefined ? {} : { dest }),
  })
}

/** @throws RangeError if no system error has that name */
export function requireErrorCode(code: string): void {
  errnoOf(code)
}

function errnoOf(code: string): number {
  const own = (constants.errno as Readonly<Record<string, number | undefined>>)[code]
  const errno = own ?? LINUX_ERRNO[code]
  if (errno === undefined) {
    throw new RangeError(`code must be the name of a system error such as 'EIO', got '${code}'`)
  }
  return errno
}
