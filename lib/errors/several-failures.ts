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
 * Joins the messages into one line. Of many failures, such as all partitions on a full disk, only
 * the first ones are included.
 */
export function reasonsOf(failures: readonly unknown[]): string {
  const reasons = failures.slice(0, MOST_REASONS).map(reasonOf)
  const rest = failures.length - reasons.length
  return [...reasons, ...(rest > 0 ? [`and ${rest} more`] : [])].join('; ')
}
