import { reasonOf } from '../checks.ts'
import {
  ClosedError,
  ReadOnlyError,
  StorageError,
  VarveError,
  type AppendOutcome,
  type CorruptRecordError,
} from '../errors.ts'
import { lockLossIn } from '../errors/lock-lost-by.ts'
import { InDoubtError, LeftOversError } from './in-doubt-error.ts'
import { LAST_OFFSET } from './last-offset.ts'
import type { LogContext } from './log-options.ts'

/**
 * Decides whether a log accepts writes, and creates the errors for its callers. A failure that
 * leaves the disk in doubt stops all further writes.
 */
export class LogGuard {
  /**
   * Why the log ends before its last durable record; `null` if it is sound. A log that follows
   * another process may detect damage later.
   */
  damage: CorruptRecordError | null
  /** Whether the log is being closed: new calls are rejected. */
  isClosing = false
  /** Whether the log is closed: pending calls are rejected too. */
  isClosed = false
  readonly #name: string
  readonly #dir: string
  readonly #readOnly: boolean
  readonly #whyFenced: (outcome: AppendOutcome) => VarveError | null
  #failure: StorageError | null = null
  #closedBy: VarveError | null = null

  constructor(log: {
    name: string
    dir: string
    readOnly: boolean
    damage: CorruptRecordError | null
    whyFenced?: LogContext['whyFenced']
  }) {
    this.#name = log.name
    this.#dir = log.dir
    this.#readOnly = log.readOnly
    this.damage = log.damage
    this.#whyFenced = log.whyFenced ?? (() => null)
  }

  /** The failure that left the disk in doubt; `null` if there was none. */
  get failure(): StorageError | null {
    return this.#failure
  }

  /**
   * Rejects new calls from now on.
   * @param reason for rejecting them, by default a {@link ClosedError}; the first call counts.
   */
  beginClose(reason: VarveError | undefined): void {
    this.isClosing = true
    this.#closedBy ??= reason ?? null
  }

  /** Whether the log is not open and sound. */
  get isTroubled(): boolean {
    return this.isClosing || this.damage !== null || this.#failure !== null
  }

  /**
   * The error if a failure has lost records below `acknowledgedEnd`, which were not durable; `null`
   * otherwise.
   */
  lossOf(durableEnd: number, acknowledgedEnd: number): StorageError | null {
    if (this.#failure === null || acknowledgedEnd <= durableEnd) return null
    const offsets = `${durableEnd} to ${acknowledgedEnd - 1}`
    return new StorageError(
      `${this.#name}: the acknowledged records at offsets ${offsets} are not durable. ${this.#failure.message}`,
      { path: this.#dir, outcome: 'unknown' },
      { cause: this.#failure },
    )
  }

  /**
   * Why writes are refused; `null` if they are accepted.
   *
   * @param outcome what is known about the caller's change, part of which may have been done
   * before.
   */
  refusal(outcome: AppendOutcome = 'not-written'): VarveError | null {
    if (this.damage !== null) return this.damage
    if (this.#failure !== null) {
      const lost = lockLossIn(this.#failure) === null ? null : this.#whyFenced(outcome)
      if (lost !== null) return lost
      return new StorageError(
        `${this.#name} refuses writes after a failure until it is opened again. ${this.#failure.message}`,
        { path: this.#dir, outcome },
        { cause: this.#failure },
      )
    }
    if (this.#readOnly) return new ReadOnlyError(`${this.#name} is open for reading only`)
    return this.#whyFenced(outcome)
  }

  /** The error for an append of `count` offsets to a log that has fewer left. */
  noOffsetsLeft(logEndOffset: number, count: number): StorageError {
    return new StorageError(
      `${this.#name} ends at ${logEndOffset} and has no room for ${count} more offset(s): ` +
        `the offsets of a log are 0 to ${LAST_OFFSET} (2^53 - 2)`,
      { path: this.#dir, outcome: 'not-written' },
    )
  }

  /** @throws the reason, if the log accepts no writes. */
  ensureWritable(outcome?: AppendOutcome): void {
    if (this.isClosed) throw this.#closed()
    const refusal = this.refusal(outcome)
    if (refusal !== null) throw refusal
  }

  /**
   * @throws {@link ClosedError} or the reason of the close, if the log is closed or being closed.
   */
  ensureOpen(): void {
    if (this.isClosing) throw this.#closed()
  }

  /**
   * The error for a failed call.
   *
   * @param outcome what is known about the change, unless the failure leaves it in doubt.
   */
  failed(what: string, error: unknown, outcome: AppendOutcome): VarveError {
    // A close closes the files of calls in progress.
    if (error instanceof ClosedError && this.isClosing) return this.#closed()
    if (error instanceof VarveError) return error
    const isInDoubt = error instanceof InDoubtError
    const isUnknown = isInDoubt || error instanceof LeftOversError
    const cause = isUnknown ? error.cause : error
    const failure = new StorageError(
      `${what} of ${this.#name} failed: ${describeCause(cause)}`,
      { path: this.#dir, outcome: isUnknown ? 'unknown' : outcome },
      { cause },
    )
    if (isInDoubt) this.#failure ??= failure
    return lockLossIn(cause) ?? failure
  }

  #closed(): VarveError {
    return this.#closedBy ?? new ClosedError(`the log of ${this.#name} is closed`)
  }
}

function describeCause(cause: unknown): string {
  if (cause instanceof AggregateError) return cause.errors.map(describeCause).join('; ')
  return reasonOf(cause)
}
