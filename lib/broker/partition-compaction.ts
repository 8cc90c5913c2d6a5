import { PolicyViolationError, ReadOnlyError } from '../errors.ts'
import type { CompactionReport } from '../storage/log-cleaner.ts'
import type { PartitionContext } from './partition-context.ts'
import type { Partition } from './partition.ts'

/** See `Partition.compact`. */
export async function compactPartition(
  partition: Partition,
  { readOnly, compact }: Pick<PartitionContext, 'readOnly' | 'compact'>,
): Promise<CompactionReport> {
  if (readOnly) throw new ReadOnlyError('the broker is open for reading only')
  if (partition.log.config.cleanupPolicy === 'delete') {
    throw new PolicyViolationError(
      `${partition.topic} cannot be compacted: its cleanupPolicy has no 'compact'`,
    )
  }
  return compact(partition)
}
