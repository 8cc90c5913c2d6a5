import { isSystemError } from '../platform/system-error.ts'

/**
 * Recovery that opening a log could not finish because the disk was full.
 *
 * A file system that never overwrites in place (btrfs, ZFS, XFS with shared extents) needs space
 * even to overwrite bytes with equal ones or to truncate. The log can still be read, up to the end
 * of what is proven to be durable. It accepts changes once the recovery is done.
 */
export interface OwedRecovery {
  /** End of what is proven to be durable, exclusive. */
  readonly durableEndOffset: number
  /** Does all of it; may be repeated. @throws the system's error; see {@link isNoRoom}. */
  readonly settle: () => Promise<void>
}

/**
 * Whether a call has failed because the disk is full, so that it has changed nothing and may be
 * retried. A failed sync is excluded: as with every failed sync, what was written before is lost.
 */
export function isNoRoom(error: unknown): boolean {
  return isSystemError(error, 'ENOSPC', 'EDQUOT') && !/sync/.test(error.syscall ?? '')
}
