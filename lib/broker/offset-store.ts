import { CorruptRecordError, StorageError } from '../errors.ts'
import type { ClampedOffset, CommittedOffset, OffsetsDamage } from './committed-offset.ts'
import {
  ensureDurable,
  moveOffsets,
  unknownPartition,
  withEpoch,
  withinEpoch,
  type CheckedCommit,
  type ConsumedPartition,
} from './consumed-partition.ts'
import { consumedByAll } from './consumed-by-all.ts'
import {
  dropIfEmpty,
  groupOf,
  type GroupOffsets,
  type OffsetsByPartition,
  type StoredOffset,
} from './group-offsets.ts'
import {
  checkOffsetCommit,
  type CommitOptions,
  type OffsetAndMetadata,
  type OffsetCommit,
} from './offset-and-metadata.ts'
import type { OffsetsPartition } from './offset-replay.ts'
import { OffsetReplays } from './offset-replays.ts'
import { OffsetsTopic, type OffsetsTopicOptions } from './offsets-topic.ts'
import { promptIo } from '../platform/prompt-io.ts'
import { SerialQueue } from '../storage/serial-queue.ts'
import {
  compareNames,
  compareTopicPartitions,
  topicPartitionKey,
  type TopicPartition,
} from './topic-partition.ts'

export type { ClampedOffset, CommittedOffset } from './committed-offset.ts'

/** Dependencies of {@link OffsetStore}. */
export interface OffsetStoreOptions extends OffsetsTopicOptions {
  /** The partition that offsets are committed for; `null` if it does not exist. */
  readonly dataPartition: (topicPartition: TopicPartition) => ConsumedPartition | null
  /**
   * Whether another process writes the directory: its logs may continue beyond their known ends.
   */
  readonly readOnly: boolean
}

/**
 * The committed offsets of all groups: in memory for reading, and in the internal topic, where the
 * last record of each key counts, for the next start.
 *
 * Calls may overlap, but {@link OffsetStore.load} has to settle before any other. Commits of one
 * group are stored in call order, those of different groups concurrently. A commit becomes visible
 * in memory once it is acknowledged, so everything in memory is durable.
 *
 * A log may be truncated at any time, even during a commit. So a group's position is always checked
 * against what its epoch has written, as the log is at that time.
 */
export class OffsetStore {
  readonly #options: OffsetStoreOptions
  readonly #groups: Map<string, GroupOffsets> = new Map()
  readonly #topic: OffsetsTopic
  readonly #replays: OffsetReplays = new OffsetReplays(this.#groups)
  /**
   * Serializes refreshes: a commit that one refresh has read must not be applied again by another
   * after newer ones. Used only in a directory open for reading only.
   */
  #refreshes: SerialQueue | null = null

  constructor(options: OffsetStoreOptions) {
    this.#options = options
    this.#topic = new OffsetsTopic(options)
  }

  /** The partitions of the internal topic that cannot be read. */
  get damages(): readonly OffsetsDamage[] {
    return this.#replays.damages
  }

  /**
   * Why the committed offsets of some groups in this directory are unknown; `null` if all are
   * known. Partitions of the internal topic that were left on a Kafka broker do not count.
   */
  get damage(): CorruptRecordError | null {
    return this.#replays.damage
  }

  /** Why the position of a group is unknown; `null` if it is known. */
  damageOf(groupId: string): CorruptRecordError | null {
    return this.#replays.damageOf(groupId)
  }

  /**
   * Reads what the internal topic holds.
   *
   * @param partitions all partitions of the topic, in order
   * @throws {@link CorruptRecordError} when a batch or a commit is damaged. The positions of the
   * groups that belong in that partition are then unknown, and never made up; those of the others
   * are known.
   */
  load(partitions: readonly OffsetsPartition[]): Promise<void> {
    this.#topic.use(partitions)
    return this.#replays.run(partitions)
  }

  /**
   * Reads what another process has committed since, in a directory that is open for reading only.
   *
   * @throws {@link CorruptRecordError} as {@link OffsetStore.load}. From then on the positions of
   * that partition's groups are unknown, until a later refresh finds the damage gone.
   */
  refresh(partitions: readonly OffsetsPartition[]): Promise<void> {
    this.#refreshes ??= new SerialQueue()
    return this.#refreshes.run(() => this.#replays.run(partitions))
  }

