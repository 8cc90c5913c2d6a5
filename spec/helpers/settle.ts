import { ManualClock } from '../../lib/testing/manual-clock.ts'

/**
 * Waits until everything has happened that needs neither time nor a real disk. How many turns of
 * the event loop this takes depends on the machine.
 */
export function settle(): Promise<void> {
  return new ManualClock().advance(0)
}
