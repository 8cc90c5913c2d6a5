import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { JoinedRanges, subtractRanges } from '../../lib/offline/offset-ranges.ts'
import { upTo } from './loads.ts'

const range = fc
  .tuple(fc.nat({ max: 20 }), fc.nat({ max: 6 }))
  .map(([startOffset, count]) => ({ startOffset, endOffset: startOffset + count }))

describe('offset ranges', () => {
  it('leave exactly the uncovered offsets when subtracted, and hold a range only if nothing of it is left', () => {
    fc.assert(
      fc.property(fc.array(range, { maxLength: 8 }), range, (ranges, asked) => {
        const { startOffset, endOffset } = asked
        fc.pre(endOffset > startOffset)
        const isTaken = (offset: number): boolean =>
          ranges.some((each) => each.startOffset <= offset && offset < each.endOffset)
        const left = upTo(endOffset, startOffset).filter((offset) => !isTaken(offset))
        const rest = subtractRanges(asked, ranges)
        expect(rest.flatMap((each) => upTo(each.endOffset, each.startOffset))).toEqual(left)
        expect(new JoinedRanges(ranges).hold(asked)).toBe(left.length === 0)
      }),
      { seed: 1, numRuns: 2000 },
    )
  })

  it('end at the greatest endOffset, or at 0 if there are none', () => {
    expect(new JoinedRanges([]).endOffset).toBe(0)
    const ranges = [
      { startOffset: 5, endOffset: 9 },
      { startOffset: 0, endOffset: 20 },
    ]
    expect(new JoinedRanges(ranges).endOffset).toBe(20)
  })
})
