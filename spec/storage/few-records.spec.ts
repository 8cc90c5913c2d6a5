import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import { decodeUncompressed, type StoredRecord } from '../../lib/record/decode.ts'
import { BatchCache } from '../../lib/storage/batch-cache.ts'
import type { FewRecords } from '../../lib/storage/few-records.ts'
import { LogSegment } from '../../lib/storage/log-segment.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { batchOf, DIR, pathOf } from './log-fixtures.ts'

const PLACE = { topic: 'orders', partition: 0 }
const MIB = 1024 * 1024
const RECORDS = 100
/** A line of the simulated disk's log for a read, with its size. */
const READ_LINE = / read .*\+(\d+)/

let fs: SimulatedFileSystem

beforeEach(() => {
  fs = new SimulatedFileSystem()
})

/** One batch of a hundred records for each size, each record of about that many bytes. */
async function segmentOf(
  sizes: readonly number[],
  readCacheBytes: number | null = MIB,
): Promise<LogSegment> {
  fs = new SimulatedFileSystem()
  await fs.createDirectory(DIR)
  const segment = await LogSegment.create(0, {
    fileSystem: fs,
    dir: DIR,
    indexIntervalBytes: 4096,
    segmentIndexBytes: MIB,
    readOnly: false,
    ...(readCacheBytes === null ? {} : { batchCache: new BatchCache(readCacheBytes) }),
  })
  await segment.append(
    sizes.map((size, slot) => {
      const values = Array.from({ length: RECORDS }, (_, each) => `${each}`.padEnd(size, 'x'))
      return batchOf({ baseOffset: RECORDS * slot, values })
    }),
  )
  return segment
}

async function expectedAt(
  segment: LogSegment,
  offset: number,
  count: number,
): Promise<StoredRecord[]> {
  const batches = await segment.read(offset, { maxBytes: MIB, endOffset: offset + count })
  return batches
    .flatMap((batch) => decodeUncompressed(batch, PLACE))
    .filter((record) => record.offset >= offset && record.offset < offset + count)
}

function few(
  segment: LogSegment,
  offset: number,
  maxRecords: number,
  maxBytes = MIB,
): StoredRecord[] | null {
  return fewOf(segment, offset, maxRecords, maxBytes)?.records ?? null
}

function fewOf(
  segment: LogSegment,
  offset: number,
  maxRecords: number,
  maxBytes = MIB,
): FewRecords | null {
  return segment.readFewNow(offset, { maxRecords, maxBytes, endOffset: segment.nextOffset }, PLACE)
}

/** How many bytes the task reads. */
function bytesReadBy(task: () => void): number {
  const count = fs.operations.length
  task()
  const reads = fs.operations.slice(count).map((line) => READ_LINE.exec(line)?.[1])
  return reads.reduce((sum, size) => sum + Number(size ?? 0), 0)
}

