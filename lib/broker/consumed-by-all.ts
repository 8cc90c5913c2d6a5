import { hasImportEnded, isImportGroup } from '../import-groups.ts'
import type { GroupOffsets, StoredOffset } from './group-offsets.ts'
import type { TopicPartition } from './topic-partition.ts'

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
  { topic, partition }: TopicPartition,
  isFull: boolean,
  offsetOf: (stored: StoredOffset) => number,
): number {
  let [consumed, needed] = [Infinity, Infinity]
  for (const [groupId, { offsets }] of groups) {
    if (isFull && isImportGroup(groupId)) continue
    const itsOwn = [...offsets.values()].filter((each) => each.topicPartition.topic === topic)
    if (itsOwn.length === 0) continue
    const stored = itsOwn.find((each) => each.topicPartition.partition === partition)
    const offset = stored === undefined ? 0 : offsetOf(stored)
    if (!isImportGroup(groupId)) consumed = Math.min(consumed, offset)
    else if (!itsOwn.every(({ committed }) => hasImportEnded(committed.metadata))) {
      needed = Math.min(needed, offset)
    }
  }
  return consumed === Infinity ? 0 : Math.min(consumed, needed)
}
