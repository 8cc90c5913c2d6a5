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
  ensureCompacted(partition)
  return compact(partition)
}

/** @throws {@link PolicyViolationError} when the policy does not include `compact` */
export function ensureCompacted({ topic, log }: Partition): void {
  if (log.config.cleanupPolicy !== 'delete') return
  throw new PolicyViolationError(
    `${topic} cannot be compacted: its cleanupPolicy does not include 'compact'`,
  )
}
