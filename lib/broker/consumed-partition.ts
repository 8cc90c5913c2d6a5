import { UnknownTopicOrPartitionError } from '../errors.ts'
import type { LogReader } from '../storage/log-reader.ts'
import type { StoredOffset } from './group-offsets.ts'
import type { OffsetAndMetadata } from './offset-and-metadata.ts'
import { topicPartitionKey, type TopicPartition } from './topic-partition.ts'

/** What is needed of a partition that groups consume. */
export interface ConsumedPartition {
  /**
   * Resolves when everything below `offset` is covered by a sync, but for what was cut off of `leaderEpoch`, that
   * of the record before it where it is known; rejects when that cannot be had. `null` where it is so.
   */
  ensureDurable(offset: number, leaderEpoch: number | null): Promise<void> | null
  readonly log: { readonly reader: Pick<LogReader, 'epochOf' | 'endOffsetForEpoch'> }
}

/** A commit whose fields are right, and which partition it is for. */
export interface CheckedCommit extends StoredOffset {
  readonly data: ConsumedPartition
}

/** A commit with the epoch of the record before its offset, where it does not say it itself. */
export function withEpoch({ topicPartition, committed, data }: CheckedCommit): StoredOffset {
  const { offset, metadata, leaderEpoch } = committed
  if (leaderEpoch !== null) return { topicPartition, committed }
  const epoch = data.log.reader.epochOf(offset - 1)
  return { topicPartition, committed: { offset, metadata, leaderEpoch: epoch } }
}

/**
 * What a commit says by now: it reaches no further than what its epoch has written. The records behind
 * that were cut off since, and the group has not seen what is or will be in their place (KIP-320).
 *
 * @param mayGoOn whether the log may go on behind its known end, as another process writes it.
 */
export function withinEpoch<T extends Pick<OffsetAndMetadata, 'offset' | 'leaderEpoch'>>(
  committed: T,
  data: Pick<ConsumedPartition, 'log'> | null,
  mayGoOn: boolean,
): T {
  if (data === null) return committed
  const { reader } = data.log
  const end = reader.endOffsetForEpoch(committed.leaderEpoch)
  if (end === null || committed.offset <= end) return committed
  if (mayGoOn && end === reader.endOffsetForEpoch(null)) return committed
  return { ...committed, offset: end, leaderEpoch: reader.epochOf(end - 1) }
}

/**
 * Resolves when the records below all of the offsets are durable. Those that were cut off are no reason to
 * refuse the other offsets: how far a commit behind them reaches is what {@link withinEpoch} says.
 *
 * @param isDropped whether one does not matter any more, by the time when it has failed; `null` where all do
 * @returns `null` where all of them are
 */
export function ensureDurable(
  commits: readonly CheckedCommit[],
  isDropped: ((commit: CheckedCommit) => boolean) | null,
): Promise<unknown> | null {
  const ensured: Promise<void>[] = []
  for (const commit of commits) {
    const { offset, leaderEpoch } = commit.committed
    const durable = commit.data.ensureDurable(offset, leaderEpoch)
    if (durable === null) continue
    if (isDropped === null) ensured.push(durable)
    else {
      const orDropped = durable.catch((error: unknown) => {
        if (!isDropped(commit)) throw error
      })
      ensured.push(orDropped)
    }
  }
  return ensured.length === 0 ? null : Promise.all(ensured)
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
