import { describe, expect, it } from 'vitest'
import { LogSegment } from '../../lib/storage/log-segment.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { batchOf, DIR, pathOf } from './log-fixtures.ts'

const VALUE = 'x'.repeat(5000)
const BATCH_BYTES = batchOf({ values: [VALUE, VALUE] }).sizeBytes

/** Batches of two large records from 0 on, each with an index entry except the first. */
async function segmentOf(count: number): Promise<{ fs: SimulatedFileSystem; segment: LogSegment }> {
  const fs = new SimulatedFileSystem()
  await fs.createDirectory(DIR)
  const segment = await LogSegment.create(0, {
    fileSystem: fs,
    dir: DIR,
    indexIntervalBytes: 32,
    segmentIndexBytes: 1024,
    readOnly: false,
  })
  const slots = Array.from({ length: count }, (_, slot) => slot)
  await segment.append(
    slots.map((slot) => batchOf({ baseOffset: 2 * slot, values: [VALUE, VALUE] })),
  )
  return { fs, segment }
}

const one = (offset: number): { maxBytes: number; endOffset: number } => ({
  maxBytes: 1024 * 1024,
  endOffset: offset + 1,
})

describe('a read of one record', () => {
  it('returns the batch of every record', async () => {
    const { segment } = await segmentOf(6)
    for (let offset = 0; offset < 12; offset += 1) {
      const batches = await segment.read(offset, one(offset))
      expect(batches.map(({ baseOffset }) => baseOffset)).toEqual([offset - (offset % 2)])
    }
  })

  it('reads only the batch between two index entries', async () => {
    const { fs, segment } = await segmentOf(6)
    const before = fs.operations.length
    await segment.read(7, one(7))
    const lines = fs.operations.slice(before)
    expect(lines).toHaveLength(1)
    expect(lines[0]).toContain(`@${3 * BATCH_BYTES} +${BATCH_BYTES}`)
  })

  it('scans the segment if the header of the batch contradicts the index entries', async () => {
    const { fs, segment } = await segmentOf(6)
    const bytes = fs.readFile(pathOf(0))
    // The batch now claims 16 and 17. No checksum covers these offsets.
    bytes.writeBigInt64BE(16n, 3 * BATCH_BYTES)
    fs.writeFile(pathOf(0), bytes)
    await expect(segment.read(6, one(6))).rejects.toThrow('offsets 16 to 17')
    expect((await segment.read(8, one(8)))[0]?.baseOffset).toBe(8)
  })
})
