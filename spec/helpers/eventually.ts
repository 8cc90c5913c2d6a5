import { vi } from 'vitest'

/** More than any wait takes, but less than a test's timeout, so that the check's error is shown. */
const LONGEST_MS = 60_000

/** Retries `check` until it no longer throws, to wait for a real disk or process. */
export function eventually<T>(check: () => T | Promise<T>): Promise<T> {
  return vi.waitFor(check, { timeout: LONGEST_MS, interval: 5 })
}
