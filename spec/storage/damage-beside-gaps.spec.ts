import { describe, expect, it } from 'vitest'
import type { TopicConfig } from '../../lib/config.ts'
import { CorruptRecordError } from '../../lib/errors.ts'
import { BASE_OFFSET_POSITION, MAGIC_POSITION } from '../../lib/record/batch-layout.ts'
import { RECORD_BATCH_OVERHEAD } from '../../lib/record/record-batch.ts'
import type { Log } from '../../lib/storage/log.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { NOW, offsetsOf, openLog, pathOf, upTo } from './log-fixtures.ts'
import { batchBounds } from './rot.ts'

/** What compaction leaves of the offsets 0 to 99, one record per batch. */
const LEFT = [...upTo(50).map((each) => 2 * each), 99]
const IN_RECORDS = RECORD_BATCH_OVERHEAD + 5
const ALL = 1_000_000

function refusalOf(read: Promise<unknown>): Promise<unknown> {
  return read.then(
    () => null,
    (error: unknown) => error,
  )
}

async function basesOf(read: Promise<readonly { baseOffset: number }[]>): Promise<number[]> {
  return (await read).map(({ baseOffset }) => baseOffset)
}

describe.each([100, ALL])('a compacted segment with %i bytes between index entries', (interval) => {
  const config: TopicConfig = {
    segmentBytes: ALL,
    indexIntervalBytes: interval,
    cleanupPolicy: 'compact',
  }

  async function compacted(): Promise<SimulatedFileSystem> {
    const fs = new SimulatedFileSystem({ seed: 1 })
    const log = await openLog(fs, { config })
    for (let offset = 0; offset < 100; offset += 1) {
      const key = offset % 2 === 0 ? `${offset}` : 'again'
      await log.append([{ key, value: `v${offset}`, timestamp: NOW }])
    }
    await log.roll()
    await log.cleaner.compact({ checkpoint: 0, dedupeBufferBytes: 65_536 })
    await log.close()
    return fs
  }

  /** Opens the log after a change to the bytes of its batch at offset 40. */
  async function openRotten(rot: (batch: Buffer) => void): Promise<Log> {
    const fs = await compacted()
    const bytes = Buffer.from(fs.readFile(pathOf(0)))
    rot(bytes.subarray(batchBounds(bytes)[LEFT.indexOf(40)]))
    fs.writeFile(pathOf(0), bytes)
    const log = await openLog(fs, { config })
    expect(log.damage).toBeNull()
    return log
  }

  const flip =
    (at: number) =>
    (batch: Buffer): void => {
      batch.writeUInt8(batch.readUInt8(at) ^ 4, at)
    }

  it('has a gap before almost every record', async () => {
    const log = await openLog(await compacted(), { config })
    expect(log.segments.map(({ baseOffset }) => baseOffset)).toEqual([0, 100])
    expect(await offsetsOf(log)).toEqual(LEFT)
    await log.close()
  })

  it('is read up to a batch whose header is damaged, forwards and backwards', async () => {
    const log = await openRotten(flip(MAGIC_POSITION))
    for (const offset of [37, 38]) {
      expect((await log.read(offset)).map((record) => record.offset)).toEqual([38])
    }
    const refusal = await refusalOf(log.read(39))
    expect(refusal).toBeInstanceOf(CorruptRecordError)
    expect(refusal).toMatchObject({ firstOffset: 39, lastOffset: null })
    const limits = { fromOffset: 0, maxBytes: ALL }
    expect((await basesOf(log.reader.readBatchesBefore(39, limits))).at(-1)).toBe(38)
    await log.close()
  })

  it('is read on behind a damaged batch at the end of the gap after it, which the error names', async () => {
    const log = await openRotten(flip(IN_RECORDS))
    expect(await refusalOf(log.read(40))).toMatchObject({ firstOffset: 40, lastOffset: 40 })
    // The damaged batch may be the one that should hold this offset.
    expect(await refusalOf(log.read(41))).toMatchObject({ firstOffset: 40, lastOffset: 41 })
    expect((await log.read(42))[0]?.offset).toBe(42)
    await log.close()
  })

  it.each([1, 300, ALL])(
    'is read backwards, in pieces of about %i bytes, without a loss above or below a damaged batch',
    async (maxBytes) => {
      const log = await openRotten(flip(IN_RECORDS))
      const limits = { fromOffset: 0, maxBytes }
      const before = (end: number) => log.reader.readBatchesBefore(end, limits)
      const seen: number[] = []
      for (let end = 100; end > 42; end = seen[0] ?? 0) {
        const bases = await basesOf(before(end))
        expect(bases).not.toEqual([])
        seen.unshift(...bases)
      }
      expect(seen).toEqual(LEFT.filter((offset) => offset > 40))
      expect(await refusalOf(before(42))).toMatchObject({ firstOffset: 40 })
      expect((await basesOf(before(40))).at(-1)).toBe(38)
      await log.close()
    },
  )

  it('is read up to an offset in the gap before a damaged batch', async () => {
    const log = await openRotten(flip(IN_RECORDS))
    expect(await log.reader.readBatches(39, { maxBytes: ALL, endOffset: 40 })).toEqual([])
    await log.close()
  })

  it('refuses the offsets at which a batch with a wrong base offset may belong', async () => {
    const log = await openRotten((batch) => {
      batch.writeBigInt64BE(60n, BASE_OFFSET_POSITION)
    })
    for (const offset of [39, 40, 41]) {
      const read = log.reader.readBatches(offset, { maxBytes: ALL, endOffset: offset + 1 })
      expect(await refusalOf(read)).toMatchObject({ firstOffset: 39 })
    }
    await log.close()
  })
})
