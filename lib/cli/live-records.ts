import type { Partition } from '../broker/partition.ts'
import { OffsetOutOfRangeError } from '../errors.ts'
import type { StoredRecord } from '../record/decode.ts'

/** The records that {@link liveRecords} iterates over; see `Partition.records`. */
export interface LiveRange {
  readonly from: number
  readonly until?: number
  readonly signal: AbortSignal
}

/**
 * Iterates over the records of a partition that its owner may delete meanwhile. Deleted records are
 * reported to `onDeleted`, with their first and last offset, and skipped.
 */
export async function* liveRecords(
  partition: Partition,
  range: LiveRange,
  onDeleted: (first: number, last: number) => void,
): AsyncGenerator<StoredRecord, void, undefined> {
  const { until = Infinity, signal } = range
  let { from } = range
  while (from < until) {
    try {
      // Up to the end, which notices a truncation; an offset is waited for, even in vain.
      const end = range.until === undefined ? undefined : 'end'
      for await (const record of partition.records({ from, until: end, signal })) {
        if (record.offset >= until) return
        from = record.offset + 1
        yield record
      }
      return
    } catch (error) {
      const { logStartOffset } = partition
      const isGone = error instanceof OffsetOutOfRangeError && error.offset < logStartOffset
      if (!isGone || from >= logStartOffset) throw error
      onDeleted(from, Math.min(logStartOffset, until) - 1)
      from = logStartOffset
    }
  }
}
