import { DrawnSystem } from '../helpers/drawn-system.ts'

/** How often a look at the clock finds that time has gone by. */
const LATER_SHARE = 0.3
/** How much later it is then: less than a slow call takes, and three times that is more than a turn's share. */
const LATER_MS = 0.9

/** No run could be had again otherwise. */
export const drawnSystem: DrawnSystem = new DrawnSystem((random) =>
  random.chance(LATER_SHARE) ? LATER_MS : 0,
)
