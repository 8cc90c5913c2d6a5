import { vi } from 'vitest'

/** Far more than anything takes, on any machine; less than a test may, so that it tells what was missing. */
const LONGEST_MS = 60_000

/** Waits for a real disk, or a real process: until `check` no longer throws. */
export function eventually<T>(check: () => T | Promise<T>): Promise<T> {
  return vi.waitFor(check, { timeout: LONGEST_MS, interval: 5 })
}
