import { CorruptRecordError } from '../errors.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import type { LogSegments } from './log-segments.ts'

const PIECE_BYTES = 1024 * 1024

/**
 * Reads the batches up to `endOffset` for the producer state, in chunks of 1 MiB.
 *
 * After damage it continues with the next segment. Damage is reported when it is read, and must not
 * prevent a log from being opened or written. What producers wrote there is then unknown.
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
