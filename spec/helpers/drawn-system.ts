import { behindMicrotasks, nextTurn, onNextTurn } from '../../lib/platform/event-loop.ts'
import type { PromptIoSystem } from '../../lib/platform/prompt-io.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'

/** So much later everything is over that a slow call or a sync may have had in its wake. */
const LONG_AFTER_MS = 1000

/**
 * What decides which work waits for a turn of the event loop, drawn instead of measured: the machine
 * would answer otherwise each time.
 */
export class DrawnSystem implements PromptIoSystem {
  readonly #laterMs: (random: SeededRandom) => number
  #random = new SeededRandom(0)
  #nowMs = 0

  /** @param laterMs how much time has gone by between two looks at the clock */
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

  /** What is drawn from now on is that of `seed`, whatever was drawn before. */
  async draw(seed: number): Promise<void> {
    // The turn that was under way is over.
    await nextTurn()
    this.#nowMs += LONG_AFTER_MS
    this.#random = new SeededRandom(seed)
  }
}
