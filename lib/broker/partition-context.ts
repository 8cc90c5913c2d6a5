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
  /** What those that have read all there is are to hear of. */
  readonly lockLoss: Pick<LockLoss, 'error'>
  readonly recentBatches: RecentBatchesBudget
  /** Compacts a partition as soon as no other is being compacted. */
  readonly compact: (partition: Partition) => Promise<CompactionReport>
  /** A log is about to be cut at `offset`. Absent: nobody notes how far it was compacted. */
  readonly beforeTruncation?: (topicPartition: TopicPartition, offset: number) => Promise<void>
  /**
   * Every group that has committed offsets for the topic has committed past all that is below it; 0
   * where there is no such group, or where that is not known. Absent: there are no groups. Where the
   * topic is full, imports hold nothing back.
   */
  readonly consumedBelow?: (
    topicPartition: TopicPartition,
    options: { readonly isFull: boolean },
  ) => number
  /** What small reads share. */
  readonly batchCache: BatchCache
}
