import { CorruptRecordError, UnknownTopicOrPartitionError } from '../errors.ts'
import type { Clock } from '../platform/clock.ts'
import { decodeRecords, type StoredRecord } from '../record/decode.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import type { AppendRecord } from '../storage/append-record.ts'
import { SerialQueue } from '../storage/serial-queue.ts'
import {
  checkOffsetCommit,
  type OffsetAndMetadata,
  type OffsetCommit,
} from './offset-and-metadata.ts'
import {
  decodeOffsetCommitKey,
  decodeOffsetCommitValue,
  encodeOffsetCommitKey,
  encodeOffsetCommitValue,
  partitionForGroup,
} from './offset-commit-codec.ts'
import {
  compareNames,
  compareTopicPartitions,
  topicPartitionKey,
  type TopicPartition,
} from './topic-partition.ts'

/** What is needed of a partition of the internal topic. */
export interface OffsetsPartition {
  readonly topic: string
  readonly index: number
  readonly logStartOffset: number
  readonly highWatermark: number
  append(records: readonly AppendRecord[], options: { readonly acks: 'all' }): Promise<unknown>
  readBatches(offset: number, maxBytes: number): Promise<readonly RecordBatch[]>
}

/** What is needed of a partition that groups consume. */
export interface ConsumedPartition {
  /** Resolves when everything that there is below `offset` is covered by a sync. */
  ensureDurable(offset: number): Promise<void>
}

/** What an {@link OffsetStore} works with. */
export interface OffsetStoreOptions {
  readonly clock: Clock
  /** Gives the internal topic, and creates it when there is none. */
  readonly openTopic: () => Promise<{ readonly partitions: readonly OffsetsPartition[] }>
  /** A partition that may have offsets; `null` when there is none of that name. */
  readonly dataPartition: (topicPartition: TopicPartition) => ConsumedPartition | null
}

/** An offset with the partition it belongs to. */
export interface CommittedOffset extends TopicPartition, OffsetAndMetadata {}

interface StoredOffset {
  readonly topicPartition: TopicPartition
  readonly committed: OffsetAndMetadata
}

/** By {@link topicPartitionKey}. */
type OffsetsByPartition = Map<string, StoredOffset>

interface GroupOffsets {
  readonly offsets: OffsetsByPartition
  readonly queue: SerialQueue
}

const REPLAY_BYTES = 1024 * 1024

/**
 * The offsets that groups have committed: in memory for reading, and in the internal topic, whose
 * last record of each key counts, for the next start.
 *
 * All calls may overlap, but {@link OffsetStore.load} has to settle before any other. Commits of one
 * group are stored in the order of the calls, those of different groups side by side. What is in
 * memory is durable: a commit shows once it is acknowledged.
 */
export class OffsetStore {
  readonly #options: OffsetStoreOptions
  #groups: Map<string, GroupOffsets> = new Map()
  /** Empty until the topic is known. Kept as it was then: a group must not change its partition. */
  #partitions: readonly OffsetsPartition[] = []
  #opening: Promise<readonly OffsetsPartition[]> | null = null
  /** Per partition of the topic, up to where it was taken over, exclusive. */
  #replayed: Map<number, number> = new Map()

  constructor(options: OffsetStoreOptions) {
    this.#options = options
  }

  /**
   * Takes over what the internal topic holds. When it rejects, nothing has been taken over.
   *
   * @param partitions all partitions of the topic, in order
   * @throws {@link CorruptRecordError} when a batch or a commit is damaged: where a group stands is
   * never made up
   */
  async load(partitions: readonly OffsetsPartition[]): Promise<void> {
    const groups = new Map<string, GroupOffsets>()
    const replayed = new Map<number, number>()
    for (const partition of partitions) {
      replayed.set(partition.index, await replay(partition, groups, partition.logStartOffset))
    }
    this.#groups = groups
    this.#replayed = replayed
    this.#partitions = [...partitions]
  }

