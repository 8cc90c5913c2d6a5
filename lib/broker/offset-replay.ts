import { CorruptRecordError } from '../errors.ts'
import { PRODUCER_ID_POSITION } from '../record/batch-layout.ts'
import { readTransactionEnd } from '../record/control-record.ts'
import { decodeRecords, type StoredRecord } from '../record/decode.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import type { AppendRecord } from '../storage/append-record.ts'
import { dropIfEmpty, groupOf, type GroupOffsets } from './group-offsets.ts'
import type { OffsetAndMetadata } from './offset-and-metadata.ts'
import {
  decodeOffsetCommitKey,
  decodeOffsetCommitValue,
  partitionForGroup,
} from './offset-commit-codec.ts'
import { topicPartitionKey, type TopicPartition } from './topic-partition.ts'

/** What is needed of a partition of the internal topic. */
export interface OffsetsPartition {
  readonly topic: string
  readonly index: number
  readonly logStartOffset: number
  readonly highWatermark: number
  /** The generation of its reader rises when records are removed or replaced. */
  readonly log: { readonly reader: { readonly generation: number } }
  appendInternal(records: readonly AppendRecord[]): Promise<unknown>
  readBatches(offset: number, maxBytes: number): Promise<readonly RecordBatch[]>
}

const REPLAY_BYTES = 1024 * 1024

/**
 * Reads the committed offsets from one partition of the internal topic: first from its start, and
 * later what has been appended since.
 *
 * The commits of a Kafka transaction count once its commit marker is read (KIP-98). Until then, and
 * for good if it was aborted or never ended, the group's earlier commits hold. Of several commits
 * the one written last counts, whichever transaction ended last.
 */