describe('a synchronous read of a few records', () => {
  it('returns what an asynchronous read returns, at any offset, repeatedly, with or without a cache', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 250 }), { minLength: 1, maxLength: 6 }),
        fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 150 })), { maxLength: 30 }),
        fc.constantFrom(null, 0, 4096, MIB),
        async (sizes, reads, readCacheBytes) => {
          const segment = await segmentOf(sizes, readCacheBytes)
          for (const [at, count] of reads) {
            const offset = at % (RECORDS * sizes.length)
            const expected = await expectedAt(segment, offset, count)
            expect(few(segment, offset, count)).toEqual(expected)
          }
        },
      ),
      { numRuns: 20 },
    )
  })

  it('reads a batch as a whole the first time, and then at most 4 KiB of it', async () => {
    const segment = await segmentOf([150, 150, 150, 150])
    expect(bytesReadBy(() => few(segment, 220, 11))).toBeGreaterThan(15_000)
    for (const offset of [200, 230, 260, 289]) {
      const sizeBytes = bytesReadBy(() => {
        expect(few(segment, offset, 11)?.map((record) => record.offset)).toContain(offset + 10)
      })
      expect(sizeBytes).toBeGreaterThan(0)
      expect(sizeBytes).toBeLessThanOrEqual(4096)
    }
  })

  it('continues from a cached batch to one that is not cached', async () => {
    const segment = await segmentOf([150, 150, 150, 150])
    few(segment, 220, 1)
    expect(few(segment, 295, 11)).toEqual(await expectedAt(segment, 295, 11))
    expect(few(segment, 295, 11)).toEqual(await expectedAt(segment, 295, 11))
  })

  it('stops at the byte limit, but reads from a cached first batch of any size', async () => {
    const segment = await segmentOf([150, 150, 150, 150])
    expect(few(segment, 295, 11, 1)).toBeNull()
    // The second read of a batch takes another path.
    for (let round = 0; round < 2; round += 1) {
      expect(few(segment, 295, 11, 40_000)).toHaveLength(11)
      expect(few(segment, 295, 11, 17_000)).toEqual(await expectedAt(segment, 295, 5))
    }
    const found = fewOf(segment, 295, 11, 1)
    expect(found?.records).toEqual(await expectedAt(segment, 295, 5))
    expect(found).toMatchObject({ nextOffset: 300 })
    expect(found?.restBytes).toBeLessThanOrEqual(0)
  })

  it('returns the records before a damaged batch, which it leaves to an asynchronous read', async () => {
    const segment = await segmentOf([150, 150, 150])
    const { sizeBytes: position } = await segment.restBelow(200)
    fs.flipBit(pathOf(0), position + 100, 0)
    for (let round = 0; round < 2; round += 1) {
      const found = fewOf(segment, 195, 11)
      expect(found?.records).toEqual(await expectedAt(segment, 195, 5))
      expect(found?.nextOffset).toBe(200)
      expect(found?.restBytes).toBeGreaterThan(0)
    }
  })

  it("returns copies: writing into one does not change another caller's", async () => {
    const segment = await segmentOf([150, 150, 150])
    for (let round = 0; round < 3; round += 1) {
      const [record] = few(segment, 220, 1) as [StoredRecord]
      expect(record.value?.toString()).toBe('20'.padEnd(150, 'x'))
      record.value?.fill(0)
    }
  })

  it('returns null if a cached batch has become damaged, which an asynchronous read reports', async () => {
    const segment = await segmentOf([150, 150, 150])
    expect(few(segment, 220, 11)).toHaveLength(11)
    const bytes = fs.readFile(pathOf(0))
    const { sizeBytes: position } = await segment.restBelow(200)
    bytes[position + 61 + 25 * 158] = 0
    fs.writeFile(pathOf(0), bytes)
    expect(few(segment, 220, 11)).toBeNull()
    await expect(segment.read(220, { maxBytes: 1, endOffset: 231 })).rejects.toThrow('CRC')
  })

  it('reads the whole batch if a read of a part of it returns too few bytes', async () => {
    const segment = await segmentOf([150, 150, 150])
    const expected = few(segment, 220, 11)
    fs.shortReadAt(1, 10)
    expect(few(segment, 220, 11)).toEqual(expected)
  })

  it('forgets cached batches when the segment is truncated', async () => {
    const segment = await segmentOf([150, 150, 150])
    expect(few(segment, 220, 11)).toHaveLength(11)
    await segment.truncateTo(200)
    expect(few(segment, 220, 11)).toBeNull()
    const values = Array.from({ length: RECORDS }, (_, each) => `${each}`.padEnd(150, 'y'))
    await segment.append([batchOf({ baseOffset: 200, values })])
    expect(few(segment, 220, 1)?.[0]?.value?.toString()).toBe('20'.padEnd(150, 'y'))
  })

  it('returns fewer records at the end of the log, and null once the segment is closed', async () => {
    const segment = await segmentOf([150, 150, 150])
    for (let round = 0; round < 2; round += 1) expect(few(segment, 295, 11)).toHaveLength(5)
    await segment.close()
    expect(few(segment, 295, 11)).toBeNull()
  })
})
