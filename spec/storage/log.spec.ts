import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { resolveTopicConfig } from '../../lib/config.ts'
import {
  ClosedError,
  CorruptRecordError,
  InvalidRecordError,
  OffsetOutOfRangeError,
  RecordTooLargeError,
} from '../../lib/errors.ts'
import type { Log } from '../../lib/storage/log.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { buildEndTransactionMarker } from '../record/end-transaction-marker.ts'
import {
  DIR,
  NOW,
  SMALL,
  bytesOf,
  offsetsOf,
  openLog,
  pathOf,
  readAll,
  upTo,
  valuesOf,
  valuesUpTo,
  writtenLog,
} from './log-fixtures.ts'

const SIZE = bytesOf({ values: ['v0'] }).length

async function emptyLog(
  options: Parameters<typeof openLog>[1] = {},
): Promise<{ fs: SimulatedFileSystem; log: Log }> {
  const fs = new SimulatedFileSystem()
  return { fs, log: await openLog(fs, options) }
}

async function logOf(count: number, options: Parameters<typeof openLog>[1] = {}): Promise<Log> {
  const { log } = await emptyLog(options)
  for (const value of valuesUpTo(count)) await log.append([{ key: 'k', value }])
  return log
}

describe('append', () => {
  it('assigns consecutive offsets, and reads return the records as they were', async () => {
    const { log } = await emptyLog()
    expect(await log.append([{ key: 'k', value: 'v', timestamp: 5 }])).toEqual({
      baseOffset: 0,
      lastOffset: 0,
      timestamp: 5,
    })
    const second = await log.append([
      { value: null, headers: { h: 'x', n: null } },
      { key: Buffer.alloc(0), value: new Uint8Array([0xff]), timestamp: 9 },
    ])
    expect(second).toEqual({ baseOffset: 1, lastOffset: 2, timestamp: NOW })
    const place = { topic: 'orders', partition: 0 }
    expect(await readAll(log)).toEqual([
      {
        ...place,
        offset: 0,
        timestamp: 5,
        key: Buffer.from('k'),
        value: Buffer.from('v'),
        headers: [],
      },
      {
        ...place,
        offset: 1,
        timestamp: NOW,
        key: null,
        value: null,
        headers: [
          { key: 'h', value: Buffer.from('x') },
          { key: 'n', value: null },
        ],
      },
      {
        ...place,
        offset: 2,
        timestamp: 9,
        key: Buffer.alloc(0),
        value: Buffer.from([0xff]),
        headers: [],
      },
    ])
  })

  it('is durable when it resolves, while batches without a sync do not count as durable', async () => {
    const { fs, log } = await emptyLog()
    await log.append([{ value: 'a' }])
    expect(log.durableEndOffset).toBe(1)
    await log.appendBatches([bytesOf()])
    expect([log.logEndOffset, log.durableEndOffset]).toEqual([2, 1])
    const after = await openLog(fs.restart('power', { unsynced: 'lost' }))
    expect(after.logEndOffset).toBe(1)
  })

  it('syncs once flushMessages records are not durable', async () => {
    const { log } = await emptyLog({ config: { ...SMALL, segmentBytes: 5000, flushMessages: 3 } })
    const ends: number[] = []
    for (const value of valuesUpTo(7)) {
      await log.append([{ value }])
      ends.push(log.durableEndOffset)
    }
    expect(ends).toEqual([0, 0, 3, 3, 3, 6, 6])
    await log.flush()
    expect(log.durableEndOffset).toBe(7)
  })

  it('keeps the order of the calls, however long each takes to encode', async () => {
    const { log } = await emptyLog({
      config: { ...SMALL, segmentBytes: 100_000, compressionType: 'gzip' },
    })
    const values = ['x'.repeat(60_000), 'b', 'c']
    const results = await Promise.all(values.map((value) => log.append([{ value }])))
    expect(results.map(({ baseOffset }) => baseOffset)).toEqual([0, 1, 2])
    expect(await valuesOf(log)).toEqual(values)
  })

  it('sets the group start bit in the first batch after what is durable', async () => {
    const { log } = await emptyLog({ config: { ...SMALL, segmentBytes: 3 * SIZE } })
    await log.appendBatches([bytesOf(), bytesOf(), bytesOf(), bytesOf(), bytesOf()])
    await log.appendBatches([bytesOf()])
    await log.flush()
    await log.appendBatches([bytesOf()])
    const marks: boolean[] = []
    for (let offset = 0; offset < 7; offset += 1) {
      const [batch] = await log.reader.readBatches(offset, { maxBytes: 1 })
      marks.push(batch?.isGroupStart ?? false)
    }
    // The fourth begins a segment, and the one before is already durable then.
    expect(marks).toEqual([true, false, false, true, false, false, true])
  })

  it('sets its own timestamps with messageTimestampType LogAppendTime', async () => {
    const { log } = await emptyLog({ config: { ...SMALL, messageTimestampType: 'LogAppendTime' } })
    expect(await log.append([{ value: 'a', timestamp: 5 }])).toMatchObject({ timestamp: NOW })
    expect((await log.read(0))[0]?.timestamp).toBe(NOW)
    expect(await log.offsetForTimestamp(6)).toEqual({ offset: 0, timestamp: NOW })
  })

  it('compresses with the compressionType of the topic', async () => {
    const { log } = await emptyLog({
      config: { ...SMALL, compressionType: 'gzip', segmentBytes: 5000 },
    })
    await log.append(['aaaa', 'bbbb', 'cccc'].map((value) => ({ value: value.repeat(100) })))
    expect((await log.reader.readBatches(0, { maxBytes: 1 }))[0]?.compressionType).toBe('gzip')
    expect((await log.read(1)).map(({ offset }) => offset)).toEqual([1, 2])
  })

  it('rejects records that are too large, no batches and invalid batches, and writes none of them', async () => {
    const config = { ...SMALL, maxMessageBytes: 120, segmentBytes: 110 }
    const { log } = await emptyLog({ config })
    const large = { value: 'x'.repeat(45) }
    await expect(log.append([{ value: 'a' }, large])).rejects.toThrow(RecordTooLargeError)
    await expect(log.append([{ value: 'x'.repeat(60) }])).rejects.toThrow(
      'maxMessageBytes allows 120',
    )
    await expect(log.append([{ value: 'x'.repeat(45) }])).rejects.toThrow('segmentBytes allows 110')
    await expect(log.appendBatches([])).rejects.toThrow('at least one batch')
    await expect(log.appendBatches([Buffer.alloc(70)])).rejects.toThrow(CorruptRecordError)
    expect(log.logEndOffset).toBe(0)
    expect((await log.append([{ value: 'a' }])).baseOffset).toBe(0)
  })

  it('rejects records without a key in a compacted topic', async () => {
    const { log } = await emptyLog({ config: { ...SMALL, cleanupPolicy: 'compact' } })
    await expect(log.append([{ key: 'k' }, { value: 'a' }])).rejects.toThrow(InvalidRecordError)
    await log.append([{ key: 'k', value: null }])
    expect(log.logEndOffset).toBe(1)
  })

  it('applies a changed topic config', async () => {
    const log = await logOf(1, { config: { segmentBytes: 5000 } })
    log.config = resolveTopicConfig({ segmentBytes: 100 })
    expect(log.config.segmentBytes).toBe(100)
    await log.append([{ value: 'b' }])
    expect(log.segments).toHaveLength(2)
  })
})

