import type { Clock } from '../platform/clock.ts'
import type { BatchCache } from '../storage/batch-cache.ts'
import type { CompactionReport } from '../storage/log-cleaner.ts'
import type { FencedDirectory } from './lock-fence.ts'
import type { LockLoss } from './lock-loss.ts'
import type { Partition } from './partition.ts'
import type { RecentBatchesBudget } from './recent-batches.ts'
import type { TopicPartition } from './topic-partition.ts'

/** What a partition shares with the others of its broker. */
export interface PartitionContext extends FencedDirectory {
  readonly clock: Clock
  /** The loss of the lock, which readers at the end of the log receive. */
  readonly lockLoss: Pick<LockLoss, 'error'>
  readonly recentBatches: RecentBatchesBudget
  /** Compacts a partition once no other is being compacted. */
  readonly compact: (partition: Partition) => Promise<CompactionReport>
  /** Called before a log is truncated to `offset`. */
  readonly beforeTruncation: (
    topicPartition: TopicPartition,
    offset: number,
    leaderEpoch: number,
  ) => Promise<void>
  /**
   * Offset up to which all groups that have committed for the topic have consumed the partition; 0
   * if there is no such group, or it is not known. If the topic is full, imports hold nothing back.
   */
  readonly consumedBelow: (
    topicPartition: TopicPartition,
    options: { readonly isFull: boolean },
  ) => number
  /** Cache shared by small reads. */
  readonly batchCache: BatchCache
}
