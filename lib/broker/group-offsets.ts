import { SerialQueue } from '../storage/serial-queue.ts'
import type { OffsetAndMetadata } from './offset-and-metadata.ts'
import type { TopicPartition } from './topic-partition.ts'

/** A committed offset in memory. */
export interface StoredOffset {
  readonly topicPartition: TopicPartition
  readonly committed: OffsetAndMetadata
}

/** By {@link topicPartitionKey}. */
export type OffsetsByPartition = Map<string, StoredOffset>

/** What one group has committed, and the order in which it is stored. */
export interface GroupOffsets {
  readonly offsets: OffsetsByPartition
  readonly queue: SerialQueue
}

/** A group's offsets; none so far where it has not been heard of. */
export function groupOf(groups: Map<string, GroupOffsets>, groupId: string): GroupOffsets {
  let group = groups.get(groupId)
  if (group === undefined) {
    group = { offsets: new Map(), queue: new SerialQueue() }
    groups.set(groupId, group)
  }
  return group
}

/** Lets go of a group that has no offset, unless something is being stored for it. */
export function dropIfEmpty(groups: Map<string, GroupOffsets>, groupId: string): void {
  const group = groups.get(groupId)
  if (group?.offsets.size === 0 && group.queue.isIdle) groups.delete(groupId)
}
