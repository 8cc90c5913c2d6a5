import type { OffsetRange } from './load-task.ts'

/** What is left of `range` without `taken`, which may be in any order and overlap; in offset order. */
export function subtractRanges(range: OffsetRange, taken: readonly OffsetRange[]): OffsetRange[] {
  const rest: OffsetRange[] = []
  let at = range.startOffset
  for (const { startOffset, endOffset } of [...taken].sort(byStart)) {
    if (at >= range.endOffset) break
    const gapEnd = Math.min(startOffset, range.endOffset)
    if (gapEnd > at) rest.push({ startOffset: at, endOffset: gapEnd })
    at = Math.max(at, endOffset)
  }
  if (at < range.endOffset) rest.push({ startOffset: at, endOffset: range.endOffset })
  return rest
}

/** Whether there is an offset that both hold. */
export function overlaps(left: OffsetRange, right: OffsetRange): boolean {
  return left.startOffset < right.endOffset && right.startOffset < left.endOffset
}

/** Orders ranges by where they begin; an argument for `sort`. */
export function byStart(left: OffsetRange, right: OffsetRange): number {
  return left.startOffset - right.startOffset || left.endOffset - right.endOffset
}
