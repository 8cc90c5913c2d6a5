import { StorageError, VarveError } from '../errors.ts'
import { distinctFailures, reasonsOf } from '../errors/several-failures.ts'

/** What has failed as a broker was closed. */
export interface CloseFailures {
  readonly ofDisk: readonly unknown[]
  /** Of producers and consumers: what their listeners have thrown says nothing of the disk. */
  readonly ofClients: readonly unknown[]
}

/**
 * Throws what the close of a broker rejects with, and nothing where nothing has failed. One failure is
 * told as it is. Several are in an AggregateError, with that of the disk in front: by itself where they are
 * of clients alone, and otherwise as the cause of a {@link StorageError}.
 */
export function tellFailures(dir: string, { ofDisk, ofClients }: CloseFailures): void {
  const all = distinctFailures([...ofDisk, ...ofClients])
  if (all.length === 0) return
  const [first] = all
  if (all.length === 1 && (ofDisk.length === 0 || first instanceof VarveError)) throw first
  const message = `${dir} was not closed in order: ${reasonsOf(all)}`
  const cause = all.length === 1 ? first : new AggregateError(all, message)
  if (ofDisk.length === 0) throw cause
  throw new StorageError(message, { path: dir, outcome: 'unknown' }, { cause })
}
