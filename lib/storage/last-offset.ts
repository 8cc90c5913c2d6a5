import { RecordBatch } from '../record/record-batch.ts'

/** The largest offset that a record can have: the one behind it, where the log ends then, is to be exact too. */
export const LAST_OFFSET: number = Number.MAX_SAFE_INTEGER - 1

/** Offsets that one batch stands for at most. */
const MOST_OF_A_BATCH = 2 ** 31

/**
 * How many offsets batches want that a log which ends at `endOffset` has not left; 0 where it has. The
 * batches are looked at only near the last offset, where hardly any log ever comes.
 */
export function offsetsBeyondLast(endOffset: number, batches: readonly Buffer[]): number {
  const leftCount = LAST_OFFSET + 1 - endOffset
  if (leftCount >= batches.length * MOST_OF_A_BATCH) return 0
  let count = 0
  for (const buffer of batches) count += new RecordBatch(buffer).lastOffsetDelta + 1
  return count > leftCount ? count : 0
}
