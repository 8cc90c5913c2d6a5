import { CorruptRecordError } from '../errors.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import type { LogSegments } from './log-segments.ts'

const PIECE_BYTES = 1024 * 1024

/**
 * Reads what is known of producers from the batches up to `endOffset`, in pieces of a MiB.
 *
 * It goes on behind damage, with the next segment: that shows when it is read, and must not keep a log
 * from being opened or written. What a producer has written there is not known then.
 */
export function replayReader(
  segments: LogSegments,
  endOffset: number,
): (offset: number) => Promise<readonly RecordBatch[]> {
  return async (offset) => {
    let from = offset
    for (;;) {
      try {
        return await segments.read(from, { maxBytes: PIECE_BYTES, endOffset })
      } catch (error) {
        if (!(error instanceof CorruptRecordError)) throw error
        const next = segments.all[segments.floorSlot(from) + 1]
        if (next === undefined) return []
        from = next.baseOffset
      }
    }
  }
}
