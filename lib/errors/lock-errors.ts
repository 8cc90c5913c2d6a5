import { VarveError, type AppendOutcome } from './varve-error.ts'

/** Another owner holds the data directory. */
export class LockedError extends VarveError {
  override readonly name = 'LockedError'
  readonly code = 'LOCKED'
  readonly dir: string
  /** Process id of the owner, `null` where it is not known. */
  readonly pid: number | null
  /** Host name of the owner, `null` where it is not known. */
  readonly host: string | null
  /** When the owner took the lock, `null` where it is not known. */
  readonly since: Date | null

  constructor(
    dir: string,
    holder: {
      readonly pid: number | null
      readonly host: string | null
      readonly sinceMs: number | null
      /** Whether it is known to be the process that has asked. */
      readonly isThisProcess?: boolean
    },
    options?: ErrorOptions,
  ) {
    const since = holder.sinceMs === null ? null : new Date(holder.sinceMs)
    super(
      `${dir} is in use by ` +
        nameOf(holder) +
        (since === null ? '' : ` since ${since.toISOString()}`) +
        ': close that one first, or open with readOnly',
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

/** The lock of the data directory was lost while it was open: nothing is written any more. */
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
      `the lock of ${dir} was lost (${reason}): writes are refused, open the directory again`,
      options,
    )
    this.dir = dir
    this.outcome = outcome
  }
}
