/**
 * How often the end of any log of the process has gone back, by a truncation or a failed sync. This
 * is rare, and waiters are not notified. Code that caches data about log ends checks this counter
 * instead.
 */
export const endsGoneBack: { count: number } = { count: 0 }
