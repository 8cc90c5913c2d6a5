import { RecordBatch } from '../record/record-batch.ts'

/** The largest possible offset: the log end offset after it has to be a safe integer too. */
export const LAST_OFFSET: number = Number.MAX_SAFE_INTEGER - 1

/** Maximum number of offsets in one batch. */
const MOST_OF_A_BATCH = 2 ** 31

/**
 * By how many offsets batches exceed those left in a log that ends at `endOffset`; 0 if they fit.
 * The batches are only read near the last offset, which hardly any log reaches.
 */
export function offsetsBeyondLast(endOffset: number, batches: readonly Buffer[]): number {
  const leftCount = LAST_OFFSET + 1 - endOffset
  if (leftCount >= batches.length * MOST_OF_A_BATCH) return 0
  let count = 0
  for (const buffer of batches) count += new RecordBatch(buffer).lastOffsetDelta + 1
  return count > leftCount ? count : 0
}
