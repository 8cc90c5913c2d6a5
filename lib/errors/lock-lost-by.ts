import { reasonOf } from '../checks.ts'
import { LockLostError } from './lock-errors.ts'
import type { AppendOutcome } from './varve-error.ts'

/**
 * The error for a lost lock, with its cause.
 *
 * @param reason `null` if unknown.
 */
export function lockLostBy(
  dir: string,
  reason: Error | null,
  outcome: AppendOutcome = 'unknown',
): LockLostError {
  if (reason === null) return new LockLostError(dir, 'another owner may have taken it', outcome)
  return new LockLostError(dir, reasonOf(reason), outcome, { cause: reason })
}

/**
 * The loss of the lock that an error comes from, however deep; `null` if it is not that. It takes
 * precedence over its consequences: the owner has to know about it.
 */
export function lockLossIn(error: unknown): LockLostError | null {
  if (error instanceof LockLostError) return error
  const causes: readonly unknown[] = error instanceof AggregateError ? error.errors : []
  for (const each of causes) {
    const lost = lockLossIn(each)
    if (lost !== null) return lost
  }
  return error instanceof Error && error.cause !== undefined ? lockLossIn(error.cause) : null
}