describe('segments', () => {
  it.each([100, 150, 200, 300, 3 * SIZE, 5000])(
    'of %i bytes never exceed that size, and all records can be read',
    async (segmentBytes) => {
      const log = await logOf(10, { config: { ...SMALL, segmentBytes } })
      const perSegment = Math.floor(segmentBytes / SIZE)
      expect(log.segments).toHaveLength(Math.ceil(10 / perSegment))
      expect(log.size).toBe(10 * SIZE)
      for (const { sizeBytes, baseOffset, nextOffset } of log.segments) {
        expect(sizeBytes).toBeLessThanOrEqual(segmentBytes)
        expect(sizeBytes).toBe((nextOffset - baseOffset) * SIZE)
      }
      expect(await valuesOf(log)).toEqual(valuesUpTo(10))
      for (const offset of [9, 3, 5, 0, 7]) {
        expect((await log.read(offset, 1))[0]).toMatchObject({ offset })
      }
    },
  )

  it('are rolled when a record is over segmentMs later than the first, by the record timestamps', async () => {
    const { log } = await emptyLog({ config: { segmentMs: 100 } })
    const counts: number[] = []
    for (const timestamp of [1000, 1100, 900, 1101, 1201, 1202, 5]) {
      await log.append([{ value: 'v', timestamp }])
      counts.push(log.segments.length)
    }
    expect(counts).toEqual([1, 1, 1, 2, 2, 3, 3])
    await log.close()
  })

  it('are rolled by time within one append too, and after a reopen', async () => {
    const fs = new SimulatedFileSystem()
    const config = { segmentMs: 100 }
    const log = await openLog(fs, { config })
    await log.appendBatches([bytesOf({ timestamp: 1000 }), bytesOf({ timestamp: 1101 })])
    expect(log.segments).toHaveLength(2)
    await log.close()
    const again = await openLog(fs, { config })
    await again.append([{ value: 'v', timestamp: 1202 }])
    expect(again.segments).toHaveLength(3)
  })

  it('are rolled by the clock if the records have no timestamps', async () => {
    const clock = new ManualClock(NOW)
    const { log } = await emptyLog({ config: { segmentMs: 100 }, clock })
    await log.appendBatches([bytesOf({ timestamp: -1 })])
    clock.setTime(NOW + 100)
    await log.appendBatches([bytesOf({ timestamp: -1 })])
    expect(log.segments).toHaveLength(1)
    clock.setTime(NOW + 101)
    await log.appendBatches([bytesOf({ timestamp: -1 })])
    expect(log.segments).toHaveLength(2)
    expect(await log.offsetForTimestamp(0)).toBeNull()
  })

  it('are rolled when an index is full', async () => {
    const config = { segmentIndexBytes: 36, indexIntervalBytes: 0 }
    const log = await logOf(20, { config })
    expect(log.segments.length).toBeGreaterThan(3)
    expect(await valuesOf(log)).toEqual(valuesUpTo(20))
  })

  it.each([
    { interval: 0, apart: 1 },
    { interval: 150, apart: 1 },
    { interval: 150, apart: 0 },
    { interval: 100_000, apart: 1 },
  ])(
    'are rolled at the same offsets whether an index fills up within one append or between appends: %j',
    async ({ interval, apart }) => {
      const config = { segmentIndexBytes: 36, indexIntervalBytes: interval }
      const logs = [await emptyLog({ config }), await emptyLog({ config })] as const
      const [{ log: one }, { log: many }] = logs
      const { log: prompt } = await emptyLog({ config })
      await prompt.prompt.appendBatches([bytesOf({ values: ['v0'], timestamp: NOW })])
      const batches = (): Buffer[] =>
        upTo(40).map((each) => bytesOf({ values: [`v${each}`], timestamp: NOW + each * apart }))
      for (const batch of batches()) await many.appendBatches([batch])
      await one.appendBatches(batches())
      expect(one.segments).toEqual(many.segments)
      await prompt.prompt.appendBatches(batches().slice(1))
      expect(prompt.segments).toEqual(many.segments)
      expect(one.segments.length > 3).toBe(interval < 1000)
      expect(await valuesOf(one)).toEqual(valuesUpTo(40))
    },
  )

  it('are rolled on request, but not while empty', async () => {
    const { fs, log } = await emptyLog()
    await log.roll()
    expect(log.segments).toHaveLength(1)
    await log.append([{ value: 'a' }])
    await log.roll()
    await log.roll()
    expect(log.segments.map(({ baseOffset, sizeBytes }) => [baseOffset, sizeBytes > 0])).toEqual([
      [0, true],
      [1, false],
    ])
    expect(fs.readFile(pathOf(1, 'snapshot')).toString('hex')).toBe('000148674bc700000000')
    expect(fs.readFile(pathOf(0, 'timeindex'))).toHaveLength(12)
    expect((await log.append([{ value: 'b' }])).baseOffset).toBe(1)
  })

  it('hold offsets that are at most 2^31 - 1 apart', async () => {
    const fs = new SimulatedFileSystem()
    fs.writeFile(pathOf(0), bytesOf({ baseOffset: 0x7fff_fffe }))
    const log = await openLog(fs, { config: { segmentBytes: 5000 } })
    await log.append([{ value: 'fits' }])
    expect(log.segments).toHaveLength(1)
    await log.append([{ value: 'does not' }])
    expect(log.segments.map(({ baseOffset }) => baseOffset)).toEqual([0, 0x8000_0000])
    expect(await valuesOf(log)).toEqual(['v', 'fits', 'does not'])
  })

  it('keep few files open, however many are read', async () => {
    const fs = await writtenLog(100)
    const log = await openLog(fs)
    await readAll(log)
    await log.offsetForTimestamp(NOW)
    const count = (kind: string): number =>
      fs.operations.filter((line) => line.includes(` ${kind} `) && line.includes('.log')).length
    expect(count('open')).toBeGreaterThan(50)
    expect(count('open') - count('close')).toBeLessThanOrEqual(33)
    expect(await valuesOf(log)).toEqual(valuesUpTo(100))
  })
})

