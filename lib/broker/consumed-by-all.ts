import { isImportGroup } from '../import-groups.ts'
import type { GroupOffsets, StoredOffset } from './group-offsets.ts'
import { topicPartitionKey, type TopicPartition } from './topic-partition.ts'

/**
 * Offset up to which all groups that have committed for any partition of the topic have consumed
 * this partition; 0 if there is no such group. Imports do not count as groups, because their
 * offsets say what was written. But an unfinished import may look for records it has written after
 * its offsets, so nothing from there on counts as consumed, unless there is no room.
 *
 * @param isFull whether there is no room.
 * @param offsetOf how far a commit still reaches: nobody has consumed what replaced truncated
 * records.
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
    // It cannot get any lower.
    if (offset === 0) return 0
  }
  return consumed === Infinity ? 0 : Math.min(consumed, needed)
}
