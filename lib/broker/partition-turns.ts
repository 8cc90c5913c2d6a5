import { promptIo } from '../platform/prompt-io.ts'

/** How many partitions are processed before the clock is checked. */
const PARTITIONS_PER_LOOK = 8

/**
 * What a pass over partitions has to wait for before it continues with the one in `slot`. Most
 * partitions have nothing to delete, so awaiting them does not let the event loop turn.
 *
 * @returns `null` if there is nothing to wait for.
 */
export function turnBefore(slot: number): Promise<void> | null {
  return slot > 0 && slot % PARTITIONS_PER_LOOK === 0 ? promptIo.turnIfDue() : null
}
