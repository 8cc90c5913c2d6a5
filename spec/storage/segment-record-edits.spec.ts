import { describe, expect, it } from 'vitest'
import type { Log } from '../../lib/storage/log.ts'
import { crc32c } from '../../lib/record/crc32c.ts'
import { SegmentRecordFile, type SegmentEntry } from '../../lib/storage/segment-record.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { DIR, NOW, openLog, valuesOf, valuesUpTo, writtenLog } from './log-fixtures.ts'

const COUNT = 7
const RECORD = `${DIR}/varve-segments`

async function basesOf(fs: SimulatedFileSystem): Promise<number[]> {
  const record = await new SegmentRecordFile(fs, DIR).read()
  return (record?.segments ?? []).map(({ baseOffset }) => baseOffset)
}

async function appendEach(log: Log, count: number): Promise<void> {
  for (let each = 0; each < count; each += 1) {
    await log.append([{ key: 'k', value: 'x', timestamp: NOW }])
  }
}

/** The total size of all writes of the record. */
function bytesWritten(fs: SimulatedFileSystem): number {
  return fs.operations
    .map((line) => / write \S*varve-segments\S* .*\+(\d+)/.exec(line)?.[1])
    .reduce((sum, bytes) => sum + Number(bytes ?? 0), 0)
}

describe('an edit of the record of segments', () => {
  it('keeps the cost of a roll independent of the number of segments', async () => {
    const fs = new SimulatedFileSystem({ seed: 1 })
    const log = await openLog(fs)
    const costs: number[] = []
    for (let each = 0; each < 8; each += 1) {
      const before = bytesWritten(fs)
      await appendEach(log, 100)
      costs.push(bytesWritten(fs) - before)
    }
    expect(log.segments.length).toBe(400)
    // If each roll rewrote the record, the cost at the end would be fifteen times that at the
    // beginning.
    const half = costs.slice(4).reduce((sum, cost) => sum + cost, 0)
    expect(half).toBeLessThan(2.5 * costs.slice(0, 4).reduce((sum, cost) => sum + cost, 0))
    expect(await basesOf(fs)).toEqual(log.segments.map(({ baseOffset }) => baseOffset))
  })

  it('is durable before an append to a new segment is acknowledged', async () => {
    const fs = await writtenLog(COUNT, { close: false })
    expect(fs.readFile(RECORD).toString()).toMatch(/\nedit /)
    const afterwards = fs.restart('power', { unsynced: 'lost', seed: 1 })
    expect(await basesOf(afterwards)).toEqual([0, 2, 4, 6])
  })

  it.each([
    ['is cut off', (bytes: Buffer) => bytes.subarray(0, -3)],
    ['is garbled', (bytes: Buffer) => Buffer.concat([bytes.subarray(0, -30), Buffer.alloc(30, 7)])],
    ['never came', (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(20)])],
  ])('is ignored if it %s, and the next write replaces the file', async (_, change) => {
    const written = await writtenLog(COUNT, { close: false })
    const fs = written.restart('process')
    fs.writeFile(RECORD, change(fs.readFile(RECORD)))
    const log = await openLog(fs)
    expect(log.recovery).toEqual({
      truncations: [],
      rebuiltIndexes: [],
      failedSyncOffset: null,
      damage: null,
    })
    expect(await valuesOf(log)).toEqual(valuesUpTo(COUNT))
    await log.append([{ value: 'x' }])
    expect(await basesOf(fs)).toEqual([0, 2, 4, 6])
    expect(fs.readFile(RECORD).toString()).not.toMatch(/\nedit /)
  })

  it('makes the whole record damaged if it is damaged and other edits follow it', async () => {
    const written = await writtenLog(COUNT, { close: false })
    const fs = written.restart('process')
    const text = fs.readFile(RECORD).toString()
    const [before = '', digits = ''] = /[^]*?\nedit \w+ \d+ \d+ -,sealed (\d+ )/.exec(text) ?? []
    // Turns a digit into another one.
    fs.flipBit(RECORD, before.length - digits.length, 0)
    await expect(new SegmentRecordFile(fs, DIR).read()).rejects.toThrow(/an edit is damaged/)
    const log = await openLog(fs)
    expect(log.recovery).toMatchObject({ damage: null, rebuiltIndexes: [RECORD] })
  })

  it('is ignored if a power loss has kept its end and not its beginning, and no checksum is lost', async () => {
    const config = { segmentBytes: 300 }
    const value = 'x'.repeat(60)
    for (const persona of ['ext4', 'zero-hole'] as const) {
      const written = new SimulatedFileSystem({ seed: 1, persona })
      const log = await openLog(written, { config })
      const moments: SimulatedFileSystem[] = []
      let from = 0
      written.observe(({ kind, path }) => {
        if (path !== RECORD) return
        if (kind === 'write') from = written.readFile(RECORD).length
        // Both parts of an edit that crosses a sector can be lost alone.
        const until = written.readFile(RECORD).length - 1
        const isCrossing = Math.floor(from / 512) < Math.floor(until / 512)
        if (kind === 'datasync' && isCrossing) moments.push(written.fork())
      })
      for (let each = 0; each < 30; each += 1) {
        await log.append([{ value }])
        if (each % 7 === 6) await log.checkpoint()
      }
      written.observe(null)
      let torn = 0
      for (const [slot, moment] of moments.entries()) {
        for (let seed = 1; seed <= 20; seed += 1) {
          const fs = moment.fork({ seed }).restart('power', { seed })
          const file = new SegmentRecordFile(fs, DIR)
          const { segments = [] } = (await file.read().catch(() => file.beforeLastEdit)) ?? {}
          if (file.beforeLastEdit !== null) torn += 1
          const again = await openLog(fs, { config })
          const where = `${persona}, edit ${slot}, seed ${seed}`
          expect(again.recovery, where).toMatchObject({ damage: null, rebuiltIndexes: [] })
          const now = (await file.read())?.segments ?? []
          expect(now.slice(0, segments.length - 1), where).toEqual(segments.slice(0, -1))
        }
      }
      expect(torn).toBeGreaterThan(0)
    }
  })

  it('restores no deleted record if it is the last edit and is damaged', async () => {
    const written = new SimulatedFileSystem({ seed: 1 })
    const log = await openLog(written)
    await appendEach(log, 3)
    await log.advanceLogStartOffset(1)
    const text = written.readFile(RECORD).toString()
    for (
      let position = text.lastIndexOf('\nedit ') + 1;
      position < text.length - 1;
      position += 1
    ) {
      const fs = written.restart('process')
      fs.flipBit(RECORD, position, 0)
      const opened = await openLog(fs)
      expect([position, opened.logStartOffset]).toEqual([position, 1])
      expect(opened.recovery).toMatchObject({ damage: null, rebuiltIndexes: [RECORD] })
    }
  })

  it('is gone after a clean close, and the next close writes nothing', async () => {
    const fs = await writtenLog(COUNT)
    expect(fs.readFile(RECORD).toString()).not.toMatch(/\nedit /)
    const before = bytesWritten(fs)
    await (await openLog(fs)).close()
    expect(bytesWritten(fs)).toBe(before)
  })

  it.each(['write', 'datasync'] as const)(
    'does not fail a flush if its %s fails, and the next flush writes the record again',
    async (kind) => {
      const fs = new SimulatedFileSystem({ seed: 1 })
      const log = await openLog(fs)
      await appendEach(log, 4)
      fs.failNext(kind, 'EIO', { path: RECORD })
      await appendEach(log, 1)
      expect(log.durableEndOffset).toBe(5)
      const found = fs.fork({ seed: 1 }).restart('power', { unsynced: 'lost', seed: 1 })
      expect(await basesOf(found)).toEqual([0, 2])
      await log.flush()
      await appendEach(log, 1)
      expect(await basesOf(fs)).toEqual([0, 2, 4])
    },
  )
})

