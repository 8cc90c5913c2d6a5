import { promptIo } from '../platform/prompt-io.ts'

/** So many are looked at before the clock is. */
const PARTITIONS_PER_LOOK = 8

/**
 * What a pass over partitions has to wait for before it goes on to the next, which is the one of that `slot`.
 * Most of them have nothing to delete, so none of its awaits lets the event loop turn.
 *
 * @returns `null` while there is nothing to wait for.
 */
export function turnBefore(slot: number): Promise<void> | null {
  return slot > 0 && slot % PARTITIONS_PER_LOOK === 0 ? promptIo.turnIfDue() : null
}
