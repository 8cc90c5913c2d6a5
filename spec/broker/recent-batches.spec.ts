import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  HELD_BATCH_BYTES,
  RecentBatches,
  RecentBatchesBudget,
} from '../../lib/broker/recent-batches.ts'
import { RecordBatchBuilder } from '../../lib/record/record-batch-builder.ts'
import { RecordBatch } from '../../lib/record/record-batch.ts'

function batch(baseOffset: number, count: number): RecordBatch {
  const builder = new RecordBatchBuilder({ baseOffset })
  for (let each = 0; each < count; each += 1) builder.append(0, null, Buffer.from('x'))
  return new RecordBatch(builder.buildUncompressed())
}

const EVERYTHING = { maxBytes: 1_000_000, endOffset: Number.MAX_SAFE_INTEGER }

describe('recent batches', () => {
  it('return the batch that holds an offset and those after it', () => {
    const recent = new RecentBatches(new RecentBatchesBudget(10_000))
    recent.add([batch(10, 3), batch(13, 2), batch(15, 1)])
    const offsets = (offset: number): number[] | undefined =>
      recent.read(offset, EVERYTHING)?.map((each) => each.baseOffset)
    expect(offsets(9)).toBeUndefined()
    expect(offsets(10)).toEqual([10, 13, 15])
    expect(offsets(12)).toEqual([10, 13, 15])
    expect(offsets(14)).toEqual([13, 15])
    expect(offsets(16)).toBeUndefined()
  })

  it('stop at the limits, but return one batch however large unless it must fit', () => {
    const recent = new RecentBatches(new RecentBatchesBudget(10_000))
    recent.add([batch(0, 1), batch(1, 1), batch(2, 1)])
    expect(recent.read(0, { maxBytes: 1, endOffset: 3 })).toHaveLength(1)
    expect(recent.read(0, { ...EVERYTHING, endOffset: 2 })).toHaveLength(2)
    expect(recent.read(0, { maxBytes: 1, endOffset: 3, mustFit: true })).toEqual([])
    expect(recent.read(0, { maxBytes: 150, endOffset: 3, mustFit: true })).toHaveLength(2)
  })

  it('return nothing for an offset whose batch was dropped or truncated', () => {
    const recent = new RecentBatches(new RecentBatchesBudget(2 * HELD_BATCH_BYTES + 150))
    recent.add([batch(0, 1), batch(1, 1), batch(2, 1), batch(3, 1)])
    expect(recent.read(0, EVERYTHING)).toBeNull()
    expect(recent.read(3, EVERYTHING)).toHaveLength(1)
    expect(recent.read(3, { ...EVERYTHING, endOffset: 3 })).toBeNull()
    recent.add([batch(2, 1)])
    expect(recent.read(2, EVERYTHING)).toHaveLength(1)
    expect(recent.read(3, EVERYTHING)).toBeNull()
  })

  it('share one budget, and the oldest batches of all partitions are dropped first', () => {
    const size = batch(0, 1).sizeBytes + HELD_BATCH_BYTES
    const budget = new RecentBatchesBudget(3 * size)
    const first = new RecentBatches(budget)
    const second = new RecentBatches(budget)
    first.add([batch(0, 1)])
    second.add([batch(0, 1), batch(1, 1), batch(2, 1)])
    expect(first.read(0, EVERYTHING)).toBeNull()
    expect(second.read(0, EVERYTHING)).toHaveLength(3)
  })

  it('hold exactly the last batches that fit into the budget, after any number of batches', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 3000 }), (counts) => {
        const recent = new RecentBatches(new RecentBatchesBudget(2000))
        const kept: RecordBatch[] = []
        let offset = 0
        for (const count of counts) {
          const each = batch(offset, count)
          recent.add([each])
          kept.push(each)
          offset += count
        }
        const held = (): number =>
          kept.reduce((sum, { sizeBytes }) => sum + sizeBytes + HELD_BATCH_BYTES, 0)
        while (held() > 2000) kept.shift()
        const first = kept[0]
        if (first === undefined) return
        expect(recent.read(first.baseOffset, EVERYTHING)).toEqual(kept)
        expect(recent.read(first.baseOffset - 1, EVERYTHING)).toBeNull()
      }),
      { numRuns: 20 },
    )
  })
})