describe('read', () => {
  it('returns nothing at the log end, and rejects offsets beyond it and below the log start offset', async () => {
    const log = await logOf(5)
    await log.advanceLogStartOffset(3)
    expect(await log.read(5)).toEqual([])
    await expect(log.read(6)).rejects.toThrow(OffsetOutOfRangeError)
    await expect(log.read(2)).rejects.toMatchObject({
      offset: 2,
      logStartOffset: 3,
      logEndOffset: 5,
    })
    await expect(log.read(-1)).rejects.toThrow(RangeError)
    await expect(log.read(1.5)).rejects.toThrow('offset must be a whole number')
    await expect(log.read(3, 0)).rejects.toThrow('maxBytes must be a whole number')
  })

  it('starts at an offset inside a batch, and never spans two segments', async () => {
    const { log } = await emptyLog({ config: { ...SMALL, segmentBytes: 5000 } })
    await log.append(valuesUpTo(5).map((value) => ({ value })))
    await log.roll()
    await log.append([{ value: 'v5' }])
    for (const maxBytes of [1, 1_000_000]) {
      expect((await log.read(3, maxBytes)).map(({ offset }) => offset)).toEqual([3, 4])
      expect((await log.read(5, maxBytes)).map(({ offset }) => offset)).toEqual([5])
    }
  })

  it('skips control batches and batches without records', async () => {
    const { log } = await emptyLog()
    const marker = (): Buffer =>
      buildEndTransactionMarker({
        type: 'COMMIT',
        baseOffset: 0,
        partitionLeaderEpoch: 0,
        timestamp: NOW,
        producerId: 1,
        producerEpoch: 0,
        coordinatorEpoch: 0,
      })
    await log.appendBatches([marker(), marker(), bytesOf(), marker()])
    expect((await log.read(0, 1)).map(({ offset }) => offset)).toEqual([2])
    expect(await log.read(3)).toEqual([])
    expect(log.logEndOffset).toBe(4)
  })

  it('returns the records before a batch that cannot be decoded, and rejects at that batch', async () => {
    const { log } = await emptyLog({ config: { segmentBytes: 5000 } })
    const strange = bytesOf()
    // A count of records that the bytes do not hold, under a valid checksum.
    strange.writeInt32BE(2, 57)
    await log.appendBatches([bytesOf(), strange])
    expect((await log.read(0)).map(({ offset }) => offset)).toEqual([0])
    await expect(log.read(1)).rejects.toMatchObject({
      code: 'CORRUPT_MESSAGE',
      path: pathOf(0),
      firstOffset: 1,
      lastOffset: 1,
    })
    const position = await log
      .read(1)
      .catch((error: unknown) => (error as CorruptRecordError).position)
    expect(position).toBeGreaterThan(strange.length)
    await expect(log.offsetForTimestamp(NOW)).resolves.toMatchObject({ offset: 0 })
  })

  it('returns every record once and in order while others are being appended, and each append whole', async () => {
    const fs = new SimulatedFileSystem({ completion: 'random', seed: 5 })
    const log = await openLog(fs)
    const seen: string[] = []
    const reading = (async () => {
      while (seen.length < 30) {
        for (const { value } of await log.read(seen.length)) seen.push(String(value))
        expect(seen.length % 3).toBe(0)
      }
    })()
    const values = valuesUpTo(30)
    for (let each = 0; each < 30; each += 3) {
      await log.append(values.slice(each, each + 3).map((value) => ({ value })))
    }
    await reading
    expect(seen).toEqual(valuesUpTo(30))
  })

  it('returns the right records or rejects as out of range while segments are truncated and removed', async () => {
    for (let seed = 0; seed < 20; seed += 1) {
      const fs = new SimulatedFileSystem({ completion: 'random', seed })
      const log = await openLog(fs)
      for (const value of valuesUpTo(10)) await log.append([{ value: `${value} first` }])
      let isDone = false
      const reading = [0, 2, 5, 8].map(async (offset) => {
        while (!isDone) {
          const read = await log.read(offset, 150).catch((error: unknown) => {
            expect(error).toBeInstanceOf(OffsetOutOfRangeError)
            return []
          })
          const generations = new Set(read.map(({ value }) => String(value).split(' ')[1]))
          // Rewritten records are all below 6: no read returns an old record after a new one.
          if (generations.size > 1) expect(read[0]?.offset).toBeLessThan(6)
          for (const record of read) expect(String(record.value)).toContain(`v${record.offset} `)
        }
      })
      await log.truncateTo(6)
      for (const value of ['v6', 'v7', 'v8']) await log.append([{ value: `${value} second` }])
      await log.advanceLogStartOffset(3)
      await log.truncateTo(8)
      isDone = true
      await Promise.all(reading)
      expect(await offsetsOf(log)).toEqual([3, 4, 5, 6, 7])
    }
  })
})