describe('SegmentRecordFile.read', () => {
  it('returns with edits the segments and the log start offset that the log has, after any change', async () => {
    const config = { cleanupPolicy: 'compact,delete' } as const
    const fs = new SimulatedFileSystem({ seed: 1 })
    const log = await openLog(fs, { config: { segmentBytes: 200, ...config } })
    const expectTrue = async (): Promise<void> => {
      const record = await new SegmentRecordFile(fs, DIR).read()
      expect(record?.logStartOffset).toBe(log.logStartOffset)
      const bases = log.segments.map(({ baseOffset }) => baseOffset)
      // Segments that are entirely deleted need not be on record.
      const first = bases.findIndex((_, slot) => (bases[slot + 1] ?? Infinity) > log.logStartOffset)
      expect(record?.segments.map(({ baseOffset }) => baseOffset)).toEqual(bases.slice(first))
      expect(record?.segments.slice(0, -1).map(({ sizeBytes }) => sizeBytes)).toEqual(
        log.segments.slice(first, -1).map(({ sizeBytes }) => sizeBytes),
      )
    }
    await appendEach(log, 60)
    await expectTrue()
    await log.advanceLogStartOffset(9)
    await expectTrue()
    await appendEach(log, 5)
    await expectTrue()
    await log.cleaner.compact({ checkpoint: 0, dedupeBufferBytes: 4096 })
    await expectTrue()
    await log.append([{ key: 'other', value: 'x', timestamp: NOW }])
    await log.checkpoint()
    await log.advanceLogStartOffset(log.logEndOffset)
    await expectTrue()
    await log.truncateTo(log.logEndOffset)
    await appendEach(log, 5)
    await expectTrue()
    expect(fs.readFile(RECORD).toString()).toMatch(/\nedit /)
    expect(await log.verify()).toEqual([])
  })

  it('accepts version 1, which has no edits, and the log then writes version 2', async () => {
    const fs = await writtenLog(COUNT)
    const [, ...lines] = fs.readFile(RECORD).toString().split('\n')
    const body = lines.join('\n')
    const sum = crc32c(Buffer.from(body)).toString(16).padStart(8, '0')
    fs.writeFile(RECORD, Buffer.from(`varve-segments 1 ${sum}\n${body}`))
    const log = await openLog(fs)
    expect(log.recovery).toEqual({
      truncations: [],
      rebuiltIndexes: [],
      failedSyncOffset: null,
      damage: null,
    })
    await appendEach(log, 3)
    await log.close()
    expect(fs.readFile(RECORD).toString()).toMatch(/^varve-segments 2 /)
    const entries: readonly SegmentEntry[] =
      (await new SegmentRecordFile(fs, DIR).read())?.segments ?? []
    expect(entries.map(({ baseOffset }) => baseOffset)).toEqual([0, 2, 4, 6, 8])
  })
})
