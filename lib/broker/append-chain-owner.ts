import type { Log } from '../storage/log.ts'
import type { AppendChainOwner } from './append-chain.ts'
import { whyNotWritable } from './lock-fence.ts'
import type { PartitionContext } from './partition-context.ts'
import { flushTimed } from './slow-sync.ts'

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