describe('offsetForTimestamp', () => {
  it('returns the first offset at least as recent as the timestamp, like a search through all records', async () => {
    const batch = fc.array(fc.integer({ min: 0, max: 30 }), { minLength: 1, maxLength: 3 })
    await fc.assert(
      fc.asyncProperty(
        fc.array(batch, { minLength: 1, maxLength: 15 }),
        fc.integer({ min: 0, max: 20 }),
        fc.boolean(),
        async (batches, start, isReopened) => {
          const { fs, log } = await emptyLog()
          for (const times of batches) {
            await log.append(times.map((timestamp) => ({ value: 'v', timestamp })))
          }
          await log.advanceLogStartOffset(Math.min(start, log.logEndOffset))
          await log.close()
          const again = await openLog(isReopened ? fs.restart('process') : fs)
          const records = await readAll(again)
          for (let timestamp = 0; timestamp <= 31; timestamp += 1) {
            const found = records.find((record) => record.timestamp >= timestamp)
            const expected = found && { offset: found.offset, timestamp: found.timestamp }
            expect(await again.offsetForTimestamp(timestamp)).toEqual(expected ?? null)
          }
        },
      ),
      { numRuns: 40 },
    )
  })

  it('searches only below the given end offset, and rejects invalid timestamps', async () => {
    const { log } = await emptyLog()
    await log.append([10, 20, 30].map((timestamp) => ({ value: 'v', timestamp })))
    await log.append([{ value: 'v', timestamp: 40 }])
    expect(await log.offsetForTimestamp(30, 2)).toBeNull()
    expect(await log.offsetForTimestamp(40, 3)).toBeNull()
    expect(await log.offsetForTimestamp(40)).toEqual({ offset: 3, timestamp: 40 })
    await expect(log.offsetForTimestamp(-1)).rejects.toThrow(RangeError)
    await expect(log.offsetForTimestamp(NaN)).rejects.toThrow(RangeError)
  })
})

