import type { Clock } from '../platform/clock.ts'
import type { BatchCache } from '../storage/batch-cache.ts'
import type { CompactionReport } from '../storage/log-cleaner.ts'
import type { FencedDirectory } from './lock-fence.ts'
import type { Partition } from './partition.ts'
import type { RecentBatchesBudget } from './recent-batches.ts'

/** What a partition shares with the others of its broker. */
export interface PartitionContext extends FencedDirectory {
  readonly clock: Clock
  readonly recentBatches: RecentBatchesBudget
  /** Compacts a partition as soon as no other is being compacted. */
  readonly compact: (partition: Partition) => Promise<CompactionReport>
  /** What small reads share. */
  readonly batchCache: BatchCache
}
