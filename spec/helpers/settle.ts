import { ManualClock } from '../../lib/testing/manual-clock.ts'

/**
 * Lets everything happen that waits neither for time nor for a real disk: how many turns of the event
 * loop that takes is for the machine to say.
 */
export function settle(): Promise<void> {
  return new ManualClock().advance(0)
}