  /**
   * Stores offsets once the records below them are durable, so that no group is ahead of its data:
   * all of them or none, except that a crash may leave the first of them.
   *
   * @throws TypeError or RangeError when an offset, its metadata or its epoch is out of range
   * @throws {@link UnknownTopicOrPartitionError} when there is no such partition
   * @throws {@link OffsetOutOfRangeError} when an offset is beyond the end of its log, unless the
   * reason is that records of its epoch were truncated
   * @throws any error of the append; the earlier offsets then remain in force
   */
  async commit(
    groupId: string,
    offsets: readonly OffsetCommit[],
    { withoutDeleted = false }: CommitOptions = {},
  ): Promise<void> {
    const entries = offsets.map((commit) => this.#check(commit))
    if (entries.length === 0) return
    // A deleted topic takes no offsets, even if there is another one of its name by now.
    const isGone = ({ topicPartition, data }: CheckedCommit): boolean =>
      this.#options.dataPartition(topicPartition) !== data
    const isDropped = (each: CheckedCommit): boolean => withoutDeleted && isGone(each)
    const group = groupOf(this.#groups, groupId)
    try {
      await group.queue.run(async () => {
        await ensureDurable(entries, withoutDeleted ? isDropped : null)
        const partition = await this.#topic.partitionOf(groupId)
        // When many groups commit at once, they take turns.
        const turn = promptIo.turnIfDue('write')
        if (turn !== null) await turn
        // From here on a deletion of the topic waits for this commit, and removes it as well.
        const left = entries.filter((each) => !isDropped(each))
        const gone = left.find(isGone)
        if (gone !== undefined) throw unknownPartition(gone.topicPartition)
        if (left.length === 0) return
        // The epoch is determined now, because the record before the offset may have arrived since
        // the call.
        const stored = left.map(withEpoch)
        await this.#topic.append(partition, groupId, stored)
        moveOffsets(group.offsets, stored, left)
      })
    } finally {
      dropIfEmpty(this.#groups, groupId)
    }
  }

  /**
   * Resolves when all commits of a group that were called before have ended; `null` if they already
   * have.
   */
  commitsEnded(groupId: string): Promise<void> | null {
    const group = this.#groups.get(groupId)
    if (group === undefined || group.queue.isIdle) return null
    const ended = group.queue.run(() => Promise.resolve())
    return ended.finally(() => {
      dropIfEmpty(this.#groups, groupId)
    })
  }

  /**
   * Moves committed offsets that are beyond the end of their epoch back to that end. The records
   * there no longer exist, and others may have replaced them or will. The new offsets are durable
   * before they count, unless the disk refuses; then they count until the next open, which tries
   * again.
   *
   * @returns the offsets that were moved back, sorted by group and partition
   */
  async clamp(): Promise<ClampedOffset[]> {
    const clamped: ClampedOffset[] = []
    for (const groupId of this.groups()) {
      const entries: StoredOffset[] = []
      for (const stored of this.#sortedOf(groupId)) {
        const { offset, leaderEpoch } = stored.committed
        const left = this.#withinEpoch(stored)
        if (left.offset === offset) continue
        const { topicPartition } = stored
        clamped.push({ groupId, ...topicPartition, offset, leaderEpoch, clampedTo: left.offset })
        entries.push({ topicPartition, committed: left })
      }
      if (entries.length > 0) await this.#storeClamped(groupId, entries)
    }
    return clamped
  }

  async #storeClamped(groupId: string, entries: readonly StoredOffset[]): Promise<void> {
    const group = groupOf(this.#groups, groupId)
    await group.queue.run(async () => {
      try {
        await this.#topic.append(await this.#topic.partitionOf(groupId), groupId, entries)
      } catch (error) {
        // A broker can be opened on a full disk, too.
        if (!(error instanceof StorageError || error instanceof CorruptRecordError)) throw error
      }
      for (const each of entries) group.offsets.set(topicPartitionKey(each.topicPartition), each)
    })
  }

  /** The offset a group continues from; `null` when it has none for this partition. */
  fetch(groupId: string, topicPartition: TopicPartition): OffsetAndMetadata | null {
    const stored = this.#find(groupId, topicPartition)
    // A copy: the group's stored offset, which retention uses too, must not be changed by callers.
    return stored === null ? null : { ...this.#withinEpoch(stored) }
  }

  /** The last commit, even if records below it were truncated since; `null` if there is none. */
  lastCommit(groupId: string, topicPartition: TopicPartition): OffsetAndMetadata | null {
    const stored = this.#find(groupId, topicPartition)
    return stored === null ? null : { ...stored.committed }
  }

  /** See {@link consumedByAll}; 0 if it is not known. */
  consumedBelow(topicPartition: TopicPartition, { isFull }: { readonly isFull: boolean }): number {
    if (this.#replays.hasUnknown) return 0
    const offsetOf = (stored: StoredOffset): number => this.#withinEpoch(stored).offset
    return consumedByAll(this.#groups, topicPartition, isFull, offsetOf)
  }

  /** Ids of the groups that have an offset, sorted. */
  groups(): string[] {
    return [...this.#groups]
      .filter(([, { offsets }]) => offsets.size > 0)
      .map(([groupId]) => groupId)
      .sort(compareNames)
  }

  /**
   * Number of groups in memory: those of {@link OffsetStore.groups}, and those of calls in
   * progress.
   */
  get heldGroups(): number {
    return this.#groups.size
  }

  /** All offsets of a group, sorted by partition; empty when it has none. */
  offsetsOf(groupId: string): CommittedOffset[] {
    // Field by field: there may be a hundred thousand commits, and a spread takes a microsecond
    // each.
    return this.#sortedOf(groupId).map((stored) => {
      const { topic, partition } = stored.topicPartition
      const { offset, metadata, leaderEpoch } = this.#withinEpoch(stored)
      return { topic, partition, offset, metadata, leaderEpoch }
    })
  }

  #sortedOf(groupId: string): StoredOffset[] {
    const offsets = this.#groups.get(groupId)?.offsets.values() ?? []
    return [...offsets].sort((a, b) => compareTopicPartitions(a.topicPartition, b.topicPartition))
  }

  #find(groupId: string, topicPartition: TopicPartition): StoredOffset | null {
    const offsets = this.#groups.get(groupId)?.offsets
    return offsets?.get(topicPartitionKey(topicPartition)) ?? null
  }

  #withinEpoch({ topicPartition, committed }: StoredOffset): OffsetAndMetadata {
    const { dataPartition, readOnly } = this.#options
    return withinEpoch(committed, dataPartition(topicPartition), readOnly)
  }

  /**
   * Removes the committed offsets of a topic's partitions from `fromPartition` on, including those
   * of commits called before, so that later partitions of that name start without them. Call it
   * when they cannot be found: a commit that is not yet being written is then refused.
   *
   * @throws any error of an append; the other groups have then forgotten the topic all the same
   */
  async forgetTopic(topic: string, fromPartition: number = 0): Promise<void> {
    // Nothing is stored. A commit may be in progress, but it waits for the internal topic, which
    // cannot be created while the deletion waits for the commit.
    if (!this.#topic.isKnown) return
    const isForgotten = (each: TopicPartition): boolean =>
      each.topic === topic && each.partition >= fromPartition
    const outcomes = await Promise.allSettled(
      [...this.#groups].map(([groupId, group]) =>
        this.#forget(groupId, group, (offsets) =>
          offsets.hasTopic(topic) ? placesIn(offsets).filter(isForgotten) : [],
        ),
      ),
    )
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') throw outcome.reason
    }
  }

  /**
   * Removes all offsets of a group, including those of commits called before.
   *
   * @param ensureUnused called when its turn has come; throws the error that the call rejects with.
   * @returns whether there were any.
   */
  async forgetGroup(groupId: string, ensureUnused: () => void): Promise<boolean> {
    const group = this.#groups.get(groupId)
    if (group === undefined) return false
    return this.#forget(groupId, group, placesIn, ensureUnused)
  }

  /** @returns whether there was anything to remove. */
  async #forget(
    groupId: string,
    { offsets, queue }: GroupOffsets,
    choose: (offsets: OffsetsByPartition) => readonly TopicPartition[],
    before: () => void = () => undefined,
  ): Promise<boolean> {
    try {
      return await queue.run(async () => {
        before()
        const forgotten = choose(offsets)
        if (forgotten.length === 0) return false
        await this.#topic.appendTombstones(groupId, forgotten)
        for (const each of forgotten) offsets.delete(topicPartitionKey(each))
        return true
      })
    } finally {
      dropIfEmpty(this.#groups, groupId)
    }
  }

  #check(commit: OffsetCommit): CheckedCommit {
    const topicPartition = { topic: commit.topic, partition: commit.partition }
    const committed = checkOffsetCommit(commit)
    const data = this.#options.dataPartition(topicPartition)
    if (data === null) throw unknownPartition(topicPartition)
    return { topicPartition, committed, data }
  }
}

function placesIn(offsets: OffsetsByPartition): TopicPartition[] {
  return [...offsets.values()].map(({ topicPartition }) => topicPartition)
}
