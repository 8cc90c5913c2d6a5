import type { Clock } from '../platform/clock.ts'
import type { StoredOffset } from './group-offsets.ts'
import {
  encodeOffsetCommitValue,
  offsetCommitKeys,
  partitionForGroup,
} from './offset-commit-codec.ts'
import type { OffsetsPartition } from './offset-replay.ts'
import type { TopicPartition } from './topic-partition.ts'

/** Dependencies of {@link OffsetsTopic}. */
export interface OffsetsTopicOptions {
  readonly clock: Clock
  /** Returns the internal topic, and creates it if there is none. */
  readonly openTopic: () => Promise<{ readonly partitions: readonly OffsetsPartition[] }>
}

/** Writes to the internal topic, which is created with the first commit. */
export class OffsetsTopic {
  readonly #options: OffsetsTopicOptions
  /**
   * Empty until the topic is known, and not changed afterwards: a group must not change its
   * partition.
   */
  #partitions: readonly OffsetsPartition[] = []
  #opening: Promise<readonly OffsetsPartition[]> | null = null

  constructor(options: OffsetsTopicOptions) {
    this.#options = options
  }

  /** Whether anything can have been stored. */
  get isKnown(): boolean {
    return this.#partitions.length > 0
  }

  /** Uses these partitions of the existing topic. */
  use(partitions: readonly OffsetsPartition[]): void {
    this.#partitions = [...partitions]
  }

  /** The partition that stores a group's offsets. @throws any error of the creation of the topic */
  async partitionOf(groupId: string): Promise<OffsetsPartition> {
    const partitions = this.isKnown ? this.#partitions : await this.#open()
    const partition = partitions[partitionForGroup(groupId, partitions.length)]
    if (partition === undefined) throw new RangeError('the offsets topic has no partitions')
    return partition
  }

  /** Stores offsets of a group in its partition. */
  async append(
    partition: OffsetsPartition,
    groupId: string,
    offsets: readonly StoredOffset[],
  ): Promise<void> {
    const commitTimestamp = this.#options.clock.now()
    const keys = offsetCommitKeys(groupId)
    const records = offsets.map(({ topicPartition, committed }) => {
      const { offset, metadata, leaderEpoch } = committed
      const value = encodeOffsetCommitValue({ offset, metadata, leaderEpoch, commitTimestamp })
      return { key: keys(topicPartition), value }
    })
    await partition.appendInternal(records)
  }

  /** Stores tombstones for a group's offsets of these partitions. */
  async appendTombstones(groupId: string, places: readonly TopicPartition[]): Promise<void> {
    const keys = offsetCommitKeys(groupId)
    const tombstones = places.map((each) => ({ key: keys(each), value: null }))
    const partition = await this.partitionOf(groupId)
    await partition.appendInternal(tombstones)
  }

  #open(): Promise<readonly OffsetsPartition[]> {
    this.#opening ??= this.#options
      .openTopic()
      .then(({ partitions }) => {
        this.use(partitions)
        return this.#partitions
      })
      .finally(() => {
        // After a failure the next commit tries again.
        this.#opening = null
      })
    return this.#opening
  }
}
