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
