import { OffsetOutOfRangeError } from '../errors.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import type { Partition } from './partition.ts'
import { outOfRange } from './record-deletion.ts'

/** The leader epoch of a batch, `null` where it has none. */
export function epochOf({ partitionLeaderEpoch: epoch }: RecordBatch): number | null {
  return epoch < 0 ? null : epoch
}

/** @throws {@link OffsetOutOfRangeError} when `offset` is outside of [`logStartOffset`, `logEndOffset`]. */
export function ensureInLog({ log }: Partition, offset: number): void {
  const { logStartOffset, logEndOffset } = log
  if (offset >= logStartOffset && offset <= logEndOffset) return
  throw outOfRange(log, offset, logEndOffset)
}

/**
 * Where the log was cut below the place at which an iteration goes on, in either direction, others may be
 * there by now than those that belong to what it has given.
 *
 * @param epoch of the batch that was given last; `null` where none was, or it has none: nobody can tell.
 * @throws {@link OffsetOutOfRangeError} then.
 */
export function ensureNotCut(partition: Partition, epoch: number | null, offset: number): void {
  if (epoch === null) return
  const end = partition.log.reader.endOffsetForEpoch(epoch)
  if (end !== null && end < offset) throw cutOff(partition, offset, end)
}

/** The error for records from `end` on that were cut off, and that were read up to `offset`. */
export function cutOff(
  { topic, index: partition, logStartOffset, logEndOffset }: Partition,
  offset: number,
  end: number,
): OffsetOutOfRangeError {
  return new OffsetOutOfRangeError(
    { topic, partition, offset, logStartOffset, logEndOffset },
    `the records of ${topic}-${partition} that offset ${offset} stands behind were cut off ` +
      `from ${end} on; the log holds ${logStartOffset} to ${logEndOffset} (exclusive) now`,
  )
}
