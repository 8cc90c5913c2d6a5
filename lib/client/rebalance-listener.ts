import type { TopicPartition } from '../broker/topic-partition.ts'

/**
 * Callbacks for the partitions that a group assigns to a consumer and revokes from it.
 *
 * They are called inside `poll` (or an iteration), which waits for the promise that a callback
 * returns, and by `unsubscribe` and `close`. Callbacks may seek, commit and read positions, but
 * must not poll: that rejects with {@link IllegalStateError}. After an await during `unsubscribe`
 * such a poll may return no records instead. If a callback throws, the call that invoked it rejects
 * with that error, and the new assignment stays in force. Each callback receives its own copy of
 * the list.
 */
export interface RebalanceListener {
  /**
   * The partitions are about to be given up: the last chance to commit. With an eager strategy, all
   * partitions are revoked before every rebalance, even if there are none, except before a member's
   * first and the first after it has lost its partitions; otherwise only those that the consumer
   * loses.
   */
  readonly onPartitionsRevoked?:
    ((partitions: readonly TopicPartition[]) => void | Promise<void>) | undefined
  /**
   * The partitions that were added. Called once at the end of every rebalance, even if none were
   * added. By then every other member has given up the partitions it had among them.
   */
  readonly onPartitionsAssigned?:
    ((partitions: readonly TopicPartition[]) => void | Promise<void>) | undefined
  /**
   * The partitions are already lost, because `maxPollIntervalMs` was exceeded: other members may
   * have read on, and nothing can be committed. If this callback is missing, `onPartitionsRevoked`
   * is called.
   */
  readonly onPartitionsLost?:
    ((partitions: readonly TopicPartition[]) => void | Promise<void>) | undefined
}
