import type { SegmentIndexes } from './segment-indexes.ts'
import type { RecoverChecks } from './segment-options.ts'
import type { ScanRange, ScanResult } from './segment-scan.ts'
import type { SegmentSum } from './segment-sum.ts'

/** What a recovery changes in a segment. */
interface RecoveredSegment {
  readonly baseOffset: number
  nextOffset: number
  readonly indexes: SegmentIndexes
  readonly sum: SegmentSum
}

/** Notes the valid batches from a position on, and lets the segment end after the last one. */
export type SegmentScan = (
  from: { position: number; lowestOffset: number },
  checks: RecoverChecks & Pick<ScanRange, 'gaps'>,
) => Promise<ScanResult>

/** See `LogSegment.recover`. The indexes are loaded, and their untrusted entries dropped. */
export async function recoverSegment(
  segment: RecoveredSegment,
  scan: SegmentScan,
  checks: RecoverChecks,
): Promise<ScanResult & { isTrue: boolean }> {
  const { isDense = false } = checks
  const { indexes, sum } = segment
  const { lastOffset, count } = indexes.offsetIndex
  segment.nextOffset = lastOffset
  const { state } = sum
  if (count > 0) {
    const start = indexes.rewind()
    let foundOffset = lastOffset
    const result = await scan(start, {
      gaps: isDense ? 'first' : 'any',
      ...checks,
      onBatch: (batch, position) => {
        if (isDense && position === start.position) foundOffset = batch.lastOffset
        checks.onBatch?.(batch, position)
      },
    })
    if (foundOffset === lastOffset && segment.nextOffset > lastOffset) {
      return { isTrue: true, ...result }
    }
    // The batch that the last entry names is not there, so none of the entries can be believed.
    indexes.clear()
    sum.restore(state)
  }
  segment.nextOffset = segment.baseOffset
  const gaps = isDense ? 'none' : 'any'
  const rescan = await scan(indexes.rewind(), { gaps, ...checks })
  return { isTrue: count === 0, ...rescan }
}
