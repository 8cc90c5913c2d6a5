import { reasonOf } from '../checks.ts'

/** More would make a message that nobody reads. */
const MOST_REASONS = 10

/**
 * Throws what has failed, if anything has: one failure as it is, several in one AggregateError, in their
 * order.
 */
export function throwFailures(failures: readonly unknown[]): void {
  const all = distinctFailures(failures)
  if (all.length === 1) throw all[0]
  if (all.length > 1) throw new AggregateError(all, reasonsOf(all))
}

/** Waits for `first`, then for what `next` does, whatever became of the first. @throws what they fail with */
export async function inTurn(first: Promise<void>, next: () => Promise<void>): Promise<void> {
  const failures: unknown[] = []
  const note = (failure: unknown): void => {
    failures.push(failure)
  }
  await first.catch(note)
  await next().catch(note)
  throwFailures(failures)
}

/**
 * Each once: a log that takes no more writes gives all who ask the same error. Where there are several, what
 * has failed twice over is no list in the list.
 */
export function distinctFailures(failures: readonly unknown[]): unknown[] {
  const all = [...new Set(failures)]
  if (all.length < 2) return all
  const each = all.flatMap((one): unknown[] => (one instanceof AggregateError ? one.errors : [one]))
  return [...new Set(each)]
}

/** What they say, in a line; of many, such as all partitions on a full disk, what the first ones say. */
export function reasonsOf(failures: readonly unknown[]): string {
  const reasons = failures.slice(0, MOST_REASONS).map(reasonOf)
  const rest = failures.length - reasons.length
  return [...reasons, ...(rest > 0 ? [`and ${rest} more`] : [])].join('; ')
}
