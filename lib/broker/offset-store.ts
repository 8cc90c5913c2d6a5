import { CorruptRecordError, StorageError } from '../errors.ts'
import type { ClampedOffset, CommittedOffset, OffsetsDamage } from './committed-offset.ts'
import {
  ensureDurable,
  unknownPartition,
  withEpoch,
  withinEpoch,
  type CheckedCommit,
  type ConsumedPartition,
} from './consumed-partition.ts'
import { consumedByAll } from './consumed-by-all.ts'
import { dropIfEmpty, groupOf, type GroupOffsets, type StoredOffset } from './group-offsets.ts'
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

/** What an {@link OffsetStore} works with. */
export interface OffsetStoreOptions extends OffsetsTopicOptions {
  /** A partition that may have offsets; `null` when there is none of that name. */
  readonly dataPartition: (topicPartition: TopicPartition) => ConsumedPartition | null
  /** Whether another process writes the directory: its logs may go on behind the ends that are known. */
  readonly readOnly: boolean
}

/**
 * The offsets that groups have committed: in memory for reading, and in the internal topic, whose
 * last record of each key counts, for the next start.
 *
 * All calls may overlap, but {@link OffsetStore.load} has to settle before any other. Commits of one
 * group are stored in the order of the calls, those of different groups side by side. What is in
 * memory is durable: a commit shows once it is acknowledged.
 *
 * A log may be cut at any time, also while a commit is under way. So nobody is told how far a group has come
 * without a look at what its epoch has written, as the log is then.
 */
export class OffsetStore {
  readonly #options: OffsetStoreOptions
  readonly #groups: Map<string, GroupOffsets> = new Map()
  readonly #topic: OffsetsTopic
  readonly #replays: OffsetReplays = new OffsetReplays(this.#groups)
  /**
   * What one refresh has taken over of a commit, another must not take over again behind what has followed
   * it. Only who reads beside the owner has any.
   */
  #refreshes: SerialQueue | null = null

  constructor(options: OffsetStoreOptions) {
    this.#options = options
    this.#topic = new OffsetsTopic(options)
  }

  /** Which partitions of the internal topic cannot be read. */
  get damages(): readonly OffsetsDamage[] {
    return this.#replays.damages
  }

  /**
   * Why it is not known what all groups have committed in this directory; `null` when it is. What they have on
   * another broker that had some partitions of the internal topic is no matter of it.
   */
  get damage(): CorruptRecordError | null {
    return this.#replays.damage
  }

  /** Why it is not known where a group stands; `null` when it is. */
  damageOf(groupId: string): CorruptRecordError | null {
    return this.#replays.damageOf(groupId)
  }

  /**
   * Takes over what the internal topic holds.
   *
   * @param partitions all partitions of the topic, in order
   * @throws {@link CorruptRecordError} when a batch or a commit is damaged: where the groups stand that
   * belong in that partition is never made up. Those of the others are known.
   */
  load(partitions: readonly OffsetsPartition[]): Promise<void> {
    this.#topic.use(partitions)
    return this.#replays.run(partitions)
  }

  /**
   * Takes over what another process has committed since, in a directory that is open for reading
   * only.
   *
   * @throws {@link CorruptRecordError} as {@link OffsetStore.load}; nobody is told where a group of that
   * partition stands from then on, until a later refresh finds the damage gone.
   */
  refresh(partitions: readonly OffsetsPartition[]): Promise<void> {
    this.#refreshes ??= new SerialQueue()
    return this.#refreshes.run(() => this.#replays.run(partitions))
  }

