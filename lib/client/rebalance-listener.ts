import type { TopicPartition } from '../broker/topic-partition.ts'

/**
 * What an application wants to know about the partitions that its group gives and takes.
 *
 * Called inside `poll` (or an iteration), which waits for what a callback returns; `unsubscribe`
 * and `close` call it too. Callbacks may seek, commit and ask for positions, but not poll: that
 * rejects with {@link IllegalStateError}, or behind an await in `unsubscribe` it may find nothing. When one
 * throws, the call it was made from rejects with that error, and the new assignment stands. Each
 * callback has a list of its own.
 */
export interface RebalanceListener {
  /**
   * The partitions are about to be given up: the last chance to commit. With an eager strategy all
   * of them before every rebalance, even none; otherwise only those that really go.
   */
  readonly onPartitionsRevoked?: (partitions: readonly TopicPartition[]) => void | Promise<void>
  /**
   * The partitions that were added. Once at the end of every rebalance, even when there are none;
   * by then every other member has given up what it had of them.
   */
  readonly onPartitionsAssigned?: (partitions: readonly TopicPartition[]) => void | Promise<void>
  /**
   * The partitions are gone already, because `maxPollIntervalMs` was exceeded: others may have read
   * on, and nothing can be committed. `onPartitionsRevoked` is called when this is left out.
   */
  readonly onPartitionsLost?: (partitions: readonly TopicPartition[]) => void | Promise<void>
}
