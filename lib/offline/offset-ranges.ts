import type { OffsetRange } from './load-task.ts'

/** The parts of `range` outside `taken`, in offset order. `taken` may be unsorted and overlap. */
export function subtractRanges(range: OffsetRange, taken: readonly OffsetRange[]): OffsetRange[] {
  const rest: OffsetRange[] = []
  let at = range.startOffset
  // Hardly any of the ranges that loads have published are near.
  const near = taken.filter((each) => overlaps(each, range)).sort(byStart)
  for (const { startOffset, endOffset } of near) {
    if (at >= range.endOffset) break
    const gapEnd = Math.min(startOffset, range.endOffset)
    if (gapEnd > at) rest.push({ startOffset: at, endOffset: gapEnd })
    at = Math.max(at, endOffset)
  }
  if (at < range.endOffset) rest.push({ startOffset: at, endOffset: range.endOffset })
  return rest
}

/** Whether the ranges have an offset in common. */
export function overlaps(left: OffsetRange, right: OffsetRange): boolean {
  return left.startOffset < right.endOffset && right.startOffset < left.endOffset
}

/** Whether all offsets of `inner` are in `outer`. */
export function contains(outer: OffsetRange, inner: OffsetRange): boolean {
  return outer.startOffset <= inner.startOffset && inner.endOffset <= outer.endOffset
}

/** Orders ranges by their start; an argument for `sort`. */
export function byStart(left: OffsetRange, right: OffsetRange): number {
  return left.startOffset - right.startOffset || left.endOffset - right.endOffset
}

/** Ranges that are checked many times for containing another. */
export class JoinedRanges {
  /** End of the last range, exclusive. */
  readonly endOffset: number
  /** In offset order, with a gap between each and the next. */
  readonly #ranges: { readonly startOffset: number; endOffset: number }[] = []

  /** @param ranges in any order; they may overlap */
  constructor(ranges: readonly OffsetRange[]) {
    for (const { startOffset, endOffset } of [...ranges].sort(byStart)) {
      const last = this.#ranges.at(-1)
      if (last === undefined || startOffset > last.endOffset) {
        this.#ranges.push({ startOffset, endOffset })
      } else last.endOffset = Math.max(last.endOffset, endOffset)
    }
    this.endOffset = this.#ranges.at(-1)?.endOffset ?? 0
  }

  /** Whether the ranges contain all offsets of a range. */
  hold({ startOffset, endOffset }: OffsetRange): boolean {
    let [low, high] = [0, this.#ranges.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#ranges[middle]?.startOffset ?? 0) <= startOffset) low = middle + 1
      else high = middle
    }
    return (this.#ranges[low - 1]?.endOffset ?? -1) >= endOffset
  }
}
