import { CorruptRecordError } from '../errors.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import { readRange, seek, WALK_BYTES, type ReadLimits, type SegmentView } from './segment-search.ts'
import type { TimestampOffset } from './time-index.ts'

/**
 * The first batch, at or behind `startOffset`, that holds a record at least as young as `timestamp`;
 * `null` when there is none.
 *
 * @throws {@link CorruptRecordError} when a batch on the way is damaged.
 */
export async function findBatchByTimestamp(
  view: SegmentView,
  timestamp: number,
  startOffset: number,
): Promise<RecordBatch | null> {
  const hint = view.indexes.timeIndex.lookup(timestamp)
  const isHelpful = hint.offset > startOffset && (await confirm(view, hint)) === true
  let offset = isHelpful ? hint.offset : startOffset
  for (;;) {
    const { batches } = await readRange(view, offset, wholeOf(view))
    const found = batches.find((batch) => batch.maxTimestamp >= timestamp)
    if (found !== undefined) return found
    const last = batches.at(-1)
    if (last === undefined) return null
    offset = last.nextOffset
  }
}

/** What is known of the largest timestamp of a segment. */
export interface LargestTimestamp {
  readonly max: TimestampOffset
  /** Whether no record of the segment is younger. */
  readonly isProven: boolean
}

/**
 * The largest timestamp of a segment, found by checking all batches from the one that `claim` names
 * to the end; from the start where the claim is not true.
 *
 * What damage hides may be younger than all that is found. A claim that covers the whole segment, as
 * the last entry of a time index mostly does, is believed there, unless the batch that it names can
 * be read and says something else.
 */
export async function findMaxTimestamp(
  view: SegmentView,
  claim: TimestampOffset,
): Promise<LargestTimestamp> {
  const isTrue = claim.timestamp >= 0 ? await confirm(view, claim) : false
  let max = isTrue === true ? claim : { timestamp: -1, offset: view.baseOffset }
  let offset = isTrue === true ? claim.offset : view.baseOffset
  try {
    for (;;) {
      const { batches } = await readRange(view, offset, wholeOf(view))
      for (const { maxTimestamp, lastOffset } of batches) {
        if (maxTimestamp > max.timestamp) max = { timestamp: maxTimestamp, offset: lastOffset }
      }
      const last = batches.at(-1)
      if (last === undefined) return { max, isProven: true }
      offset = last.nextOffset
    }
  } catch (error) {
    if (!(error instanceof CorruptRecordError)) throw error
    if (claim.timestamp < max.timestamp) return { max, isProven: false }
    return { max: claim, isProven: isTrue !== false && claim.offset === view.nextOffset - 1 }
  }
}

/** For who goes through a segment piece by piece. */
function wholeOf({ nextOffset }: SegmentView): ReadLimits {
  return { maxBytes: WALK_BYTES, endOffset: nextOffset }
}

/**
 * Whether the batch that holds the offset has the timestamp for its largest; `null` where damage
 * keeps that from being told.
 */
async function confirm(view: SegmentView, entry: TimestampOffset): Promise<boolean | null> {
  try {
    const { reader, isFound } = await seek(view, entry.offset)
    return isFound && (await reader.batch()).maxTimestamp === entry.timestamp
  } catch (error) {
    if (error instanceof CorruptRecordError) return null
    throw error
  }
}
