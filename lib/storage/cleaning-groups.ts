import type { LogSegment } from './log-segment.ts'
import { LARGEST_RELATIVE_OFFSET } from './segment-scan.ts'

/** Limits of one segment. */
interface GroupLimits {
  readonly segmentBytes: number
  readonly segmentIndexBytes: number
  readonly indexIntervalBytes: number
}

const INDEX_ENTRY_BYTES = 12
/** Files of all source segments stay open until the new segment has replaced them. */
const MAX_SOURCES = 64

/**
 * Divides segments into groups, each of which becomes one segment even if compaction removes
 * nothing. Limits are the size, the size of the indexes, the range of offsets, and the number of
 * segments. Where more segments would fit into one, the next pass continues.
 *
 * A group never ends in a segment without batches, because its last batch determines where it ends.
 */
export function groupSegments(
  segments: readonly LogSegment[],
  limits: GroupLimits,
): readonly (readonly LogSegment[])[] {
  const groups: LogSegment[][] = []
  let group: LogSegment[] = []
  let sizeBytes = 0
  for (const segment of segments) {
    const first = group[0]
    const isTooMuch =
      first !== undefined &&
      (group.length === MAX_SOURCES ||
        sizeBytes + segment.sizeBytes > limits.segmentBytes ||
        indexBytes(sizeBytes + segment.sizeBytes, limits) > limits.segmentIndexBytes ||
        segment.nextOffset - 1 - first.baseOffset > LARGEST_RELATIVE_OFFSET)
    if (isTooMuch) {
      groups.push(group)
      group = []
      sizeBytes = 0
    }
    group.push(segment)
    sizeBytes += segment.sizeBytes
  }
  groups.push(group)
  return groups.map(withoutEmptyEnd).filter(({ length }) => length > 0)
}

/** An upper bound: each entry covers more bytes than the interval. */
function indexBytes(sizeBytes: number, { indexIntervalBytes }: GroupLimits): number {
  return (sizeBytes / (indexIntervalBytes + 1)) * INDEX_ENTRY_BYTES
}

function withoutEmptyEnd(group: readonly LogSegment[]): readonly LogSegment[] {
  return group.slice(0, group.findLastIndex(({ sizeBytes }) => sizeBytes > 0) + 1)
}
