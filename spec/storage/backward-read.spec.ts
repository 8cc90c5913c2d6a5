import { describe, expect, it } from 'vitest'
import { CorruptRecordError, OffsetOutOfRangeError } from '../../lib/errors.ts'
import type { Log } from '../../lib/storage/log.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { offsetsOf, openLog, pathOf, upTo, writtenLog } from './log-fixtures.ts'

const WIDE = { segmentBytes: 1_000_000, indexIntervalBytes: 100 }

/** The offsets of a log, last piece first, as a backward read returns them. */
async function pieces(log: Log, maxBytes: number, fromOffset = 0): Promise<number[][]> {
  const found: number[][] = []
  let end = log.logEndOffset
  while (end > Math.max(fromOffset, log.logStartOffset)) {
    const batches = await log.reader.readBatchesBefore(end, { fromOffset, maxBytes })
    if (batches.length === 0) break
    found.push(batches.map(({ baseOffset }) => baseOffset))
    end = batches[0]?.baseOffset ?? 0
  }
  return found
}

function inOrder(found: readonly number[][]): number[] {
  return found.toReversed().flat()
}

/** Flips a bit of the file's `slot`-th batch, `at` bytes into it. */
function damage(fs: SimulatedFileSystem, slot: number, at: number): void {
  const bytes = Buffer.from(fs.snapshot().get(pathOf(0)) ?? [])
  let start = 0
  for (let each = 0; each < slot; each += 1) start += bytes.readInt32BE(start + 8) + 12
  bytes[start + at] = (bytes[start + at] ?? 0) ^ 0x40
  fs.writeFile(pathOf(0), bytes)
}

describe('reading a log backwards', () => {
  it.each([1, 100, 300, 1_000, 1_000_000])(
    'returns every batch once, in pieces of about %i bytes',
    async (maxBytes) => {
      const log = await openLog(await writtenLog(90, { config: WIDE }), { config: WIDE })
      const found = await pieces(log, maxBytes)
      expect(inOrder(found)).toEqual(upTo(90))
      const batchBytes = log.size / 90
      for (const piece of found) expect(piece.length).toBeLessThanOrEqual(maxBytes / batchBytes + 1)
      await log.close()
    },
  )

  it('continues across segments, and ends at the log start offset or at fromOffset', async () => {
    const log = await openLog(await writtenLog(40))
    expect(log.segments.length).toBeGreaterThan(10)
    expect(inOrder(await pieces(log, 1_000_000))).toEqual(upTo(40))
    expect(inOrder(await pieces(log, 1, 33))).toEqual([33, 34, 35, 36, 37, 38, 39])
    await log.advanceLogStartOffset(25)
    expect(inOrder(await pieces(log, 100))[0]).toBe(25)
    await log.close()
  })

  it.each([1, 300, 1_000, 1_000_000])(
    'returns every batch of a compacted log once, in pieces of about %i bytes',
    async (maxBytes) => {
      for (const indexIntervalBytes of [0, 100, 500, 1_000_000]) {
        const config = { ...WIDE, indexIntervalBytes, cleanupPolicy: 'compact' } as const
        const log = await openLog(new SimulatedFileSystem({ seed: 1 }), { config })
        for (const each of upTo(90)) {
          const key = each % 30 < 10 || each % 2 === 0 ? `k${each}` : 'again'
          await log.append([{ key, value: `v${each}` }])
        }
        await log.roll()
        await log.cleaner.compact({ checkpoint: 0, dedupeBufferBytes: 65_536 })
        const offsets = await offsetsOf(log)
        expect(offsets).toHaveLength(61)
        expect(inOrder(await pieces(log, maxBytes))).toEqual(offsets)
        expect(inOrder(await pieces(log, maxBytes, 41))).toEqual(offsets.filter((at) => at > 40))
        await log.close()
      }
    },
  )

  it('keeps pieces within the byte limit even without index entries', async () => {
    const config = { ...WIDE, indexIntervalBytes: 1_000_000 }
    const log = await openLog(await writtenLog(90, { config }), { config })
    const found = await pieces(log, 400)
    expect(inOrder(found)).toEqual(upTo(90))
    for (const piece of found) expect(piece.length).toBeLessThanOrEqual(400 / (log.size / 90))
    await log.close()
  })

  it('rejects offsets outside the log', async () => {
    const log = await openLog(await writtenLog(10))
    await log.advanceLogStartOffset(4)
    const limits = { fromOffset: 0, maxBytes: 100 }
    for (const end of [0, 4, 11]) {
      const read = log.reader.readBatchesBefore(end, limits)
      await expect(read).rejects.toThrow(OffsetOutOfRangeError)
    }
    const [batch] = await log.reader.readBatchesBefore(5, limits)
    expect(batch?.baseOffset).toBe(4)
    await log.close()
  })
})

