import { promptIo } from './prompt-io.ts'

/** So many records are handed out at most before it is asked whether the event loop has to turn. */
const MOST_RECORDS_PER_LOOK = 64

/**
 * What records that are at hand have to wait for: a loop over them that never waits for anything
 * else would never let others run, however long the application takes for each. The clock is looked at
 * the more rarely the less that is.
 */
export class TurnsBetweenRecords {
  #recordsPerLook = 1
  #untilLook = 1

  /** @returns what the next record has to wait for, `null` for nothing */
  turnIfDue(): Promise<void> | null {
    this.#untilLook -= 1
    if (this.#untilLook > 0) return null
    const turn = promptIo.turnIfDue()
    const wanted = turn === null ? this.#recordsPerLook * 2 : this.#recordsPerLook >> 2
    this.#recordsPerLook = Math.min(MOST_RECORDS_PER_LOOK, Math.max(1, wanted))
    this.#untilLook = this.#recordsPerLook
    return turn
  }
}
