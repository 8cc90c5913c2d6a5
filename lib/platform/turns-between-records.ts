import { promptIo } from './prompt-io.ts'

/** The most records delivered between two checks whether the event loop has to turn. */
const MOST_RECORDS_PER_LOOK = 64

/**
 * Lets the event loop turn between records in memory: a loop over them that awaits nothing else
 * would never let other work run, however long the application takes for each record. The less time
 * that is, the less often the clock is read.
 */
export class TurnsBetweenRecords {
  #recordsPerLook = 1
  #untilLook = 1

  /** @returns a promise that the next record has to wait for, or `null` */
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