  /**
   * Takes over what another process has committed since, in a directory that is open for reading
   * only.
   */
  async refresh(partitions: readonly OffsetsPartition[]): Promise<void> {
    for (const partition of partitions) {
      const from = Math.max(this.#replayed.get(partition.index) ?? 0, partition.logStartOffset)
      this.#replayed.set(partition.index, await replay(partition, this.#groups, from))
    }
  }

  /**
   * Stores offsets, all of them or none, once the records below them are durable: after a crash no
   * group is ahead of its data.
   *
   * @throws TypeError or RangeError when an offset, its metadata or its epoch is out of range
   * @throws {@link UnknownTopicOrPartitionError} when there is no such partition
   * @throws whatever the append fails with; the offsets of before then stay in force
   */
  async commit(groupId: string, offsets: readonly OffsetCommit[]): Promise<void> {
    const entries = offsets.map((commit) => this.#check(commit))
    if (entries.length === 0) return
    const group = groupOf(this.#groups, groupId)
    await group.queue.run(async () => {
      await Promise.all(entries.map(({ data, committed }) => data.ensureDurable(committed.offset)))
      const commitTimestamp = this.#options.clock.now()
      const records = entries.map(({ topicPartition, committed }) => ({
        key: encodeOffsetCommitKey({ groupId, ...topicPartition }),
        value: encodeOffsetCommitValue({ ...committed, commitTimestamp }),
      }))
      const partition = await this.#partitionOf(groupId)
      // From here on a deletion of the topic waits for this commit, and takes it along.
      for (const { topicPartition, data } of entries) this.#ensureStillThere(topicPartition, data)
      await partition.append(records, { acks: 'all' })
      for (const { topicPartition, committed } of entries) {
        group.offsets.set(topicPartitionKey(topicPartition), { topicPartition, committed })
      }
    })
  }

  /** The offset a group goes on from, `null` when it has none for this partition. */
  fetch(groupId: string, topicPartition: TopicPartition): OffsetAndMetadata | null {
    const offsets = this.#groups.get(groupId)?.offsets
    return offsets?.get(topicPartitionKey(topicPartition))?.committed ?? null
  }

  /** Ids of the groups that have an offset, sorted. */
  groups(): string[] {
    return [...this.#groups]
      .filter(([, { offsets }]) => offsets.size > 0)
      .map(([groupId]) => groupId)
      .sort(compareNames)
  }

  /** Names of the topics that some group has an offset for, sorted. */
  topics(): string[] {
    const names = new Set<string>()
    for (const { offsets } of this.#groups.values()) {
      for (const { topicPartition } of offsets.values()) names.add(topicPartition.topic)
    }
    return [...names].sort(compareNames)
  }

  /** All offsets of a group, sorted by partition; empty when it has none. */
  offsetsOf(groupId: string): CommittedOffset[] {
    const offsets = this.#groups.get(groupId)?.offsets.values() ?? []
    return [...offsets]
      .map(({ topicPartition, committed }) => ({ ...topicPartition, ...committed }))
      .sort(compareTopicPartitions)
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
    if (this.#partitions.length === 0) return
    const outcomes = await Promise.allSettled(
      [...this.#groups].map(([groupId, group]) =>
        group.queue.run(() => this.#forget(groupId, group, topic)),
      ),
    )
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') throw outcome.reason
    }
  }

  async #forget(groupId: string, { offsets }: GroupOffsets, topic: string): Promise<void> {
    const forgotten = [...offsets].filter(([, stored]) => stored.topicPartition.topic === topic)
    if (forgotten.length === 0) return
    const tombstones = forgotten.map(([, { topicPartition }]) => ({
      key: encodeOffsetCommitKey({ groupId, ...topicPartition }),
      value: null,
    }))
    const partition = await this.#partitionOf(groupId)
    await partition.append(tombstones, { acks: 'all' })
    for (const [key] of forgotten) offsets.delete(key)
  }

  #check(commit: OffsetCommit): StoredOffset & { readonly data: ConsumedPartition } {
    const topicPartition = { topic: commit.topic, partition: commit.partition }
    const committed = checkOffsetCommit(commit)
    const data = this.#options.dataPartition(topicPartition)
    if (data === null) throw unknownPartition(topicPartition)
    return { topicPartition, committed, data }
  }

  /** A topic that was deleted, also if there is another of its name by now, takes no offsets. */
  #ensureStillThere(topicPartition: TopicPartition, data: ConsumedPartition): void {
    if (this.#options.dataPartition(topicPartition) !== data) throw unknownPartition(topicPartition)
  }

  async #partitionOf(groupId: string): Promise<OffsetsPartition> {
    const partitions = this.#partitions.length > 0 ? this.#partitions : await this.#open()
    const partition = partitions[partitionForGroup(groupId, partitions.length)]
    if (partition === undefined) throw new RangeError('the topic of the offsets has no partitions')
    return partition
  }

  #open(): Promise<readonly OffsetsPartition[]> {
    this.#opening ??= this.#options
      .openTopic()
      .then(({ partitions }) => {
        this.#partitions = [...partitions]
        return this.#partitions
      })
      .finally(() => {
        // After a failure the next commit tries again.
        this.#opening = null
      })
    return this.#opening
  }
}

/** Takes over what a partition holds from an offset on. @returns up to where, exclusive. */
async function replay(
  partition: OffsetsPartition,
  groups: Map<string, GroupOffsets>,
  fromOffset: number,
): Promise<number> {
  const endOffset = partition.highWatermark
  let offset = fromOffset
  while (offset < endOffset) {
    const batches = await partition.readBatches(offset, REPLAY_BYTES)
    // Compaction may leave no batch for the last offsets.
    if (batches.length === 0) break
    for (const batch of batches) {
      const records = await recordsOf(batch, partition, offset)
      for (const record of records) replayRecord(record, groups)
      offset = batch.nextOffset
    }
  }
  // A damaged log says so only to those who ask for what the damage has hidden.
  await partition.readBatches(endOffset, REPLAY_BYTES)
  return Math.max(offset, endOffset)
}

async function recordsOf(
  batch: RecordBatch,
  { topic, index }: OffsetsPartition,
  fromOffset: number,
): Promise<readonly StoredRecord[]> {
  try {
    return await decodeRecords(batch, { topic, partition: index }, { fromOffset })
  } catch (error) {
    throw withPlace(error, { topic, partition: index }, batch.baseOffset, batch.lastOffset)
  }
}

function replayRecord(record: StoredRecord, groups: Map<string, GroupOffsets>): void {
  if (record.key === null) return
  try {
    const key = decodeOffsetCommitKey(record.key)
    if (key === null) return
    const { groupId, topic, partition } = key
    const topicPartition = { topic, partition }
    const { offsets } = groupOf(groups, groupId)
    if (record.value === null) {
      offsets.delete(topicPartitionKey(topicPartition))
      return
    }
    const value = decodeOffsetCommitValue(record.value)
    if (value === null) return
    const { offset, metadata, leaderEpoch } = value
    const committed = { offset, metadata, leaderEpoch }
    offsets.set(topicPartitionKey(topicPartition), { topicPartition, committed })
  } catch (error) {
    throw withPlace(error, record, record.offset, record.offset)
  }
}

/** Adds what the bytes of one record or batch do not know: which partition and which offsets they are. */
function withPlace(
  error: unknown,
  place: TopicPartition,
  firstOffset: number,
  lastOffset: number,
): unknown {
  if (!(error instanceof CorruptRecordError)) return error
  return new CorruptRecordError(
    `${error.reason} (committed offsets in ${topicPartitionKey(place)})`,
    { path: error.path, position: error.position, firstOffset, lastOffset },
    { cause: error },
  )
}

function unknownPartition(topicPartition: TopicPartition): UnknownTopicOrPartitionError {
  const { topic, partition } = topicPartition
  return new UnknownTopicOrPartitionError(
    topic,
    partition,
    `there is no partition ${topicPartitionKey(topicPartition)} to commit an offset for`,
  )
}

function groupOf(groups: Map<string, GroupOffsets>, groupId: string): GroupOffsets {
  let group = groups.get(groupId)
  if (group === undefined) {
    group = { offsets: new Map(), queue: new SerialQueue() }
    groups.set(groupId, group)
  }
  return group
}
