import { UnknownTopicOrPartitionError } from '../errors.ts'
import type { LogReader } from '../storage/log-reader.ts'
import type { StoredOffset } from './group-offsets.ts'
import { topicPartitionKey, type TopicPartition } from './topic-partition.ts'

/** What is needed of a partition that groups consume. */
export interface ConsumedPartition {
  /** Resolves when everything below `offset` is covered by a sync; rejects when that cannot be had. */
  ensureDurable(offset: number): Promise<void>
  readonly log: { readonly reader: Pick<LogReader, 'epochOf' | 'endOffsetForEpoch'> }
}

/** A commit whose fields are right, and which partition it is for. */
export interface CheckedCommit extends StoredOffset {
  readonly data: ConsumedPartition
}

/** A commit with the epoch of the record before its offset, where it does not say it itself. */
export function withEpoch({ topicPartition, committed, data }: CheckedCommit): StoredOffset {
  const leaderEpoch = committed.leaderEpoch ?? data.log.reader.epochOf(committed.offset - 1)
  return { topicPartition, committed: { ...committed, leaderEpoch } }
}

/**
 * Resolves when the records below all of the offsets are durable.
 *
 * @param isDropped whether one does not matter any more, by the time when it has failed; `null` where all do
 */
export function ensureDurable(
  commits: readonly CheckedCommit[],
  isDropped: ((commit: CheckedCommit) => boolean) | null,
): Promise<unknown> {
  const ensured = commits.map((commit) => {
    const durable = commit.data.ensureDurable(commit.committed.offset)
    if (isDropped === null) return durable
    return durable.catch((error: unknown) => {
      if (!isDropped(commit)) throw error
    })
  })
  return Promise.all(ensured)
}

/** The error for a commit to a partition that is not there, or not any more. */
export function unknownPartition(topicPartition: TopicPartition): UnknownTopicOrPartitionError {
  const { topic, partition } = topicPartition
  return new UnknownTopicOrPartitionError(
    topic,
    partition,
    `there is no partition ${topicPartitionKey(topicPartition)} to commit an offset for`,
  )
}
