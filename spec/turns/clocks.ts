import type { SeededRandom } from '../../lib/testing/seeded-random.ts'

/** How many looks a clock stands still for that is never late. */
const STANDING_LOOKS = 20_000

let looks = 0

/**
 * How much later each kind of clock is than at the look before. A turn of the event loop is due after
 * half a millisecond or one.
 */
export const CLOCKS = {
  /** Of a machine that is busy with something else every now and then. */
  drawn: (random: SeededRandom): number => (random.chance(0.3) ? random.integer(3000) / 1000 : 0),
  /** Of one so slow that whatever is done takes too long. */
  late: (): number => 2,
  /** Of one so fast, or with a clock so coarse, that a turn is hardly ever due; now and then one is. */
  standing: (): number => {
    looks += 1
    return looks % STANDING_LOOKS === 0 ? 16 : 0
  },
} as const

/** One of {@link CLOCKS}. */
export type ClockName = keyof typeof CLOCKS
