import {
  CommitFailedError,
  InvalidGroupIdError,
  UnknownTopicOrPartitionError,
  type Consumer,
  type OffsetCommit,
} from '../index.ts'
import type { PushPartitions } from './push-partitions.ts'
import type { PushPartition } from './push-queue.ts'

/** Fails if commits are impossible, before the target gets records that would only come again. */
export async function ensureCommits<K, V>(consumer: Consumer<K, V>): Promise<void> {
  try {
    await consumer.commit([])
  } catch (error) {
    if (error instanceof InvalidGroupIdError) {
      throw new InvalidGroupIdError('pushTo() needs a consumer with a groupId', { cause: error })
    }
    if (!hasMovedOn(consumer, error)) throw error
  }
}

/**
 * Whether a commit failed because the group has moved on: the next poll rejoins it, and then the
 * owners are known. A consumer with partitions of its own never joins, so its commits go on failing.
 */
function hasMovedOn<K, V>(consumer: Consumer<K, V>, error: unknown): boolean {
  return error instanceof CommitFailedError && consumer.controls.isSubscribed
}

/**
 * Commits what has been acknowledged since the last commit of a push, with the epoch of the written
 * records. Truncated records then no longer count, and the records in their place are not taken for
 * written.
 *
 * @param draining may be committed even if they are no longer assigned.
 * @returns the partitions whose topic was deleted meanwhile; nothing of the others is committed
 * then.
 */
export async function commitNew<K, V>(
  consumer: Consumer<K, V>,
  partitions: PushPartitions<K, V>,
  draining: ReadonlySet<PushPartition<K, V>>,
): Promise<readonly PushPartition<K, V>[]> {
  const uncommitted = partitions.takeUncommitted(draining)
  if (uncommitted.length === 0) return []
  let left: readonly PushPartition<K, V>[] = uncommitted
  try {
    const done = await commitDone(consumer, uncommitted)
    left = done.left
    return done.deleted
  } finally {
    partitions.putBack(left)
  }
}

/** @returns `left`: not committed yet, as the group has moved on or other topics were deleted. */
async function commitDone<K, V>(
  consumer: Consumer<K, V>,
  partitions: readonly PushPartition<K, V>[],
): Promise<{
  readonly deleted: readonly PushPartition<K, V>[]
  readonly left: readonly PushPartition<K, V>[]
}> {
  const { controls } = consumer
  const found: { each: PushPartition<K, V>; commit: OffsetCommit }[] = []
  for (const each of partitions) {
    const { topic, partition } = each
    const committed = await consumer.committed({ topic, partition })
    const { doneOffset, doneEpoch: leaderEpoch } = each
    const done = { topic, partition, offset: doneOffset, leaderEpoch }
    const offset = controls.offsetWithinEpoch(done)
    // Another owner may have continued since, and its commit must not be moved back.
    if (offset > (committed?.offset ?? -1)) found.push({ each, commit: { ...done, offset } })
  }
  // The partition may now be of another topic with this name, to which these offsets do not apply.
  const own = found.filter(({ each }) => !each.isOver && controls.topicIdOf(each) === each.topicId)
  if (own.length === 0) return { deleted: [], left: [] }
  const left = own.map(({ each }) => each)
  try {
    await consumer.commit(own.map(({ commit }) => commit))
    return { deleted: [], left: [] }
  } catch (error) {
    if (hasMovedOn(consumer, error)) return { deleted: [], left }
    if (!(error instanceof UnknownTopicOrPartitionError)) throw error
    // The topic was deleted. The next poll finds out, or a poll has removed it already while this
    // commit waited for its turn in the group.
    const deleted = left.filter(({ topic }) => topic === error.topic)
    if (deleted.length === 0) throw error
    return { deleted, left }
  }
}
