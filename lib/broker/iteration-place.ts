import { OffsetOutOfRangeError } from '../errors.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import type { Partition } from './partition.ts'
import { outOfRange } from './record-deletion.ts'

/** The leader epoch of a batch; `null` if it has none. */
export function epochOf({ partitionLeaderEpoch: epoch }: RecordBatch): number | null {
  return epoch < 0 ? null : epoch
}

/**
 * @throws {@link OffsetOutOfRangeError} when `offset` is outside [`logStartOffset`,
 * `logEndOffset`].
 */
export function ensureInLog({ log }: Partition, offset: number): void {
  const { logStartOffset, logEndOffset } = log
  if (offset >= logStartOffset && offset <= logEndOffset) return
  throw outOfRange(log, offset, logEndOffset)
}

/**
 * Refuses to call `end` the end of the records if the log ends there because of damage, or its owner's
 * appends cannot be followed any more: nobody knows how many records are behind it.
 *
 * @returns `null` if it is the end; otherwise a promise that rejects with the reason why it cannot
 * be followed, as {@link refuseDamagedEnd} does, or with the {@link CorruptRecordError}.
 */
export function refuseUnknownEnd(partition: Partition, end: number): Promise<never> | null {
  const { followFailure } = partition
  if (followFailure !== null) return Promise.reject(followFailure)
  return refuseDamagedEnd(partition, end)
}

/**
 * {@link refuseUnknownEnd} for an end that was known when the iteration began. What looks like
 * damage to a reader is a topic that its owner is about to delete, if that is so.
 */
export function refuseDamagedEnd({ log }: Partition, end: number): Promise<never> | null {
  const { damage, logEndOffset, reader } = log
  if (damage === null || end < logEndOffset) return null
  return reader.whyGone().then((gone) => {
    throw gone ?? damage
  })
}

/**
 * Refuses to continue an iteration, in either direction, if the log was truncated below its
 * position: the records there may not belong with the ones it has already returned.
 *
 * @param epoch of the last returned batch; `null` if there was none or it has none, so nobody can
 * tell.
 * @throws {@link OffsetOutOfRangeError} in that case.
 */
export function ensureNotCut(partition: Partition, epoch: number | null, offset: number): void {
  if (epoch === null) return
  const end = partition.log.reader.endOffsetForEpoch(epoch)
  if (end !== null && end < offset) throw cutOff(partition, offset, end)
}

/** The error for an iteration at `offset` whose records from `end` on were truncated. */
export function cutOff(
  { topic, index: partition, logStartOffset, logEndOffset }: Partition,
  offset: number,
  end: number,
): OffsetOutOfRangeError {
  return new OffsetOutOfRangeError(
    { topic, partition, offset, logStartOffset, logEndOffset },
    `the records of ${topic}-${partition} before offset ${offset} were truncated ` +
      `from offset ${end} on; the log now holds ${logStartOffset} to ${logEndOffset} (exclusive)`,
  )
}
