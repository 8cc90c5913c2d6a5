import { expect, it } from 'vitest'
import { RecentlyRead } from '../../lib/storage/recently-read.ts'

const BATCH_BYTES = 32_768
const BITS = 10

function positions(count: number, batchBytes = BATCH_BYTES): number[] {
  return Array.from({ length: count }, (_, slot) => slot * batchBytes)
}

it.each([1, 2, 7, 31])('remembers that a batch was read, in segment %i', (segment) => {
  const read = new RecentlyRead(BITS)
  for (const position of positions(2 ** 12)) {
    expect(read.note(segment, position)).toBe(false)
    expect(read.note(segment, position)).toBe(true)
  }
})

it('distinguishes batches at the same position in different segments', () => {
  const read = new RecentlyRead(BITS)
  for (let segment = 1; segment <= 500; segment += 1) {
    expect(read.note(segment, BATCH_BYTES)).toBe(false)
  }
})

it.each([4096, 10_000, 16_384, 32_768, 32_700])(
  'remembers more than three quarters of a few batches of %i bytes',
  (size) => {
    const read = new RecentlyRead(BITS)
    const few = positions(2 ** BITS / 8, size)
    for (const position of few) read.note(1, position)
    const found = few.filter((position) => read.note(1, position))
    expect(found.length).toBeGreaterThan(0.75 * few.length)
  },
)

it('forgets most batches that were read long ago', () => {
  const read = new RecentlyRead(BITS)
  const many = positions(2 ** BITS * 16)
  for (const position of many) read.note(1, position)
  const found = many.slice(0, 100).filter((position) => read.note(1, position))
  expect(found.length).toBeLessThan(10)
})