export class OffsetReplay {
  /** End of what has been read, exclusive. */
  #nextOffset = 0
  /** The reader of the log and its generation when the last run began. */
  #read: {
    readonly reader: OffsetsPartition['log']['reader']
    readonly generation: number
  } | null = null
  /** Commits of open transactions, by producer. */
  readonly #pending: Map<bigint, PendingOffsets> = new Map()
  /**
   * Offset of the record that counts, by group and partition, while a transaction may still bring
   * an older one.
   */
  readonly #applied: Map<string, number> = new Map()
  readonly #partitionCount: number

  /**
   * @param partitionCount of the topic. Commits of a group that belongs in another partition are
   * never read.
   */
  constructor(partitionCount: number) {
    this.#partitionCount = partitionCount
  }

  /**
   * Whether something that was read may no longer be in the log, because its owner has truncated it
   * or replaced its files, or this is the log of another topic. Then only a replay from the start
   * tells what counts.
   */
  isOutdated({ log: { reader } }: OffsetsPartition): boolean {
    if (this.#read === null) return false
    return this.#read.reader !== reader || this.#read.generation !== reader.generation
  }

  /**
   * Reads on to the current end. If it rejects, the next call continues after the last whole batch.
   */
  async run(partition: OffsetsPartition, groups: Map<string, GroupOffsets>): Promise<void> {
    const { reader } = partition.log
    this.#read = { reader, generation: reader.generation }
    const endOffset = partition.highWatermark
    let offset = Math.max(this.#nextOffset, partition.logStartOffset)
    while (offset < endOffset) {
      const batches = await partition.readBatches(offset, REPLAY_BYTES)
      // Compaction may leave no batch for the last offsets.
      if (batches.length === 0) break
      for (const batch of batches) {
        if (batch.isControl) this.#endTransaction(batch, partition, groups)
        else await this.#take(batch, partition, groups, offset)
        offset = batch.nextOffset
        // The changes of a batch to open transactions must not be applied twice.
        this.#nextOffset = offset
      }
    }
    // A damaged log reports it only to readers of what the damage has hidden.
    await partition.readBatches(endOffset, REPLAY_BYTES)
    this.#nextOffset = Math.max(offset, endOffset)
  }

  async #take(
    batch: RecordBatch,
    partition: OffsetsPartition,
    groups: Map<string, GroupOffsets>,
    fromOffset: number,
  ): Promise<void> {
    const { isTransactional } = batch
    const producerId = producerIdOf(batch)
    const isOwn = (groupId: string): boolean =>
      partitionForGroup(groupId, this.#partitionCount) === partition.index
    for (const record of await recordsOf(batch, partition, fromOffset)) {
      const change = changeOf(record, isOwn)
      if (change === null) continue
      if (isTransactional) {
        const pending = this.#pending.get(producerId) ?? new Map<string, OffsetChange>()
        this.#pending.set(producerId, pending.set(keyOf(change), change))
        continue
      }
      this.#apply(change, groups)
    }
  }

  #endTransaction(
    batch: RecordBatch,
    { topic, index }: OffsetsPartition,
    groups: Map<string, GroupOffsets>,
  ): void {
    try {
      const end = readTransactionEnd(batch)
      if (end === null) return
      const producerId = producerIdOf(batch)
      const pending = this.#pending.get(producerId) ?? NOTHING
      this.#pending.delete(producerId)
      if (end.type === 'COMMIT') for (const change of pending.values()) this.#apply(change, groups)
      // Later commits are newer than all that count so far.
      if (this.#pending.size === 0) this.#applied.clear()
    } catch (error) {
      throw withPlace(error, { topic, partition: index }, batch.baseOffset, batch.lastOffset)
    }
  }

  /** The commits of a transaction that ends late may be older than those that count already. */
  #apply(change: OffsetChange, groups: Map<string, GroupOffsets>): void {
    const { groupId, topicPartition, committed, recordOffset } = change
    const place = keyOf(change)
    if (recordOffset < (this.#applied.get(place) ?? -1)) return
    if (this.#pending.size > 0) this.#applied.set(place, recordOffset)
    const { offsets } = groupOf(groups, groupId)
    const key = topicPartitionKey(topicPartition)
    if (committed !== null) {
      offsets.set(key, { topicPartition, committed })
      return
    }
    offsets.delete(key)
    dropIfEmpty(groups, groupId)
  }
}

/** The change that a record makes to the offsets of a group. */
interface OffsetChange {
  /** Offset of the record itself. */
  readonly recordOffset: number
  readonly groupId: string
  readonly topicPartition: TopicPartition
  /** `null` removes the offset. */
  readonly committed: OffsetAndMetadata | null
}

/** By group and partition. */
type PendingOffsets = Map<string, OffsetChange>
const NOTHING: PendingOffsets = new Map()

/** A bigint, so that ids beyond the range of safe integers also identify their transactions. */
function producerIdOf({ buffer }: RecordBatch): bigint {
  return buffer.readBigInt64BE(PRODUCER_ID_POSITION)
}

function keyOf({ groupId, topicPartition }: OffsetChange): string {
  // The key of a partition ends with a number, and contains no space.
  return `${topicPartitionKey(topicPartition)} ${groupId}`
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

/**
 * @returns `null` for a record that is no commit, or the commit of a group that belongs elsewhere
 */
function changeOf(record: StoredRecord, isOwn: (groupId: string) => boolean): OffsetChange | null {
  if (record.key === null) return null
  try {
    const key = decodeOffsetCommitKey(record.key)
    if (key === null || !isOwn(key.groupId)) return null
    const { groupId, topic, partition } = key
    const recordOffset = record.offset
    const topicPartition = { topic, partition }
    if (record.value === null) return { recordOffset, groupId, topicPartition, committed: null }
    const value = decodeOffsetCommitValue(record.value)
    if (value === null) return null
    const { offset, metadata, leaderEpoch } = value
    // Brokers store any offset, and clients have sent -1 for none.
    const committed = offset < 0 ? null : { offset, metadata, leaderEpoch }
    return { recordOffset, groupId, topicPartition, committed }
  } catch (error) {
    throw withPlace(error, record, record.offset, record.offset)
  }
}

/**
 * Adds the partition and the offsets, which the decoder of a single record or batch does not know.
 */
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
