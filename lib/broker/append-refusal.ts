import { OffsetConflictError, RecordTooLargeError } from '../errors.ts'
import { keylessRefusal } from '../storage/append-record.ts'
import type { Log } from '../storage/log.ts'
import type { PendingAppend } from './pending-append.ts'

/**
 * Why an append is refused now that its turn has come: while it waited, the log may have grown and
 * the topic may have been altered. `null` if it is accepted.
 */
export function refusalOf(
  append: PendingAppend,
  log: Pick<Log, 'topic' | 'config' | 'logEndOffset'>,
): Error | null {
  const { expectedOffset, sizeBytes } = append
  const { config, logEndOffset } = log
  if (expectedOffset !== undefined && expectedOffset !== logEndOffset) {
    return new OffsetConflictError(expectedOffset, logEndOffset)
  }
  if (config.maxBytes >= 0 && sizeBytes > config.maxBytes) {
    return new RecordTooLargeError(sizeBytes, config.maxBytes, 'maxBytes')
  }
  return append.hasKeyless ? keylessRefusal(config, log.topic) : null
}
