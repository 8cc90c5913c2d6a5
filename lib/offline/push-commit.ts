import {
  CommitFailedError,
  UnknownTopicOrPartitionError,
  type Consumer,
  type OffsetCommit,
} from '../index.ts'
import type { PushPartition } from './push-queue.ts'

/**
 * Commits what is new of what a push has had acknowledged, with the epoch of the records that were written: what
 * was cut off meanwhile counts no more, and what came in its place is not taken for written.
 *
 * @returns those whose topic was deleted meanwhile: nothing of the others is committed then.
 */
export async function commitDone<K, V>(
  consumer: Consumer<K, V>,
  partitions: readonly PushPartition<K, V>[],
): Promise<readonly PushPartition<K, V>[]> {
  const { controls } = consumer
  const found: { each: PushPartition<K, V>; commit: OffsetCommit }[] = []
  for (const each of partitions) {
    const { topic, partition } = each
    const committed = await consumer.committed({ topic, partition })
    const { doneOffset, doneEpoch: leaderEpoch } = each
    const done = { topic, partition, offset: doneOffset, leaderEpoch }
    const offset = controls.offsetWithinEpoch(done)
    // Another owner may have gone on since, and its commit must not be taken back.
    if (offset > (committed?.offset ?? -1)) found.push({ each, commit: { ...done, offset } })
  }
  // What has come meanwhile may be of another topic of the name, which these offsets say nothing about.
  const left = found.filter(({ each }) => !each.isOver && controls.topicIdOf(each) === each.topicId)
  if (left.length === 0) return []
  try {
    await consumer.commit(left.map(({ commit }) => commit))
    return []
  } catch (error) {
    // The group has moved on: the next poll takes part again, and then it is known who owns what.
    if (error instanceof CommitFailedError) return []
    if (!(error instanceof UnknownTopicOrPartitionError)) throw error
    // It was deleted. The next poll knows, or one has taken it away already while this waited for its
    // turn in the group.
    const deleted = left.filter(({ each }) => each.topic === error.topic).map(({ each }) => each)
    if (deleted.length === 0) throw error
    return deleted
  }
}