describe('an unclean open', () => {
  it('makes records durable that only the page cache held', async () => {
    const { fs, log } = await emptyLog()
    await log.appendBatches([bytesOf({ values: ['a'] })])
    const restarted = fs.restart('process')
    expect(await valuesOf(await openLog(restarted))).toEqual(['a'])
    const again = await openLog(restarted.restart('power', { unsynced: 'lost' }))
    expect(await valuesOf(again)).toEqual(['a'])
  })
})

describe('truncateTo', () => {
  it.each(upTo(11))(
    '%i keeps the records below, even after a power loss, and the next append gets that offset',
    async (offset) => {
      const fs = (await writtenLog(10, { close: false })).restart('process')
      const log = await openLog(fs)
      await log.truncateTo(offset)
      expect(await valuesOf(log)).toEqual(valuesUpTo(offset))
      const again = await openLog(fs.restart('power', { unsynced: 'lost' }))
      expect(await valuesOf(again)).toEqual(valuesUpTo(offset))
      expect((await again.append([{ value: 'new' }])).baseOffset).toBe(offset)
      expect(await valuesOf(again)).toEqual([...valuesUpTo(offset), 'new'])
      expect(again.damage).toBeNull()
    },
  )

  it('to an offset inside a batch removes the whole batch, and keeps the offset as log end offset', async () => {
    for (const isClean of [true, false]) {
      const fs = new SimulatedFileSystem()
      const log = await openLog(fs, { config: { segmentBytes: 5000 } })
      await log.append([{ value: 'v0' }])
      await log.append(['v1', 'v2', 'v3', 'v4'].map((value) => ({ value })))
      await log.checkpoint()
      await log.truncateTo(3)
      expect([await offsetsOf(log), log.logEndOffset]).toEqual([[0], 3])
      if (isClean) await log.close()
      const again = await openLog(fs.restart('process'))
      expect(again.damage).toBeNull()
      expect([await offsetsOf(again), again.logEndOffset]).toEqual([[0], 3])
      expect((await again.append([{ value: 'v3' }])).baseOffset).toBe(3)
      expect((await again.read(1))[0]?.offset).toBe(3)
    }
  })

  it('has truncated the file durably when it resolves', async () => {
    const fileSystem = new SimulatedFileSystem()
    const log = await openLog(fileSystem, { config: { segmentBytes: 5000 } })
    for (const value of valuesUpTo(4)) await log.append([{ key: 'k', value }])
    await log.truncateTo(2)
    const restarted = fileSystem.restart('power', { unsynced: 'lost' })
    expect(restarted.readFile(pathOf(0))).toHaveLength(2 * SIZE)
  })

  it('lowers the recovery point, durably in its file before it changes any log file', async () => {
    const fs = await writtenLog(10)
    const log = await openLog(fs)
    expect(log.state.recoveryPoint).toBe(10)
    const pointOf = (disk: SimulatedFileSystem): string =>
      disk.readFile(`${DIR}/recovery-point-offset-checkpoint`).toString()
    const found: string[] = []
    fs.observe(({ kind, path }) => {
      if (!path.endsWith('.log') || (kind !== 'unlink' && kind !== 'truncate')) return
      found.push(pointOf(fs.fork().restart('power', { unsynced: 'lost' })))
    })
    await log.truncateTo(3)
    // Three later segments are removed, and one is truncated.
    expect(found).toEqual(Array(4).fill('0\n1\norders 0 3\n'))
    expect(log.state.recoveryPoint).toBe(3)
    expect(pointOf(fs)).toBe('0\n1\norders 0 3\n')
  })

  it('rejects offsets outside the log', async () => {
    const log = await logOf(5)
    await log.advanceLogStartOffset(2)
    await expect(log.truncateTo(1)).rejects.toThrow(OffsetOutOfRangeError)
    await expect(log.truncateTo(6)).rejects.toThrow(OffsetOutOfRangeError)
    await expect(log.truncateTo(NaN)).rejects.toThrow(RangeError)
    await log.truncateTo(5)
    expect(log.logEndOffset).toBe(5)
    await log.truncateTo(2)
    expect([log.logStartOffset, log.logEndOffset]).toEqual([2, 2])
    expect((await log.append([{ value: 'x' }])).baseOffset).toBe(2)
  })

  it('removes the producer snapshots above the offset, and adjusts the leader epochs', async () => {
    const fs = (await writtenLog(6, { close: false })).restart('process')
    const log = await openLog(fs)
    await log.append([{ value: 'x' }])
    await log.truncateTo(3)
    // Epoch 1 had its first record at 3, which a reader may have seen: the epoch stays used.
    expect(fs.readFile(`${DIR}/leader-epoch-checkpoint`).toString()).toBe('0\n2\n0 0\n1 3\n')
    const snapshots = [...fs.snapshot().keys()].filter((path) => path.endsWith('.snapshot'))
    expect(snapshots).toEqual([pathOf(2, 'snapshot')])
    await log.append([{ value: 'y' }])
    expect(fs.readFile(`${DIR}/leader-epoch-checkpoint`).toString()).toBe('0\n2\n0 0\n2 3\n')
  })

  it('restores the producer state at the offset', async () => {
    const { fs, log } = await emptyLog()
    const producer = { producerId: 7, producerEpoch: 0 }
    for (const baseSequence of [0, 1, 2, 3]) {
      await log.appendBatches([bytesOf({ ...producer, baseSequence })])
    }
    await log.flush()
    await log.truncateTo(3)
    await log.close()
    expect(fs.readFile(pathOf(3, 'snapshot')).readInt32BE(10 + 10)).toBe(2)
  })
})

