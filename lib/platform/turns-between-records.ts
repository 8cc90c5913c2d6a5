import { promptIo } from './prompt-io.ts'

/** Records that are handed out before it is asked whether the event loop has to turn. */
const RECORDS_PER_LOOK = 64

/**
 * What records that are at hand have to wait for: a loop over them that never waits for anything
 * else would never let others run, however long the application takes for each.
 */
export class TurnsBetweenRecords {
  #count = 0

  /** @returns what the next record has to wait for, `null` for nothing */
  turnIfDue(): Promise<void> | null {
    return ++this.#count % RECORDS_PER_LOOK === 0 ? promptIo.turnIfDue() : null
  }
}
