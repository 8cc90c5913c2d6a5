import { ReadOnlyError } from '../errors.ts'
import type { Log } from '../storage/log.ts'
import type { AppendChainOwner } from './append-chain.ts'
import { whyFenced } from './lock-fence.ts'
import type { PartitionContext } from './partition-context.ts'
import { flushTimed } from './slow-sync.ts'

/** What a partition does for those who append to it, with what it wants to hear of them. */
export function chainOwner(
  log: Log,
  context: PartitionContext,
  listeners: Pick<AppendChainOwner, 'onWritten' | 'onVisible' | 'onFailed'>,
): AppendChainOwner {
  return {
    ...listeners,
    log,
    flush: () => flushTimed(context.clock, log),
    whyFenced: (isWritten) =>
      context.readOnly
        ? new ReadOnlyError('the broker is open for reading only')
        : whyFenced(context, isWritten ? 'unknown' : 'not-written'),
  }
}