describe('advanceLogStartOffset', () => {
  it('removes the segments below, but never the active one', async () => {
    const fs = await writtenLog(10, { close: false })
    const log = await openLog(fs.restart('process'))
    await log.advanceLogStartOffset(5)
    expect(log.segments.map(({ baseOffset }) => baseOffset)).toEqual([4, 6, 8])
    expect(await offsetsOf(log)).toEqual([5, 6, 7, 8, 9])
    await log.advanceLogStartOffset(5)
    await log.advanceLogStartOffset(10)
    expect(log.segments.map(({ baseOffset }) => baseOffset)).toEqual([8])
    expect(await readAll(log)).toEqual([])
    expect((await log.append([{ value: 'x' }])).baseOffset).toBe(10)
    await log.advanceLogStartOffset(9)
    expect(log.logStartOffset).toBe(10)
    await expect(log.advanceLogStartOffset(12)).rejects.toThrow(OffsetOutOfRangeError)
  })

  it('is durable, and so is the removal of all files and epochs of the removed segments', async () => {
    const fs = await writtenLog(10)
    const log = await openLog(fs)
    await log.advanceLogStartOffset(5)
    const after = fs.restart('power', { unsynced: 'lost' })
    const left = [...after.snapshot().keys()].filter((path) =>
      /\/0.*(index|log|snapshot)$/.test(path),
    )
    expect(left.every((path) => path >= pathOf(4, ''))).toBe(true)
    expect(after.readFile(`${DIR}/leader-epoch-checkpoint`).toString()).toBe('0\n1\n0 5\n')
    expect((await openLog(after)).logStartOffset).toBe(5)
  })

  it('is finished by the next open, which removes the files durably', async () => {
    const fileSystem = await writtenLog(7)
    await fileSystem.unlink(`${DIR}/varve-segments`)
    fileSystem.writeFile(`${DIR}/log-start-offset-checkpoint`, Buffer.from('0\n1\norders 0 4\n'))
    const log = await openLog(fileSystem)
    expect(log.logStartOffset).toBe(4)
    const restarted = fileSystem.restart('power', { unsynced: 'lost' })
    expect([...restarted.snapshot().keys()]).not.toContain(pathOf(0))
  })

  it('beyond all records makes the next open sync the removal before it creates a segment', async () => {
    const fs = (await writtenLog(3, { close: false })).restart('process')
    await fs.unlink(`${DIR}/varve-segments`)
    fs.writeFile(`${DIR}/log-start-offset-checkpoint`, Buffer.from('0\n1\norders 0 5\n'))
    const before = fs.operations.length
    expect((await openLog(fs)).logEndOffset).toBe(5)
    const steps = fs.operations
      .slice(before)
      .filter((line) =>
        new RegExp(`unlink ${pathOf(2)}|syncDirectory|open ${pathOf(5)}`).test(line),
      )
      .map((line) => line.split(' ')[1])
    const removal = steps.indexOf('unlink')
    expect(steps.slice(removal, removal + 3)).toEqual(['unlink', 'syncDirectory', 'open'])
  })

  it('makes the records below the offset durable', async () => {
    const { fs, log } = await emptyLog({ config: { ...SMALL, flushMessages: 100 } })
    await log.append([{ value: 'a' }])
    await log.append([{ value: 'b' }])
    await log.advanceLogStartOffset(2)
    expect(log.durableEndOffset).toBe(2)
    const again = await openLog(fs.restart('power', { unsynced: 'lost' }))
    expect([again.logStartOffset, again.logEndOffset, again.damage]).toEqual([2, 2, null])
  })
})

