/**
 * Throws what has failed, if anything has: one failure as it is, several in an AggregateError, in their
 * order.
 */
export function throwFailures(failures: readonly unknown[]): void {
  // A log that takes no more writes gives all who ask the same error.
  const all = [...new Set(failures)]
  if (all.length > 1) throw new AggregateError(all, all.map(reasonOf).join('; '))
  if (all.length === 1) throw all[0]
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

function reasonOf(failure: unknown): string {
  return failure instanceof Error ? failure.message : String(failure)
}