describe('reading a damaged log backwards', () => {
  it('returns the sound batches after a damaged record, then rejects with its path and offset', async () => {
    const fs = await writtenLog(60, { config: WIDE })
    damage(fs, 20, 66)
    const log = await openLog(fs, { config: WIDE })
    for (const maxBytes of [1, 250, 1_000_000]) {
      const limits = { fromOffset: 0, maxBytes }
      const seen: number[] = []
      let end = 60
      while (end > 21) {
        const batches = await log.reader.readBatchesBefore(end, limits)
        seen.unshift(...batches.map(({ baseOffset }) => baseOffset))
        end = batches[0]?.baseOffset ?? 0
      }
      expect(seen).toEqual(upTo(60).slice(21))
      const error: unknown = await log.reader.readBatchesBefore(21, limits).catch((e: unknown) => e)
      expect(error).toBeInstanceOf(CorruptRecordError)
      expect(error).toMatchObject({ path: pathOf(0), firstOffset: 20, lastOffset: 20 })
      const [below] = (await log.reader.readBatchesBefore(20, limits)).slice(-1)
      expect(below?.baseOffset).toBe(19)
    }
    await log.close()
  })

  it('reads past a damaged length if an index entry points to a batch after it', async () => {
    const fs = await writtenLog(60, { config: WIDE })
    damage(fs, 20, 8)
    const log = await openLog(fs, { config: WIDE })
    const seen: number[] = []
    let end = 60
    let refusal: unknown = null
    while (refusal === null) {
      try {
        const batches = await log.reader.readBatchesBefore(end, { fromOffset: 0, maxBytes: 1_000 })
        seen.unshift(...batches.map(({ baseOffset }) => baseOffset))
        end = batches[0]?.baseOffset ?? 0
      } catch (error) {
        refusal = error
      }
    }
    expect(refusal).toBeInstanceOf(CorruptRecordError)
    expect(seen).toEqual(upTo(60).slice(-seen.length))
    expect(seen[0]).toBeLessThan(26)
    await log.close()
  })

  it('rejects with the damage if no batch after it can be located', async () => {
    const config = { ...WIDE, indexIntervalBytes: 1_000_000 }
    const fs = await writtenLog(30, { config })
    const log = await openLog(fs, { config })
    await log.read(0)
    damage(fs, 20, 8)
    const limits = { fromOffset: 0, maxBytes: 1_000_000 }
    const read = log.reader.readBatchesBefore(30, limits)
    await expect(read).rejects.toThrow(CorruptRecordError)
    const below = await log.reader.readBatchesBefore(20, limits)
    expect(below.map(({ baseOffset }) => baseOffset)).toEqual(upTo(20))
    await log.close()
    const again = await openLog(fs, { config })
    expect(again.logEndOffset).toBe(20)
    await expect(again.reader.readBatchesBefore(30, limits)).rejects.toThrow(CorruptRecordError)
    await again.close()
  })

  it('returns every batch even if the offset index is wrong', async () => {
    const fs = await writtenLog(60, { config: WIDE })
    const bytes = Buffer.from(fs.snapshot().get(pathOf(0, 'index')) ?? [])
    for (let at = 0; at + 16 < bytes.length; at += 8)
      bytes.writeInt32BE(bytes.readInt32BE(at + 4) + 3, at + 4)
    fs.writeFile(pathOf(0, 'index'), bytes)
    const log = await openLog(fs, { config: WIDE })
    expect(inOrder(await pieces(log, 300))).toEqual(upTo(60))
    await log.close()
  })
})
