import { reasonOf } from '../checks.ts'

/**
 * Throws what has failed, if anything has: one failure as it is, several in one AggregateError, in their
 * order.
 */
export function throwFailures(failures: readonly unknown[]): void {
  const all = distinctFailures(failures)
  if (all.length === 1) throw all[0]
  // Where something has failed twice over, that is no list in a list.
  const each = all.flatMap((one): unknown[] => (one instanceof AggregateError ? one.errors : [one]))
  if (all.length > 1) throw new AggregateError(each, reasonsOf(each))
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

/** Each once: a log that takes no more writes gives all who ask the same error. */
export function distinctFailures(failures: readonly unknown[]): unknown[] {
  return [...new Set(failures)]
}

/** What they say, in a line. */
export function reasonsOf(failures: readonly unknown[]): string {
  return failures.map(reasonOf).join('; ')
}
