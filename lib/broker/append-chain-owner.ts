import type { VarveError } from '../errors.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import type { Log } from '../storage/log.ts'
import { whyNotWritable } from './lock-fence.ts'
import type { PartitionContext } from './partition-context.ts'
import { flushTimed } from './slow-sync.ts'
import type { TopicSpace } from './topic-space.ts'
import type { VisibleEnd } from './visible-end.ts'

/** What the chain tells its partition. */
export interface AppendChainOwner {
  readonly log: Log
  /** Is told what may be seen, and that the log may not be what it was because a group has failed. */
  readonly end: Pick<VisibleEnd, 'publish' | 'notify'>
  /** Makes everything written durable; `null` when it is done. */
  flush(): Promise<void> | null
  /** Why nothing may be written or acknowledged now; `null` when it may. `isWritten`: bytes of it are on disk. */
  whyFenced(isWritten: boolean): VarveError | null
  /** What has room to give where the topic has a cap; `null` where nothing keeps to one. */
  space(): TopicSpace | null
  /** Why nothing must wait any more; `null` while the partition is open. */
  whyClosed(): VarveError | null
  /** Batches are in the log. */
  onWritten(batches: readonly RecordBatch[]): void
}

/** What a partition does for those who append to it, with what it is asked and told. */
export function chainOwner(
  log: Log,
  context: PartitionContext,
  partition: Pick<AppendChainOwner, 'end' | 'space' | 'whyClosed' | 'onWritten'>,
): AppendChainOwner {
  return {
    ...partition,
    log,
    flush: () => flushTimed(context.clock, log),
    whyFenced: (isWritten) => whyNotWritable(context, isWritten),
  }
}
