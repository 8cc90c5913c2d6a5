import { behindMicrotasks, nextTurn, onNextTurn } from '../../lib/platform/event-loop.ts'
import type { PromptIoSystem } from '../../lib/platform/prompt-io.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'

/** After this time, no slow call or sync has an effect any more. */
const LONG_AFTER_MS = 1000

/**
 * Replaces the clock that decides when work yields to the event loop. Its times are drawn from a
 * seed instead of measured, because a real machine behaves differently in each run.
 */
export class DrawnSystem implements PromptIoSystem {
  readonly #laterMs: (random: SeededRandom) => number
  #random = new SeededRandom(0)
  #nowMs = 0

  /** @param laterMs how much time passes between two reads of the clock */
  constructor(laterMs: (random: SeededRandom) => number) {
    this.#laterMs = laterMs
  }

  now(): number {
    this.#nowMs += this.#laterMs(this.#random)
    return this.#nowMs
  }

  nextTurn(callback: () => void): void {
    onNextTurn(callback)
  }

  behindMicrotasks(callback: () => void): void {
    behindMicrotasks(callback)
  }

  diskReads(): number {
    return 0
  }

  /** Restarts the random numbers from `seed`, whatever was drawn before. */
  async draw(seed: number): Promise<void> {
    // Lets the current turn end.
    await nextTurn()
    this.#nowMs += LONG_AFTER_MS
    this.#random = new SeededRandom(seed)
  }
}