describe('checkpoint', () => {
  it('saves the durable end as the recovery point, and resets the byte count', async () => {
    const { fs, log } = await emptyLog({ config: { ...SMALL, flushMessages: 2 } })
    for (const value of ['a', 'b', 'c']) await log.append([{ value }])
    expect(log.bytesSinceCheckpoint).toBe(log.size)
    await log.checkpoint()
    expect(log.bytesSinceCheckpoint).toBe(0)
    expect(log.state).toEqual({ recoveryPoint: 2, logStartOffset: 0 })
    expect(fs.readFile(`${DIR}/recovery-point-offset-checkpoint`).toString()).toBe(
      '0\n1\norders 0 2\n',
    )
  })
})

describe('close', () => {
  it('runs once, after all earlier calls, and makes later calls reject', async () => {
    const fs = new SimulatedFileSystem()
    const log = await openLog(fs)
    const append = log.append([{ value: 'a' }])
    const closing = log.close()
    const late = log.append([{ value: 'b' }])
    expect(log.close()).toBe(closing)
    await expect(log.read(0)).rejects.toThrow(ClosedError)
    await append
    await closing
    await expect(late).rejects.toMatchObject({ code: 'CLOSED', outcome: 'not-written' })
    const again = await openLog(fs)
    expect(await valuesOf(again)).toEqual(['a'])
  })

  it('makes every kind of call reject', async () => {
    const log = await logOf(3)
    await log.close()
    expect(log.isWritable).toBe(false)
    for (const call of [
      () => log.append([{ value: 'x' }]),
      () => log.appendBatches([bytesOf()]),
      () => log.flush(),
      () => log.roll(),
      () => log.truncateTo(1),
      () => log.advanceLogStartOffset(1),
      () => log.checkpoint(),
      () => log.refresh(),
      () => log.read(0),
      () => log.reader.readBatches(0, { maxBytes: 1 }),
      () => log.offsetForTimestamp(0),
    ]) {
      await expect(call()).rejects.toThrow('the log of orders-0 is closed')
    }
    expect([log.logStartOffset, log.logEndOffset]).toEqual([0, 3])
  })

  it('ends reads that are in progress, and leaves no file open', async () => {
    for (let seed = 0; seed < 10; seed += 1) {
      const fs = new SimulatedFileSystem({ completion: 'random', seed })
      const log = await openLog(fs)
      for (const value of valuesUpTo(8)) await log.append([{ value }])
      const reads = [0, 2, 4, 6].map((offset) => log.read(offset).catch((error: unknown) => error))
      await log.close()
      for (const outcome of await Promise.all(reads)) {
        if (!Array.isArray(outcome)) expect(outcome).toBeInstanceOf(ClosedError)
      }
      const count = (kind: string): number =>
        fs.operations.filter((line) => line.includes(` ${kind} `) && !line.includes('!')).length
      expect(count('open')).toBe(count('close'))
    }
  })
})
