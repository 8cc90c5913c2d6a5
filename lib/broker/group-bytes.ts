import type { AppendChainOwner } from './append-chain-owner.ts'
import { isCapped } from './topic-space.ts'

/**
 * One write takes at most this much of what is waiting: the first in it need not wait for all, and
 * what is written is still in the processor's cache.
 */
const MAX_GROUP_BYTES = 1024 * 1024

/** The same where each write is synced, which costs more than to wait for others. */
const MAX_SYNCED_GROUP_BYTES = 4 * 1024 * 1024

/** Bytes that may wait to be written before those who do not wait for that are held up. */
export const MAX_WAITING_BYTES: number = MAX_SYNCED_GROUP_BYTES

/**
 * What one group may take: no more than there is room for, so that the first in it need not wait.
 *
 * @param wasSynced whether the last write was, as the next then most likely is
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
