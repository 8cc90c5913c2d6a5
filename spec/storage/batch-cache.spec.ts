import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, it } from 'vitest'
import { CorruptRecordError } from '../../lib/errors.ts'
import { RecordBatch } from '../../lib/record/record-batch.ts'
import { BatchCache, CachedBatches } from '../../lib/storage/batch-cache.ts'
import { batchOf } from './log-fixtures.ts'

const BUFFER_BYTES = 4096
const BATCH = batchOf({ values: Array.from({ length: 10 }, () => 'x'.repeat(500)) })
/** The size of one batch's marks. */
const MARKS_BYTES = memoryBytes()

function memoryBytes(): number {
  const cache = new BatchCache(BUFFER_BYTES)
  new CachedBatches(cache).checkAt(0)(BATCH)
  return cache.sizeBytes
}

function kept(batches: CachedBatches, positions: readonly number[]): number[] {
  return positions.filter((position) => batches.get(position) !== null)
}

/** Reads a batch as a whole. A full cache only admits it when it is read a second time. */
function readWhole(batches: CachedBatches, position: number, times = 1): void {
  for (let time = 0; time < times; time += 1) batches.checkAt(position)(BATCH)
}

/** As many batches as there is space for, and one more. */
function fill(batches: CachedBatches): number[] {
  const count = Math.floor(BUFFER_BYTES / MARKS_BYTES) + 1
  const positions = Array.from({ length: count }, (_, slot) => slot * BATCH.sizeBytes)
  for (const position of positions) readWhole(batches, position)
  return positions
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

it('throws for a damaged batch, and caches nothing of it', () => {
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

it('caches nothing for a batch that is no larger than a few records', () => {
  const batches = new CachedBatches(new BatchCache(BUFFER_BYTES))
  batches.checkAt(0)(batchOf({ values: ['x'] }))
  expect(batches.get(0)).toBeNull()
})

it('stays within its byte limit, and keeps entries that are used', () => {
  const cache = new BatchCache(BUFFER_BYTES)
  const batches = new CachedBatches(cache)
  const positions = Array.from({ length: 3000 }, (_, slot) => slot * 100)
  for (const position of positions) {
    readWhole(batches, position, 2)
    expect(batches.get(0)).not.toBeNull()
    expect(cache.sizeBytes).toBeLessThanOrEqual(BUFFER_BYTES)
  }
  expect(kept(batches, positions)).toHaveLength(Math.floor(BUFFER_BYTES / MARKS_BYTES))
})

it('evicts nothing for a batch that is read only once when it is full', () => {
  const batches = new CachedBatches(new BatchCache(BUFFER_BYTES))
  const [first, ...others] = fill(batches)
  expect(kept(batches, [first as number, ...others])).toEqual(others)
  const further = Array.from({ length: 50 }, (_, slot) => (100 + slot) * BATCH.sizeBytes)
  for (const position of further) readWhole(batches, position)
  expect(kept(batches, further)).toEqual([])
  expect(kept(batches, others)).toEqual(others)
})

it('caches a batch that is read a second time when it is full', () => {
  const batches = new CachedBatches(new BatchCache(BUFFER_BYTES))
  const position = 100 * BATCH.sizeBytes
  const other = fill(batches).at(-1) as number
  for (const expected of [null, BATCH.crc]) {
    readWhole(batches, position)
    expect(batches.get(position)?.crc ?? null).toBe(expected)
  }
  expect(batches.get(other)).not.toBeNull()
})

it('checks a batch even if it caches nothing for it', () => {
  const batches = new CachedBatches(new BatchCache(BUFFER_BYTES))
  fill(batches)
  const buffer = Buffer.from(BATCH.buffer)
  buffer[100] = (buffer[100] as number) ^ 0x10
  expect(() => {
    batches.checkAt(100 * BATCH.sizeBytes)(new RecordBatch(buffer))
  }).toThrow(CorruptRecordError)
})

it('distinguishes batches of different segments at the same position', () => {
  const cache = new BatchCache(BUFFER_BYTES)
  const [one, other] = [new CachedBatches(cache), new CachedBatches(cache)]
  fill(one)
  const position = 100 * BATCH.sizeBytes
  readWhole(one, position)
  readWhole(other, position)
  expect([one.get(position), other.get(position)]).toEqual([null, null])
})

it('is shared by several segments, each of which can drop its own entries', () => {
  const cache = new BatchCache(BUFFER_BYTES)
  const [one, other] = [new CachedBatches(cache), new CachedBatches(cache)]
  one.checkAt(0)(BATCH)
  other.checkAt(0)(BATCH)
  one.clear()
  expect([one.get(0), other.get(0)?.crc]).toEqual([null, BATCH.crc])
  for (let slot = 1; slot <= 20; slot += 1) readWhole(other, slot * 100, 2)
  expect(cache.sizeBytes).toBe(Math.floor(BUFFER_BYTES / MARKS_BYTES) * MARKS_BYTES)
  readWhole(one, 0, 2)
  expect(one.get(0)).not.toBeNull()
})

it('caches nothing if its limit leaves no room for more than a few entries', () => {
  for (const maxBytes of [0, BUFFER_BYTES - 1]) {
    const cache = new BatchCache(maxBytes)
    const batches = new CachedBatches(cache)
    batches.checkAt(0)(BATCH)
    expect([batches.get(0), cache.sizeBytes]).toEqual([null, 0])
  }
})

it('lends a returned buffer again if it is large enough', () => {
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

it('releases the memory of evicted entries', async () => {
  const batches = new CachedBatches(new BatchCache(BUFFER_BYTES))
  batches.checkAt(0)(BATCH)
  const marks = new WeakRef(batches.get(0) ?? {})
  for (let position = 1; position < 100; position += 1) readWhole(batches, position, 2)
  expect(kept(batches, [0])).toEqual([])
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  // A WeakRef keeps what it returned alive until the end of the turn.
  await new Promise((resolve) => {
    setImmediate(resolve)
  })
  collect()
  expect(marks.deref()).toBeUndefined()
})
