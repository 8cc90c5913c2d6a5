import { behindMicrotasks } from '../../lib/platform/event-loop.ts'
import type { PromptIoSystem } from '../../lib/platform/prompt-io.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'

/** How often a look at the clock finds that time has gone by. */
const LATER_SHARE = 0.3
/** How much later it is then: less than a slow call takes, and three times that is more than a turn's share. */
const LATER_MS = 0.9

let random = new SeededRandom(0)
let nowMs = 0

/**
 * What decides which work waits for a turn of the event loop, drawn instead of measured: the machine
 * would answer otherwise each time, so no run could be had again.
 */
export const drawnSystem: PromptIoSystem = {
  now: () => {
    if (random.chance(LATER_SHARE)) nowMs += LATER_MS
    return nowMs
  },
  nextTurn: (callback) => {
    setImmediate(callback)
  },
  behindMicrotasks,
  diskReads: () => 0,
}

/** The turns of a run are those of `seed`, whatever ran before it. */
export async function drawTurns(seed: number): Promise<void> {
  // The turn that was under way is over.
  await new Promise((resolve) => setImmediate(resolve))
  random = new SeededRandom(seed)
}
