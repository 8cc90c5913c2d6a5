import { StorageError, VarveError } from '../errors.ts'
import { distinctFailures, reasonsOf } from '../errors/several-failures.ts'

/** Failures during the close of a broker. */
export interface CloseFailures {
  readonly ofDisk: readonly unknown[]
  /** Of producers and consumers. What their listeners throw says nothing about the disk. */
  readonly ofClients: readonly unknown[]
}

/**
 * Throws the error that the close of a broker rejects with; does nothing if nothing has failed.
 *
 * A single failure of a client, or a single VarveError, is thrown as it is. Several become an
 * AggregateError with that of the disk first. It is thrown itself if only clients have failed;
 * otherwise the failure or failures are the cause of a {@link StorageError}.
 */
export function tellFailures(dir: string, { ofDisk, ofClients }: CloseFailures): void {
  const all = distinctFailures([...ofDisk, ...ofClients])
  if (all.length === 0) return
  const [first] = all
  if (all.length === 1 && (ofDisk.length === 0 || first instanceof VarveError)) throw first
  const message = `${dir} was not closed cleanly: ${reasonsOf(all)}`
  const cause = all.length === 1 ? first : new AggregateError(all, message)
  if (ofDisk.length === 0) throw cause
  throw new StorageError(message, { path: dir, outcome: 'unknown' }, { cause })
}
