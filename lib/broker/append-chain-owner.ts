import type { VarveError } from '../errors.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import type { Log } from '../storage/log.ts'
import { whyNotWritable } from './lock-fence.ts'
import type { PartitionContext } from './partition-context.ts'
import { flushTimed } from './slow-sync.ts'
import type { TopicSpace } from './topic-space.ts'
import type { VisibleEnd } from './visible-end.ts'

/** What an append chain needs from its partition. */
export interface AppendChainOwner {
  readonly log: Log
  /**
   * Receives the new end of the visible records, and notice that a failed group may have changed
   * the log.
   */
  readonly end: Pick<VisibleEnd, 'publish' | 'notify'>
  /** Makes all written records durable; `null` when it is already done. */
  flush(): Promise<void> | null
  /**
   * Why nothing may be written or acknowledged now; `null` if it may. `isWritten`: bytes of it are
   * on disk.
   */
  whyFenced(isWritten: boolean): VarveError | null
  /** The space of a topic with a cap; `null` if no cap is enforced. */
  space(): TopicSpace | null
  /** Why no append may wait any more; `null` while the partition is open. */
  whyClosed(): VarveError | null
  /** Called when batches are in the log. */
  onWritten(batches: readonly RecordBatch[]): void
}

/** Combines what a partition provides to its append chain. */
export function chainOwner(
  log: Log,
  context: PartitionContext,
  partition: Pick<AppendChainOwner, 'end' | 'space' | 'whyClosed' | 'onWritten'>,
): AppendChainOwner {
  return {
    log,
    flush: () => flushTimed(context.clock, log),
    whyFenced: (isWritten) => whyNotWritable(context, isWritten),
    ...partition,
  }
}
