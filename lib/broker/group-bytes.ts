import type { AppendChainOwner } from './append-chain-owner.ts'
import { isCapped } from './topic-space.ts'

/**
 * Maximum size of one write. With a small group the first append need not wait for all, and what is
 * written is still in the processor's cache.
 */
const MAX_GROUP_BYTES = 1024 * 1024

/** Maximum size of a synced write: a sync costs more than waiting for other appends. */
const MAX_SYNCED_GROUP_BYTES = 4 * 1024 * 1024

/** Bytes that may wait to be written before callers that do not wait for the write are held up. */
export const MAX_WAITING_BYTES: number = MAX_SYNCED_GROUP_BYTES

/**
 * Finds out what {@link mostGroupBytes} needs to know.
 * @returns `null` if it is known, or does not matter; never rejects
 */
export function lookForRoom(
  owner: Pick<AppendChainOwner, 'log' | 'space'>,
): Promise<unknown> | null {
  return owner.log.config.minFreeBytes > 0 ? (owner.space()?.look() ?? null) : null
}

/**
 * Maximum size of the next group: no more than there is room for, so that the first append need not
 * wait.
 *
 * @param wasSynced whether the last write was synced, as the next one then most likely is
 */
export function mostGroupBytes(
  owner: Pick<AppendChainOwner, 'log' | 'space'>,
  wasSynced: boolean,
): number {
  const { config } = owner.log
  const isSynced = wasSynced || config.flushMessages === 1
  const mostBytes = isSynced ? MAX_SYNCED_GROUP_BYTES : MAX_GROUP_BYTES
  if (!isCapped(config)) return mostBytes
  return Math.min(mostBytes, owner.space()?.roomBytes(config) ?? Infinity)
}
