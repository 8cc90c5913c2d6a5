import { resolve } from 'node:path'
import { reasonOf } from '../checks.ts'
import { isSystemError } from '../platform/system-error.ts'

/** Why a broker cannot open `dir`, in words where the system's are misleading. */
export function whyNotOpened(dir: string, error: unknown): string {
  if (isSystemError(error, 'EEXIST') && error.syscall === 'mkdir') return 'it is not a directory'
  // A writer creates the directory before it lists it.
  const isMissing = isSystemError(error, 'ENOENT') && error.syscall === 'scandir'
  if (isMissing && error.path === resolve(dir)) {
    return 'there is no such directory, and only a broker that writes creates one'
  }
  return reasonOf(error)
}