  /**
   * Stores offsets, all of them or none, or after a crash the first, once the records below them are durable: no
   * group is ahead of its data.
   *
   * @throws TypeError or RangeError when an offset, its metadata or its epoch is out of range
   * @throws {@link UnknownTopicOrPartitionError} when there is no such partition
   * @throws {@link OffsetOutOfRangeError} when an offset is beyond the end of its log, and not because what
   * its epoch had written was cut off
   * @throws whatever the append fails with; the offsets of before then stay in force
   */
  async commit(
    groupId: string,
    offsets: readonly OffsetCommit[],
    { withoutDeleted = false }: CommitOptions = {},
  ): Promise<void> {
    const entries = offsets.map((commit) => this.#check(commit))
    if (entries.length === 0) return
    // A topic that was deleted, also if there is another of its name by now, takes no offsets.
    const isGone = ({ topicPartition, data }: CheckedCommit): boolean =>
      this.#options.dataPartition(topicPartition) !== data
    const isDropped = (each: CheckedCommit): boolean => withoutDeleted && isGone(each)
    const group = groupOf(this.#groups, groupId)
    try {
      await group.queue.run(async () => {
        await ensureDurable(entries, withoutDeleted ? isDropped : null)
        const partition = await this.#topic.partitionOf(groupId)
        // Of what many groups commit at once, each has its part of a turn.
        const turn = promptIo.turnIfDue('write')
        if (turn !== null) await turn
        // From here on a deletion of the topic waits for this commit, and takes it along.
        const left = entries.filter((each) => !isDropped(each))
        const gone = left.find(isGone)
        if (gone !== undefined) throw unknownPartition(gone.topicPartition)
        if (left.length === 0) return
        // By now, as a record may have come since the call: its epoch is told by where it is.
        const stored = left.map(withEpoch)
        await this.#topic.append(partition, groupId, stored)
        for (const each of stored) group.offsets.set(topicPartitionKey(each.topicPartition), each)
      })
    } finally {
      dropIfEmpty(this.#groups, groupId)
    }
  }

  /** Resolves when the commits of a group that were called before have ended; `null` where all have. */
  commitsEnded(groupId: string): Promise<void> | null {
    const group = this.#groups.get(groupId)
    if (group === undefined || group.queue.isIdle) return null
    const ended = group.queue.run(() => Promise.resolve())
    return ended.finally(() => {
      dropIfEmpty(this.#groups, groupId)
    })
  }

  /**
   * Takes back what groups have committed beyond the end of what their epoch has written: records
   * that are no more, in whose place others may be or will be. What is stored is durable before it
   * counts, unless the disk refuses; then it counts until the next open, which tries again.
   *
   * @returns what was taken back, sorted by group and partition
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
        // A broker opens on a full disk too.
        if (!(error instanceof StorageError || error instanceof CorruptRecordError)) throw error
      }
      for (const each of entries) group.offsets.set(topicPartitionKey(each.topicPartition), each)
    })
  }

  /** The offset a group goes on from, `null` when it has none for this partition. */
  fetch(groupId: string, topicPartition: TopicPartition): OffsetAndMetadata | null {
    const stored = this.#find(groupId, topicPartition)
    // Nobody is handed what the group goes on from, and retention looks at.
    return stored === null ? null : { ...this.#withinEpoch(stored) }
  }

  /** What was committed, also where records below it were cut off since; `null` for nothing. */
  lastCommit(groupId: string, topicPartition: TopicPartition): OffsetAndMetadata | null {
    const stored = this.#find(groupId, topicPartition)
    return stored === null ? null : { ...stored.committed }
  }

  /** See {@link consumedByAll}; 0 where it is not known. */
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

  /** Count of groups in memory: those of {@link OffsetStore.groups}, and of calls under way. */
  get heldGroups(): number {
    return this.#groups.size
  }

  /** All offsets of a group, sorted by partition; empty when it has none. */
  offsetsOf(groupId: string): CommittedOffset[] {
    // Field by field, as all copies of commits: there may be a hundred thousand, and a spread takes a microsecond.
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
   * Removes the offsets that any group has for a topic, so that a later topic of that name starts
   * without them. Commits called before are removed too. To be called when the topic cannot be found
   * any more: a commit that is only about to be written is refused then.
   *
   * @throws whatever an append fails with; the other groups have forgotten the topic all the same
   */
  async forgetTopic(topic: string): Promise<void> {
    // Nothing is stored. A commit may be on its way, but it waits for the internal topic, which
    // cannot be created while whoever forgets a topic waits for the commit.
    if (!this.#topic.isKnown) return
    const outcomes = await Promise.allSettled(
      [...this.#groups].map(([groupId, group]) =>
        this.#forget(groupId, group, (each) => each.topic === topic),
      ),
    )
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') throw outcome.reason
    }
  }

  /**
   * Removes all that a group has committed, also by calls made before.
   *
   * @param ensureUnused throws what the call rejects with, when its turn has come.
   * @returns whether there was any.
   */
  async forgetGroup(groupId: string, ensureUnused: () => void): Promise<boolean> {
    const group = this.#groups.get(groupId)
    if (group === undefined) return false
    return this.#forget(groupId, group, () => true, ensureUnused)
  }

  /** @returns whether there was something to forget. */
  async #forget(
    groupId: string,
    { offsets, queue }: GroupOffsets,
    isForgotten: (each: TopicPartition) => boolean,
    before: () => void = () => undefined,
  ): Promise<boolean> {
    try {
      return await queue.run(async () => {
        before()
        const forgotten = [...offsets].filter(([, stored]) => isForgotten(stored.topicPartition))
        if (forgotten.length === 0) return false
        const places = forgotten.map(([, { topicPartition }]) => topicPartition)
        await this.#topic.appendTombstones(groupId, places)
        for (const [key] of forgotten) offsets.delete(key)
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
