import { isSystemError } from '../platform/system-error.ts'

/** What a disk says of bytes that it cannot give any more, and a file system of what it keeps there. */
const BAD_MEDIUM = ['EIO', 'EBADMSG', 'ENODATA'] as const

/** What the system says of a name that is refused, or that leads to something else than it should. */
const REFUSALS = ['EACCES', 'EPERM', 'EISDIR', 'ENOTDIR', 'ELOOP'] as const

/** The calls that read. Those that write, or make a name durable, fail under other names. */
const READING_CALLS: ReadonlySet<string> = new Set([
  ...['open', 'read', 'scandir', 'stat', 'lstat', 'fstat'],
])

/**
 * Whether an error says that one file or directory cannot be read. What is about the whole process or
 * disk is none: no descriptor or memory left, no room, a lock that is lost.
 */
export function isReadFailure(error: unknown): error is NodeJS.ErrnoException {
  return isSystemError(error, ...BAD_MEDIUM, ...REFUSALS) && isFromReading(error)
}

/** Whether it is the disk that cannot give the bytes, whoever asks for them. */
export function isBadMedium(error: unknown): error is NodeJS.ErrnoException {
  return isSystemError(error, ...BAD_MEDIUM) && isFromReading(error)
}

/** The failure in words. Who may not open a file as its owner has to may still be allowed to read it. */
export function readFailureReason({ syscall, message }: NodeJS.ErrnoException): string {
  return `it cannot be ${syscall === 'open' ? 'opened' : 'read'}: ${message}`
}

function isFromReading({ syscall }: NodeJS.ErrnoException): boolean {
  return syscall !== undefined && READING_CALLS.has(syscall)
}
