import type { LogSegmentInfo } from '../index.ts'
import { checkOneOf, checkOptions, describeValue, isPlainObject, wholeNumber } from '../checks.ts'
import type { OffsetRange } from './load-task.ts'

/**
 * How the records of a partition are split into tasks.
 *
 * - `'partition'`: not at all.
 * - `'segment'`: at the segment boundaries of the log.
 * - `maxRecords`: at most this many offsets per task. The number of records is never higher, and
 *   lower after compaction.
 * - `maxBytes`: approximately at most this many bytes of the log per task. All records of a segment
 *   count as equally large, so a task may have more.
 *
 * More than 100,000 tasks per partition are refused with a RangeError.
 */
export type SplitBy =
  'partition' | 'segment' | { readonly maxRecords: number } | { readonly maxBytes: number }

/** More tasks than anybody needs, and few enough to be kept in memory. */
const MAX_TASKS = 100_000

type Segment = Pick<LogSegmentInfo, 'baseOffset' | 'nextOffset' | 'sizeBytes'>

/** @throws TypeError or RangeError if the value is not a way to split. */
export function checkSplitBy(name: string, value: unknown): void {
  if (!isPlainObject(value)) {
    if (typeof value === 'string') checkOneOf(name, value, ['partition', 'segment'])
    else throw notSplitBy(name, value)
    return
  }
  const checked = checkOptions(name, value as { maxRecords?: number; maxBytes?: number }, {
    maxRecords: wholeNumber(1),
    maxBytes: wholeNumber(1),
  })
  if ((checked.maxRecords === undefined) === (checked.maxBytes === undefined)) {
    throw notSplitBy(name, value)
  }
}

/**
 * Splits a non-empty range into non-empty ranges, in offset order.
 *
 * @param segments of the log, in offset order.
 * @throws RangeError if there would be more than 100,000 ranges.
 */
export function splitRange(
  range: OffsetRange,
  splitBy: SplitBy,
  segments: readonly Segment[],
): OffsetRange[] {
  const ranges: OffsetRange[] = []
  let at = range.startOffset
  for (const border of bordersOf(range, splitBy, segments)) {
    if (border <= at || border >= range.endOffset) continue
    ranges.push({ startOffset: at, endOffset: border })
    at = border
    if (ranges.length >= MAX_TASKS) {
      throw new RangeError(
        `splitBy ${JSON.stringify(splitBy)} would make more than ${MAX_TASKS} tasks of the ` +
          `offsets ${range.startOffset} to ${range.endOffset}: use a larger one`,
      )
    }
  }
  ranges.push({ startOffset: at, endOffset: range.endOffset })
  return ranges
}

function bordersOf(
  range: OffsetRange,
  splitBy: SplitBy,
  segments: readonly Segment[],
): Iterable<number> {
  if (splitBy === 'partition') return []
  if (splitBy === 'segment') return segments.map(({ baseOffset }) => baseOffset)
  // The option that does not count may be there, with the value undefined.
  const { maxRecords, maxBytes = Infinity } = splitBy as { maxRecords?: number; maxBytes?: number }
  if (maxRecords !== undefined) return bordersByCount(range, maxRecords)
  return bordersBySize(range, maxBytes, segments)
}

function* bordersByCount(range: OffsetRange, maxRecords: number): Generator<number> {
  for (let at = range.startOffset + maxRecords; at < range.endOffset; at += maxRecords) yield at
}

function* bordersBySize(
  { startOffset, endOffset }: OffsetRange,
  maxBytes: number,
  segments: readonly Segment[],
): Generator<number> {
  let roomBytes = maxBytes
  for (const { baseOffset, nextOffset, sizeBytes } of segments) {
    const end = Math.min(nextOffset, endOffset)
    let at = Math.max(baseOffset, startOffset)
    if (end <= at) continue
    const bytesPerOffset = sizeBytes / (nextOffset - baseOffset)
    while ((end - at) * bytesPerOffset > roomBytes) {
      const count = Math.floor(roomBytes / bytesPerOffset)
      // The rest of a task may be smaller than a record, but a new task takes at least one.
      at += roomBytes < maxBytes ? count : Math.max(1, count)
      yield at
      roomBytes = maxBytes
    }
    roomBytes -= (end - at) * bytesPerOffset
  }
}

function notSplitBy(name: string, value: unknown): TypeError {
  return new TypeError(
    `${name} must be 'partition', 'segment', { maxRecords } or { maxBytes }, got ${describeValue(value)}`,
  )
}
