import { isSystemError } from '../platform/system-error.ts'

/**
 * What opening a log has to do to its files, and had no room for.
 *
 * A file system that writes elsewhere and never in place (btrfs, ZFS, XFS with shared extents) needs
 * room also for bytes that are written over equal ones, and for a cut. On a full disk the log is
 * readable all the same, as far as it is proven to be durable, and takes changes as soon as this is done.
 */
export interface OwedRecovery {
  /** What is proven to be durable ends here, exclusive. */
  readonly durableEndOffset: number
  /** Does it, all or again. @throws what the file system says; see {@link isNoRoom}. */
  readonly settle: () => Promise<void>
}

/**
 * Whether a call has failed for want of room, so that it has done nothing and may be tried again. A
 * sync for which there was none has lost what was written before it, as every sync that fails.
 */
export function isNoRoom(error: unknown): boolean {
  return isSystemError(error, 'ENOSPC', 'EDQUOT') && !/sync/.test(error.syscall ?? '')
}
