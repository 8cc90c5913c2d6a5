import { isImportGroup } from '../import-groups.ts'
import type { GroupOffsets, StoredOffset } from './group-offsets.ts'
import { topicPartitionKey, type TopicPartition } from './topic-partition.ts'

/**
 * Every group that has committed an offset for some partition of the topic has committed past all
 * that is below the result; 0 where there is no such group. Imports are no such groups, as they say
 * what was written; but one that has not ended may look for what it has written behind its offsets, so
 * nothing from there on counts as consumed, unless there is no room.
 *
 * @param isFull whether there is none.
 * @param offsetOf how far a commit reaches by now: what was cut off since was consumed by nobody.
 */
export function consumedByAll(
  groups: ReadonlyMap<string, GroupOffsets>,
  topicPartition: TopicPartition,
  isFull: boolean,
  offsetOf: (stored: StoredOffset) => number,
): number {
  const { topic } = topicPartition
  const key = topicPartitionKey(topicPartition)
  let [consumed, needed] = [Infinity, Infinity]
  for (const [groupId, { offsets }] of groups) {
    const isImport = isImportGroup(groupId)
    if (!offsets.hasTopic(topic)) continue
    if (isImport && (isFull || offsets.hasImportEnded(topic))) continue
    const stored = offsets.get(key)
    const offset = stored === undefined ? 0 : offsetOf(stored)
    if (isImport) needed = Math.min(needed, offset)
    else consumed = Math.min(consumed, offset)
    // Nothing that comes makes it more.
    if (offset === 0) return 0
  }
  return consumed === Infinity ? 0 : Math.min(consumed, needed)
}
