import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, it } from 'vitest'
import { CorruptRecordError } from '../../lib/errors.ts'
import { RecordBatch } from '../../lib/record/record-batch.ts'
import { BatchCache, CachedBatches } from '../../lib/storage/batch-cache.ts'
import { batchOf } from './log-fixtures.ts'

const BUFFER_BYTES = 4096
const BATCH = batchOf({ values: Array.from({ length: 10 }, () => 'x'.repeat(500)) })
/** What one of them takes. */
const MARKS_BYTES = memoryBytes()

function memoryBytes(): number {
  const cache = new BatchCache(BUFFER_BYTES)
  new CachedBatches(cache).checkAt(0)(BATCH)
  return cache.sizeBytes
}

function kept(batches: CachedBatches, positions: readonly number[]): number[] {
  return positions.filter((position) => batches.get(position) !== null)
}

it('keeps the marks of a batch that it has checked', () => {
  const batches = new CachedBatches(new BatchCache(BUFFER_BYTES))
  expect(batches.get(0)).toBeNull()
  batches.checkAt(0)(BATCH)
  const marks = batches.get(0)
  expect(marks).toMatchObject({ crc: BATCH.crc, sizeBytes: BATCH.sizeBytes })
  batches.checkAt(0)(BATCH)
  expect(batches.get(0)).toBe(marks)
})

it('refuses a batch that is damaged, and keeps nothing of it', () => {
  const batches = new CachedBatches(new BatchCache(BUFFER_BYTES))
  for (let position = 17; position < BATCH.sizeBytes; position += 1) {
    const buffer = Buffer.from(BATCH.buffer)
    buffer[position] = (buffer[position] as number) ^ 0x10
    const check = (): void => {
      batches.checkAt(0)(new RecordBatch(buffer))
    }
    expect(check, `byte ${position}`).toThrow(CorruptRecordError)
    expect(batches.get(0)).toBeNull()
  }
})

it('keeps nothing of what is no larger than a few records are', () => {
  const batches = new CachedBatches(new BatchCache(BUFFER_BYTES))
  batches.checkAt(0)(batchOf({ values: ['x'] }))
  expect(batches.get(0)).toBeNull()
})

it('holds no more bytes than it may, and lets what is used stay', () => {
  const cache = new BatchCache(BUFFER_BYTES)
  const batches = new CachedBatches(cache)
  const positions = Array.from({ length: 3000 }, (_, slot) => slot * 100)
  for (const position of positions) {
    batches.checkAt(position)(BATCH)
    expect(batches.get(0)).not.toBeNull()
    expect(cache.sizeBytes).toBeLessThanOrEqual(BUFFER_BYTES)
  }
  expect(kept(batches, positions)).toHaveLength(Math.floor(BUFFER_BYTES / MARKS_BYTES))
})

it('is shared by several, each of which may let go of its own', () => {
  const cache = new BatchCache(BUFFER_BYTES)
  const [one, other] = [new CachedBatches(cache), new CachedBatches(cache)]
  one.checkAt(0)(BATCH)
  other.checkAt(0)(BATCH)
  one.clear()
  expect([one.get(0), other.get(0)?.crc]).toEqual([null, BATCH.crc])
  for (let slot = 1; slot <= 20; slot += 1) other.checkAt(slot * 100)(BATCH)
  expect(cache.sizeBytes).toBe(Math.floor(BUFFER_BYTES / MARKS_BYTES) * MARKS_BYTES)
  one.checkAt(0)(BATCH)
  expect(one.get(0)).not.toBeNull()
})

it('keeps nothing without room for a few', () => {
  for (const maxBytes of [0, BUFFER_BYTES - 1]) {
    const cache = new BatchCache(maxBytes)
    const batches = new CachedBatches(cache)
    batches.checkAt(0)(BATCH)
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

it('holds nothing in memory of what it has let go of', async () => {
  const batches = new CachedBatches(new BatchCache(BUFFER_BYTES))
  batches.checkAt(0)(BATCH)
  const marks = new WeakRef(batches.get(0) ?? {})
  for (let position = 1; position < 100; position += 1) batches.checkAt(position)(BATCH)
  expect(kept(batches, [0])).toEqual([])
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  // What a WeakRef was asked for stays until the end of the turn.
  await new Promise((resolve) => {
    setImmediate(resolve)
  })
  collect()
  expect(marks.deref()).toBeUndefined()
})
