import { isSystemError } from '../platform/system-error.ts'

/** Errors of a disk that cannot return bytes, or of a file system that finds them damaged. */
const BAD_MEDIUM = ['EIO', 'EBADMSG', 'ENODATA'] as const

/** Errors of a name to which access is denied, or that names something of the wrong kind. */
const REFUSALS = ['EACCES', 'EPERM', 'EISDIR', 'ENOTDIR', 'ELOOP'] as const

/** System calls that read. Those that write, or make a name durable, fail under other names. */
const READING_CALLS: ReadonlySet<string> = new Set([
  ...['open', 'read', 'scandir', 'stat', 'lstat', 'fstat'],
])

/**
 * Whether an error says that one file or directory cannot be read. Failures of the whole process or
 * disk do not count: no descriptors, memory or space left, or a lost lock.
 */
export function isReadFailure(error: unknown): error is NodeJS.ErrnoException {
  return isSystemError(error, ...BAD_MEDIUM, ...REFUSALS) && isFromReading(error)
}

/** Whether the disk cannot return the bytes, no matter which process asks for them. */
export function isBadMedium(error: unknown): error is NodeJS.ErrnoException {
  return isSystemError(error, ...BAD_MEDIUM) && isFromReading(error)
}

/** The failure in words. A file that cannot be opened for writing may still be readable. */
export function readFailureReason({ syscall, message }: NodeJS.ErrnoException): string {
  return `it cannot be ${syscall === 'open' ? 'opened' : 'read'}: ${message}`
}

function isFromReading({ syscall }: NodeJS.ErrnoException): boolean {
  return syscall !== undefined && READING_CALLS.has(syscall)
}
