import { constants } from 'node:os'
import { getSystemErrorMap } from 'node:util'

/** An error as the file system functions of Node.js reject with it. */
export interface SimulatedError extends Error {
  readonly code: string
  readonly errno: number
  readonly syscall: string
  readonly path: string
  readonly dest?: string
}

/** Numbers of Linux, for platforms whose own table does not know the name. */
const LINUX_ERRNO: Readonly<Record<string, number>> = { EDQUOT: 122 }
/** Kept, since Node.js makes the map anew at every call, and errors are as frequent as missing files. */
const SYSTEM_ERRORS = getSystemErrorMap()

/**
 * The error that a failing call of the file system gives in Node.js.
 *
 * @param code name of the error, such as `ENOSPC`. Names that libuv does not translate (`EDQUOT`)
 * come out as `UNKNOWN` with their number, as they do in Node.js.
 * @throws RangeError when no system error has that name
 */
export function simulatedError(
  code: string,
  syscall: string,
  path: string,
  dest?: string,
): SimulatedError {
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

/** @throws RangeError when no system error has that name */
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
