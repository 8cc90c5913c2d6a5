import { VarveError, type AppendOutcome } from './varve-error.ts'

/** Another owner holds the data directory. */
export class LockedError extends VarveError {
  override readonly name = 'LockedError'
  readonly code = 'LOCKED'
  readonly dir: string
  /** Process id of the owner, `null` if unknown. */
  readonly pid: number | null
  /** Host name of the owner, `null` if unknown. */
  readonly host: string | null
  /** When the owner took the lock, `null` if unknown. */
  readonly since: Date | null

  constructor(
    dir: string,
    holder: {
      readonly pid: number | null
      readonly host: string | null
      readonly sinceMs: number | null
      /** Whether the owner is known to be the calling process. */
      readonly isThisProcess?: boolean
    },
    options?: ErrorOptions,
  ) {
    const since = holder.sinceMs === null ? null : new Date(holder.sinceMs)
    super(
      `${dir} is in use by ` +
        nameOf(holder) +
        (since === null ? '' : ` since ${since.toISOString()}`) +
        ': close it there first, or open it with readOnly',
      options,
    )
    this.dir = dir
    this.pid = holder.pid
    this.host = holder.host
    this.since = since
  }
}

function nameOf({
  pid,
  host,
  isThisProcess = false,
}: ConstructorParameters<typeof LockedError>[1]): string {
  if (isThisProcess) return `this process (${pid})`
  return (pid === null ? 'another owner' : `process ${pid}`) + (host === null ? '' : ` on ${host}`)
}

/** The lock on the data directory was lost while it was open. Nothing is written any more. */
export class LockLostError extends VarveError {
  override readonly name = 'LockLostError'
  readonly code = 'LOCK_LOST'
  readonly outcome: AppendOutcome
  readonly dir: string

  constructor(
    dir: string,
    reason: string,
    outcome: AppendOutcome = 'unknown',
    options?: ErrorOptions,
  ) {
    super(
      `the lock on ${dir} was lost (${reason}): ` +
        'writes are refused until the directory is opened again',
      options,
    )
    this.dir = dir
    this.outcome = outcome
  }
}
