import { CorruptRecordError } from '../errors.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import { readRange, seek, WALK_BYTES, type ReadLimits, type SegmentView } from './segment-search.ts'
import type { TimestampOffset } from './time-index.ts'

/**
 * The first batch, at or after `startOffset`, with a record whose timestamp is `timestamp` or
 * larger; `null` if there is none.
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
    const batches = await readRange(view, offset, wholeOf(view))
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
  /** Whether no record of the segment has a larger timestamp. */
  readonly isProven: boolean
}

/**
 * The largest timestamp of a segment, found by checking all batches from the one that `claim` names
 * to the end; from the start if the claim is wrong.
 *
 * Damage may hide a larger timestamp than all that are found. In that case a claim for the whole
 * segment, as the last entry of a time index mostly is, is believed, unless the batch that it names
 * can be read and contradicts it.
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
      const batches = await readRange(view, offset, wholeOf(view))
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

/** Limits of a read by which a caller walks through a segment. */
function wholeOf({ nextOffset }: SegmentView): ReadLimits {
  return { maxBytes: WALK_BYTES, endOffset: nextOffset }
}

/**
 * Whether the batch that holds the offset has the timestamp as its largest; `null` if damage
 * prevents an answer.
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
