import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import { LogSegment } from '../../lib/storage/log-segment.ts'
import { NONE_FITS } from '../../lib/storage/prompt-read.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { batchOf, DIR, pathOf } from './log-fixtures.ts'

const ALL = { maxBytes: 1024 * 1024, endOffset: Number.MAX_SAFE_INTEGER }

let fs: SimulatedFileSystem

beforeEach(() => {
  fs = new SimulatedFileSystem()
})

/** One batch of two records for each size, of about that many bytes. */
async function segmentOf(sizes: readonly number[]): Promise<LogSegment> {
  fs = new SimulatedFileSystem()
  await fs.createDirectory(DIR)
  const segment = await LogSegment.create(0, {
    fileSystem: fs,
    dir: DIR,
    indexIntervalBytes: 4096,
    segmentIndexBytes: 1024 * 1024,
    readOnly: false,
  })
  await segment.append(
    sizes.map((size, slot) => {
      return batchOf({ baseOffset: 2 * slot, values: ['x'.repeat(size), `${slot}`] })
    }),
  )
  return segment
}

function bytesOf(batches: readonly { readonly buffer: Buffer }[]): string[] {
  return batches.map(({ buffer }) => buffer.toString('latin1'))
}

describe('LogSegment.readNow', () => {
  it('returns the batches that read returns, or the first of them, at any offset and within any limits', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: 20_000 }), { minLength: 1, maxLength: 12 }),
        fc.array(
          fc.record({
            at: fc.nat(),
            width: fc.integer({ min: 1, max: 9 }),
            maxBytes: fc.integer({ min: 1, max: 100_000 }),
          }),
          { minLength: 1, maxLength: 12 },
        ),
        async (sizes, reads) => {
          const segment = await segmentOf(sizes)
          for (const { at, width, maxBytes } of reads) {
            const offset = at % (2 * sizes.length)
            const limits = { maxBytes, endOffset: offset + width }
            const now = bytesOf(segment.readNow(offset, limits))
            const batches = await segment.read(offset, limits)
            expect(now).toEqual(bytesOf(batches).slice(0, now.length))
            if (maxBytes >= 90_000) expect(now.length).toBeGreaterThan(0)
          }
        },
      ),
    )
  })

  it('returns NONE_FITS if the batch does not fit, but not if the file is parked', async () => {
    const segment = await segmentOf([9000, 9000, 9000])
    for (const offset of [0, 4]) {
      const limits = { ...ALL, maxBytes: 5000 }
      expect(segment.readNow(offset, limits)).toHaveLength(1)
      expect(segment.readNow(offset, { ...limits, mustFit: true })).toBe(NONE_FITS)
      expect(segment.readNow(offset, { ...limits, maxBytes: 10_000, mustFit: true })).toHaveLength(
        1,
      )
    }
    await segment.flush()
    await segment.file.park()
    expect(segment.readNow(0, { ...ALL, maxBytes: 1, mustFit: true })).not.toBe(NONE_FITS)
  })

  it('returns the intact batches before damage, and nothing at the damage', async () => {
    const segment = await segmentOf([100, 100, 9000, 9000, 9000, 9000])
    const path = pathOf(0)
    const position = (await segment.restBelow(8)).sizeBytes
    const bytes = fs.readFile(path)
    bytes[position + 5000] = 0
    fs.writeFile(path, bytes)
    expect(segment.readNow(8, ALL)).toEqual([])
    expect(segment.readNow(6, ALL).map(({ baseOffset }) => baseOffset)).toEqual([6])
    // The first length of the segment is impossible.
    bytes.writeInt32BE(-1, 8)
    fs.writeFile(path, bytes)
    expect(segment.readNow(0, ALL)).toEqual([])
  })

  it('returns nothing if base offsets, which no checksum covers, do not follow one another', async () => {
    const segment = await segmentOf([100, 100, 100])
    const bytes = fs.readFile(pathOf(0))
    bytes.writeBigInt64BE(7n, 0)
    fs.writeFile(pathOf(0), bytes)
    expect(segment.readNow(0, ALL)).toEqual([])
  })

  it('returns nothing while the file is parked, or after the segment is closed', async () => {
    const segment = await segmentOf([100])
    await segment.flush()
    await segment.file.park()
    expect(segment.readNow(0, ALL)).toEqual([])
    await segment.read(0, ALL)
    expect(segment.readNow(0, ALL)).toHaveLength(1)
    await segment.close()
    expect(segment.readNow(0, ALL)).toEqual([])
  })
})
