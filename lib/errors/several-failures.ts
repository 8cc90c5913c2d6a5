import { reasonOf } from '../checks.ts'

/** More reasons would make the message too long to read. */
const MOST_REASONS = 10

/**
 * Throws the failures, if there are any: a single one as it is, several as one AggregateError, in
 * order.
 */
export function throwFailures(failures: readonly unknown[]): void {
  const all = distinctFailures(failures)
  if (all.length === 1) throw all[0]
  if (all.length > 1) throw new AggregateError(all, reasonsOf(all))
}

/** Waits for `first`, then runs `next` whether or not `first` succeeded. @throws their failures */
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
 * Removes duplicates: a log that accepts no more writes rejects all callers with the same error. If
 * there are several failures, AggregateErrors among them are flattened.
 */
export function distinctFailures(failures: readonly unknown[]): unknown[] {
  const all = [...new Set(failures)]
  if (all.length < 2) return all
  const each = all.flatMap((one): unknown[] => (one instanceof AggregateError ? one.errors : [one]))
  return [...new Set(each)]
}

/**
 * Joins the messages into one line. One that several failures share, such as that of a lost lock
 * for all partitions, is included once, with their number. Of many different ones, such as all
 * partitions on a full disk, only the first are included.
 */
export function reasonsOf(failures: readonly unknown[]): string {
  const counts = new Map<string, number>()
  for (const failure of failures) {
    const reason = reasonOf(failure)
    counts.set(reason, (counts.get(reason) ?? 0) + 1)
  }
  const reasons = [...counts]
    .slice(0, MOST_REASONS)
    .map(([reason, count]) => (count === 1 ? reason : `${reason} (${count} times)`))
  const rest = counts.size - reasons.length
  return [...reasons, ...(rest > 0 ? [`and ${rest} more`] : [])].join('; ')
}
