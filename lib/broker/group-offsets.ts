import { hasImportEnded } from '../import-groups.ts'
import { SerialQueue } from '../storage/serial-queue.ts'
import type { OffsetAndMetadata } from './offset-and-metadata.ts'
import type { TopicPartition } from './topic-partition.ts'

/** A committed offset in memory. */
export interface StoredOffset {
  readonly topicPartition: TopicPartition
  readonly committed: OffsetAndMetadata
}

/** State of a group's offsets for one topic. */
interface TopicOffsets {
  count: number
  /** Computed on demand; `null` before that, and after each change. */
  isImportEnded: boolean | null
}

/**
 * Offsets by {@link topicPartitionKey}. Retention checks every group for each partition of a topic,
 * so what it needs to know about all partitions of the topic is kept next to them.
 */
export class OffsetsByPartition {
  readonly #offsets: Map<string, StoredOffset> = new Map()
  /** Topics that have an offset. */
  readonly #topics: Map<string, TopicOffsets> = new Map()

  get size(): number {
    return this.#offsets.size
  }

  get(key: string): StoredOffset | undefined {
    return this.#offsets.get(key)
  }

  values(): IterableIterator<StoredOffset> {
    return this.#offsets.values()
  }

  set(key: string, stored: StoredOffset): void {
    const { topic } = stored.topicPartition
    const isNew = !this.#offsets.has(key)
    this.#offsets.set(key, stored)
    const ofTopic = this.#topics.get(topic)
    if (ofTopic === undefined) {
      this.#topics.set(topic, { count: 1, isImportEnded: null })
      return
    }
    if (isNew) ofTopic.count += 1
    ofTopic.isImportEnded = null
  }

  delete(key: string): void {
    const topic = this.#offsets.get(key)?.topicPartition.topic
    const ofTopic = topic === undefined ? undefined : this.#topics.get(topic)
    if (topic === undefined || ofTopic === undefined) return
    this.#offsets.delete(key)
    ofTopic.count -= 1
    ofTopic.isImportEnded = null
    if (ofTopic.count === 0) this.#topics.delete(topic)
  }

  /** Whether there is an offset for some partition of the topic. */
  hasTopic(topic: string): boolean {
    return this.#topics.has(topic)
  }

  /**
   * Whether the import that committed these offsets has ended, according to all offsets of the
   * topic.
   */
  hasImportEnded(topic: string): boolean {
    const ofTopic = this.#topics.get(topic)
    if (ofTopic === undefined) return true
    ofTopic.isImportEnded ??= [...this.#offsets.values()].every(
      ({ topicPartition, committed }) =>
        topicPartition.topic !== topic || hasImportEnded(committed.metadata),
    )
    return ofTopic.isImportEnded
  }
}

/** The committed offsets of one group, and the queue that stores them in order. */
export interface GroupOffsets {
  readonly offsets: OffsetsByPartition
  readonly queue: SerialQueue
}

/** A group's offsets; empty for a group that is not known yet. */
export function groupOf(groups: Map<string, GroupOffsets>, groupId: string): GroupOffsets {
  let group = groups.get(groupId)
  if (group === undefined) {
    group = { offsets: new OffsetsByPartition(), queue: new SerialQueue() }
    groups.set(groupId, group)
  }
  return group
}

/** Drops a group without offsets, unless something is being stored for it. */
export function dropIfEmpty(groups: Map<string, GroupOffsets>, groupId: string): void {
  const group = groups.get(groupId)
  if (group?.offsets.size === 0 && group.queue.isIdle) groups.delete(groupId)
}
