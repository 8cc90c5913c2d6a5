import { DrawnSystem } from '../helpers/drawn-system.ts'

/** How often a read of the clock finds that time has passed. */
const LATER_SHARE = 0.3
/**
 * How much has passed then: less than a slow call takes; three times this exceeds a turn's share.
 */
const LATER_MS = 0.9

/** Seeded, because runs could not be repeated otherwise. */
export const drawnSystem: DrawnSystem = new DrawnSystem((random) =>
  random.chance(LATER_SHARE) ? LATER_MS : 0,
)
