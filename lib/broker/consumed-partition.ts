import { UnknownTopicOrPartitionError } from '../errors.ts'
import type { LogReader } from '../storage/log-reader.ts'
import type { OffsetsByPartition, StoredOffset } from './group-offsets.ts'
import type { OffsetAndMetadata } from './offset-and-metadata.ts'
import { topicPartitionKey, type TopicPartition } from './topic-partition.ts'

/** What is needed of a partition that groups consume. */
export interface ConsumedPartition {
  /**
   * Resolves when everything below `offset` is synced, except what was truncated of `leaderEpoch`,
   * the epoch of the record before `offset` if known; rejects if that cannot be achieved. `null` if
   * it already is.
   */
  ensureDurable(offset: number, leaderEpoch: number | null): Promise<void> | null
  /** See `TopicSpace.consumed`: after a commit there may be room. `null` without a topic. */
  readonly space: { consumed(partition: number, from: number, to: number): void } | null
  readonly log: { readonly reader: Pick<LogReader, 'epochOf' | 'endOffsetForEpoch'> }
}

/** A valid commit, together with its partition. */
export interface CheckedCommit extends StoredOffset {
  readonly data: ConsumedPartition
}

/** Fills in the epoch of the record before the offset, if the commit does not have one. */
export function withEpoch({ topicPartition, committed, data }: CheckedCommit): StoredOffset {
  const { offset, metadata, leaderEpoch } = committed
  if (leaderEpoch !== null) return { topicPartition, committed }
  const epoch = data.log.reader.epochOf(offset - 1)
  return { topicPartition, committed: { offset, metadata, leaderEpoch: epoch } }
}

/**
 * The part of a commit that is still valid: it reaches at most to the end of what its epoch has
 * written. Later records were truncated since, and the group has not seen the ones that replace
 * them (KIP-320).
 *
 * @param mayGoOn whether the log may continue after its known end, because another process writes
 * it.
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
 * Resolves when the records below all of the offsets are durable. Truncated records are no reason
 * to refuse the other offsets: {@link withinEpoch} decides how far a commit beyond them reaches.
 *
 * @param isDropped whether a commit that has failed no longer matters by then; `null` if all matter
 * @returns `null` if all records are durable already
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

/**
 * Moves the offsets of a group, and tells the topics that wait for room how far it has got.
 *
 * @param commits what `stored` was made of, in the same order
 */
export function moveOffsets(
  offsets: OffsetsByPartition,
  stored: readonly StoredOffset[],
  commits: readonly CheckedCommit[],
): void {
  let slot = 0
  for (const each of stored) {
    const { topicPartition, committed } = each
    const key = topicPartitionKey(topicPartition)
    const from = offsets.get(key)?.committed.offset ?? 0
    offsets.set(key, each)
    commits[slot++]?.data.space?.consumed(topicPartition.partition, from, committed.offset)
  }
}

/** The error for a commit to a partition that does not exist, or no longer exists. */
export function unknownPartition(topicPartition: TopicPartition): UnknownTopicOrPartitionError {
  const { topic, partition } = topicPartition
  return new UnknownTopicOrPartitionError(
    topic,
    partition,
    `cannot commit an offset for ${topicPartitionKey(topicPartition)}: there is no such partition`,
  )
}
