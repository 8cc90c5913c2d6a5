import { expect, it } from 'vitest'
import { BatchCache, CachedBatches } from '../../lib/storage/batch-cache.ts'
import { batchOf } from './log-fixtures.ts'

const BATCH = batchOf({ values: ['x'] })
const BUFFER_BYTES = 4096

/** Asks for the batch at `position` as a read does, often enough for it to be kept. */
function readTwice(batches: CachedBatches, position: number): void {
  for (let round = 0; round < 2; round += 1) {
    if (batches.get(position) === null) batches.add(position, BATCH)
  }
}

function kept(batches: CachedBatches, positions: readonly number[]): number[] {
  return positions.filter((position) => batches.get(position) !== null)
}

it('keeps a batch that was asked for before, and no other', () => {
  const batches = new CachedBatches(new BatchCache(10 * BUFFER_BYTES))
  batches.add(0, BATCH)
  expect(batches.get(0)).toBeNull()
  batches.add(0, BATCH)
  batches.add(0, BATCH)
  expect(batches.get(0)?.buffer).toEqual(BATCH.buffer)
  expect(batches.get(0)?.buffer.buffer).not.toBe(BATCH.buffer.buffer)
})

it('holds no more bytes than it may, and lets what is used stay', () => {
  const cache = new BatchCache(10 * BUFFER_BYTES)
  const batches = new CachedBatches(cache)
  const positions = Array.from({ length: 3000 }, (_, slot) => slot * 100)
  for (const position of positions) {
    readTwice(batches, position)
    expect(batches.get(0)).not.toBeNull()
    expect(cache.sizeBytes).toBeLessThanOrEqual(10 * BUFFER_BYTES)
  }
  expect(kept(batches, positions)).toHaveLength(10)
})

it('is shared by several, each of which may let go of its own', () => {
  const cache = new BatchCache(10 * BUFFER_BYTES)
  const [one, other] = [new CachedBatches(cache), new CachedBatches(cache)]
  readTwice(one, 0)
  readTwice(other, 0)
  one.clear()
  expect([one.get(0), other.get(0)?.buffer]).toEqual([null, BATCH.buffer])
  for (let slot = 1; slot <= 20; slot += 1) readTwice(other, slot * 100)
  expect(cache.sizeBytes).toBe(10 * BUFFER_BYTES)
  readTwice(one, 0)
  expect(one.get(0)).not.toBeNull()
})

it('keeps nothing without room for a few', () => {
  for (const maxBytes of [0, 7 * BATCH.sizeBytes]) {
    const cache = new BatchCache(maxBytes)
    const batches = new CachedBatches(cache)
    readTwice(batches, 0)
    expect([batches.get(0), cache.sizeBytes]).toEqual([null, 0])
  }
})

it('lends a buffer again that nobody keeps, where it is large enough', () => {
  const cache = new BatchCache(0)
  const first = cache.borrow(5000)
  expect(first.length).toBe(2 * BUFFER_BYTES)
  const second = cache.borrow(5000)
  expect(second).not.toBe(first)
  cache.giveBack(first)
  expect(cache.borrow(9000)).not.toBe(first)
  expect(cache.borrow(6000)).toBe(first)
  for (let count = 0; count < 20; count += 1) cache.giveBack(Buffer.alloc(1))
  expect(cache.borrow(1).length).toBe(1)
})
