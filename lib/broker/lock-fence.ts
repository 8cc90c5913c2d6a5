import {
  ReadOnlyError,
  type AppendOutcome,
  type LockLostError,
  type VarveError,
} from '../errors.ts'
import { lockLostBy } from '../errors/lock-lost-by.ts'

/** What a fence needs to know of a broker's directory. */
export interface FencedDirectory {
  readonly dir: string
  /** Whether another process writes, and this one follows without a lock. */
  readonly readOnly: boolean
  /** Whether the broker still owns its directory. */
  isOwned(): boolean
  /** Why the machine has stopped, in a simulation; `null` otherwise. */
  readonly stopReason: () => Error | null
}

/** Why nothing may be changed any more; `null` while the lock is held, or if there is none. */
export function whyFenced(
  directory: FencedDirectory,
  outcome: AppendOutcome,
): LockLostError | null {
  if (directory.readOnly || directory.isOwned()) return null
  return lockLostBy(directory.dir, directory.stopReason(), outcome)
}

/** Like {@link whyFenced}, for an append to a partition, which may be open for reading only. */
export function whyNotWritable(partition: FencedDirectory, isWritten: boolean): VarveError | null {
  if (partition.readOnly) return new ReadOnlyError('the broker is open for reading only')
  return whyFenced(partition, isWritten ? 'unknown' : 'not-written')
}
