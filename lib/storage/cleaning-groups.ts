import type { LogSegment } from './log-segment.ts'
import { LARGEST_RELATIVE_OFFSET } from './segment-scan.ts'

/** What one segment may hold. */
interface GroupLimits {
  readonly segmentBytes: number
  readonly segmentIndexBytes: number
  readonly indexIntervalBytes: number
}

const INDEX_ENTRY_BYTES = 12
/** All of their files are held open while the new segment takes their place. */
const MAX_SOURCES = 64

/**
 * Divides segments into groups that become one segment each, however little of them compaction
 * removes: by size, by size of the indexes, by the distance of offsets, and by number. Where there are
 * more that would go into one, the next pass goes on.
 *
 * A group never ends in a segment without a batch: where it ends is told by its last batch.
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

/** At most: an entry stands for more bytes than the interval. */
function indexBytes(sizeBytes: number, { indexIntervalBytes }: GroupLimits): number {
  return (sizeBytes / (indexIntervalBytes + 1)) * INDEX_ENTRY_BYTES
}

function withoutEmptyEnd(group: readonly LogSegment[]): readonly LogSegment[] {
  return group.slice(0, group.findLastIndex(({ sizeBytes }) => sizeBytes > 0) + 1)
}
