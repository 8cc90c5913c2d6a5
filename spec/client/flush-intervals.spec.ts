import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FlushIntervals, type Flushable } from '../../lib/client/flush-intervals.ts'

const newFlushable = (): Flushable => ({ interval: null })

/** Which of the flushes have ended, after settling everything in flight. */
async function endsOf(flushes: readonly Promise<void>[]): Promise<boolean[]> {
  const ends = flushes.map(() => false)
  flushes.forEach((flush, slot) => void flush.then(() => (ends[slot] = true)))
  await new Promise(setImmediate)
  return ends
}

describe('a flush', () => {
  it('resolves at once if nothing is pending, also after another flush', async () => {
    const intervals = new FlushIntervals()
    const each = newFlushable()
    intervals.take(each)
    const first = intervals.flush()
    intervals.settle(each)
    expect(await endsOf([first, intervals.flush()])).toEqual([true, true])
  })

  it('waits for the flush before it, even if nothing is pending since then', async () => {
    const intervals = new FlushIntervals()
    const [early, late] = [newFlushable(), newFlushable()]
    intervals.take(early)
    const flushes = [intervals.flush()]
    intervals.take(late)
    intervals.settle(late)
    flushes.push(intervals.flush())
    expect(await endsOf(flushes)).toEqual([false, false])
    intervals.settle(early)
    expect(await endsOf(flushes)).toEqual([true, true])
  })

  it('waits for the item that an earlier item was passed on to, and so does the next flush', async () => {
    const intervals = new FlushIntervals()
    const [each, holder] = [newFlushable(), newFlushable()]
    intervals.take(each)
    const flushes = [intervals.flush()]
    intervals.take(holder)
    flushes.push(intervals.flush())
    intervals.passOn(each, holder)
    intervals.settle(each)
    expect(await endsOf(flushes)).toEqual([false, false])
    intervals.settle(holder)
    expect(await endsOf(flushes)).toEqual([true, true])
  })

  it('resolves exactly when all items taken before it are settled', async () => {
    const step = fc.oneof(
      { arbitrary: fc.record({ kind: fc.constant('take' as const) }), weight: 4 },
      { arbitrary: fc.record({ kind: fc.constant('flush' as const) }), weight: 2 },
      { arbitrary: fc.record({ kind: fc.constant('settle' as const), at: fc.nat() }), weight: 3 },
      {
        arbitrary: fc.record({ kind: fc.constant('pass' as const), at: fc.nat(), to: fc.nat() }),
        weight: 2,
      },
    )
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const intervals = new FlushIntervals()
        const open: Flushable[] = []
        const flushes: { over: Promise<void>; left: Set<Flushable> }[] = []
        for (const each of steps) {
          if (each.kind === 'take') {
            open.push(newFlushable())
            intervals.take(open.at(-1) as Flushable)
          } else if (each.kind === 'flush') {
            flushes.push({ over: intervals.flush(), left: new Set(open) })
          } else if (open.length > 0) {
            const [gone] = open.splice(each.at % open.length, 1) as [Flushable]
            const holder = each.kind === 'pass' ? open[each.to % open.length] : undefined
            if (holder !== undefined) intervals.passOn(gone, holder)
            for (const { left } of flushes) {
              if (left.delete(gone) && holder !== undefined) left.add(holder)
            }
            intervals.settle(gone)
            intervals.settle(gone)
          }
          const expected = flushes.map(({ left }) => left.size === 0)
          expect(await endsOf(flushes.map(({ over }) => over))).toEqual(expected)
        }
      }),
      { seed: 1, numRuns: 300 },
    )
  })
})
