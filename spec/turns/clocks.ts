import type { SeededRandom } from '../../lib/testing/seeded-random.ts'

/** For how many reads the clock that is never late stands still. */
const STANDING_LOOKS = 20_000

let looks = 0

/**
 * How much later each kind of clock is than at its previous read. A turn of the event loop is due
 * after half a millisecond or one.
 */
export const CLOCKS = {
  /** The clock of a machine that is occasionally busy with something else. */
  drawn: (random: SeededRandom): number => (random.chance(0.3) ? random.integer(3000) / 1000 : 0),
  /** The clock of a machine so slow that everything takes too long. */
  late: (): number => 2,
  /** A clock so fast or so coarse that a turn is hardly ever due; now and then one is. */
  standing: (): number => {
    looks += 1
    return looks % STANDING_LOOKS === 0 ? 16 : 0
  },
} as const

/** One of {@link CLOCKS}. */
export type ClockName = keyof typeof CLOCKS
