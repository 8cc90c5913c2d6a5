import { CorruptRecordError } from '../errors.ts'
import { decodeRecords, type StoredRecord } from '../record/decode.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import type { AppendRecord } from '../storage/append-record.ts'
import { SerialQueue } from '../storage/serial-queue.ts'
import type { OffsetAndMetadata } from './offset-and-metadata.ts'
import { decodeOffsetCommitKey, decodeOffsetCommitValue } from './offset-commit-codec.ts'
import { topicPartitionKey, type TopicPartition } from './topic-partition.ts'

/** What is needed of a partition of the internal topic. */
export interface OffsetsPartition {
  readonly topic: string
  readonly index: number
  readonly logStartOffset: number
  readonly highWatermark: number
  append(records: readonly AppendRecord[], options: { readonly acks: 'all' }): Promise<unknown>
  readBatches(offset: number, maxBytes: number): Promise<readonly RecordBatch[]>
}

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

const REPLAY_BYTES = 1024 * 1024

/** Takes over what a partition holds from an offset on. @returns up to where, exclusive. */
export async function replay(
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

/** A group's offsets; none so far where it has not been heard of. */
export function groupOf(groups: Map<string, GroupOffsets>, groupId: string): GroupOffsets {
  let group = groups.get(groupId)
  if (group === undefined) {
    group = { offsets: new Map(), queue: new SerialQueue() }
    groups.set(groupId, group)
  }
  return group
}
