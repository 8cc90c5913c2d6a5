import type { Clock } from '../platform/clock.ts'
import type { BatchCache } from '../storage/batch-cache.ts'
import type { FencedDirectory } from './lock-fence.ts'
import type { RecentBatchesBudget } from './recent-batches.ts'

/** What a partition shares with the others of its broker. */
export interface PartitionContext extends FencedDirectory {
  readonly clock: Clock
  readonly recentBatches: RecentBatchesBudget
  /** What small reads share. */
  readonly batchCache: BatchCache
}
