import { stat } from 'node:fs/promises'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import {
  ClosedError,
  InvalidRecordError,
  OffsetOutOfRangeError,
  ReadOnlyError,
  RecordTooLargeError,
  StorageError,
} from '../../lib/errors.ts'
import { systemClock } from '../../lib/platform/system-clock.ts'
import { Log } from '../../lib/storage/log.ts'
import { partitionOfDirectory } from '../../lib/storage/log-state.ts'
import { decodeProducerSnapshot } from '../../lib/storage/producer-snapshot.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { tempBroker } from '../../lib/testing/temp-broker.ts'
import { withoutZstd } from '../helpers/missing-codec.ts'
import { bytesOf, DIR, NOW, openLog, pathOf, valuesOf } from './log-fixtures.ts'

describe('appending to a log', () => {
  it('syncs once flushMessages records are not durable yet, and not before', async () => {
    const log = await openLog(new SimulatedFileSystem(), { config: { flushMessages: 3 } })
    await log.append([{ value: 'a' }, { value: 'b' }])
    expect(log.durableEndOffset).toBe(0)
    await log.append([{ value: 'c' }])
    expect(log.durableEndOffset).toBe(3)
  })

  it('splits many records of one call into batches, which are written all or not at all', async () => {
    const fileSystem = new SimulatedFileSystem()
    const log = await openLog(fileSystem, { config: { segmentBytes: 300_000 } })
    const records = Array.from({ length: 60 }, (_, each) => ({ value: 'x'.repeat(10_000 + each) }))
    expect(await log.append(records)).toMatchObject({ baseOffset: 0, lastOffset: 59 })
    expect(log.segments.length).toBeGreaterThan(1)
    const before = [log.logEndOffset, log.size]
    for (const at of [1, 2, 3]) {
      for (let skipped = 1; skipped < at; skipped += 1) fileSystem.shortWriteAt(skipped, 100)
      fileSystem.failNext('write', 'ENOSPC', { path: /\.log$/, partial: true })
      await expect(log.append(records)).rejects.toMatchObject({ outcome: 'not-written' })
      expect([log.logEndOffset, log.size]).toEqual(before)
    }
    fileSystem.clearFaults()
    expect(await log.append([{ value: 'y' }])).toMatchObject({ baseOffset: 60 })
  })

  it('removes a segment that was rolled within a failed append', async () => {
    const fileSystem = new SimulatedFileSystem()
    const log = await openLog(fileSystem, { config: { segmentBytes: 200, maxMessageBytes: 150 } })
    await log.append([{ value: 'a' }])
    const records = Array.from({ length: 6 }, () => ({ value: 'z'.repeat(60) }))
    fileSystem.failNext('write', 'EIO', { path: /00002\.log$/ })
    await expect(log.append(records)).rejects.toThrow(StorageError)
    expect(await valuesOf(log)).toEqual(['a'])
    await log.append([{ value: 'b' }])
    const again = await openLog(fileSystem.restart('power', { unsynced: 'lost' }))
    expect(await valuesOf(again)).toEqual(['a', 'b'])
  })

  it('rejects writes until the remains of a failed write can be truncated', async () => {
    const fileSystem = new SimulatedFileSystem()
    const log = await openLog(fileSystem)
    await log.append([{ value: 'a' }])
    fileSystem.failNext('write', 'ENOSPC')
    fileSystem.failNext('truncate', 'EIO')
    await expect(log.append([{ value: 'b' }])).rejects.toMatchObject({ outcome: 'unknown' })
    fileSystem.failNext('truncate', 'EIO')
    await expect(log.append([{ value: 'c' }])).rejects.toMatchObject({ outcome: 'not-written' })
    expect(await valuesOf(log)).toEqual(['a'])
    await log.append([{ value: 'd' }])
    const again = await openLog(fileSystem.restart('power', { unsynced: 'lost' }))
    expect(await valuesOf(again)).toEqual(['a', 'd'])
  })

  it('keeps the old segment if a roll fails, and can roll later', async () => {
    const fileSystem = new SimulatedFileSystem()
    const log = await openLog(fileSystem)
    await log.append([{ value: 'a' }])
    fileSystem.failNext('open', 'EACCES', { path: /00001\.log$/ })
    await expect(log.roll()).rejects.toMatchObject({
      code: 'STORAGE_ERROR',
      outcome: 'not-written',
    })
    await log.append([{ value: 'b' }])
    await log.roll()
    await log.append([{ value: 'c' }])
    expect(log.segments.map((segment) => segment.baseOffset)).toEqual([0, 2])
    expect(await valuesOf(log)).toEqual(['a', 'b', 'c'])
  })

  it('rolls by the timestamps of the records, or by the clock if they have none', async () => {
    const clock = new ManualClock(1000)
    const config = { segmentMs: 100 }
    const log = await openLog(new SimulatedFileSystem(), { clock, config })
    await log.append([{ value: 'a', timestamp: 500 }])
    await log.append([{ value: 'older', timestamp: 1 }])
    await log.append([{ value: 'just young enough', timestamp: 600 }])
    expect(log.segments).toHaveLength(1)
    await log.append([{ value: 'too young', timestamp: 601 }])
    expect(log.segments.map((segment) => segment.baseOffset)).toEqual([0, 3])
    const untimed = await openLog(new SimulatedFileSystem(), { clock, config })
    const batch = (): Buffer => bytesOf({ timestamp: -1 })
    await untimed.appendBatches([batch()])
    clock.setTime(1100)
    await untimed.appendBatches([batch()])
    expect(untimed.segments).toHaveLength(1)
    clock.setTime(1101)
    await untimed.appendBatches([batch()])
    expect(untimed.segments).toHaveLength(2)
  })

  it('stores the append time if the topic uses LogAppendTime', async () => {
    const clock = new ManualClock(7777)
    const config = { messageTimestampType: 'LogAppendTime' } as const
    const log = await openLog(new SimulatedFileSystem(), { clock, config })
    await log.append([
      { value: 'a', timestamp: 5 },
      { value: 'b', timestamp: 9 },
    ])
    expect((await log.read(0)).map((record) => record.timestamp)).toEqual([7777, 7777])
  })

  it.each([
    ['LogAppendTime', 'CreateTime'],
    ['CreateTime', 'LogAppendTime'],
  ] as const)(
    'stores all batches of an append with %s, also behind a roll in which the topic got %s',
    async (before, after) => {
      const fileSystem = new SimulatedFileSystem()
      const clock = new ManualClock(7777)
      const config = { messageTimestampType: before, segmentBytes: 300 } as const
      const log = await openLog(fileSystem, { clock, config })
      let rolls = 0
      fileSystem.observe((operation) => {
        if (operation.kind !== 'syncDirectory') return
        rolls += 1
        clock.setTime(9999)
        log.config = { ...log.config, messageTimestampType: after }
      })
      const values = ['a', 'b', 'c', 'd'].map((value) => value.repeat(50))
      await log.appendBatches(values.map((value) => bytesOf({ values: [value] })))
      expect([rolls > 0, log.segments.length]).toEqual([true, 2])
      const records = [...(await log.read(0)), ...(await log.read(2))]
      const time = before === 'LogAppendTime' ? 7777 : NOW
      expect(records.map(({ timestamp }) => timestamp)).toEqual([time, time, time, time])
    },
  )

  it.each<[string, unknown, new (...args: never[]) => Error]>([
    ['something else than an array', 'a', TypeError],
    ['nothing', [], RangeError],
    ['a record that is none', [5], TypeError],
    ['null as a record', [null], TypeError],
    ['a key that is no bytes', [{ key: 5 }], TypeError],
    ['a timestamp that is text', [{ timestamp: '5' }], TypeError],
    ['headers that are null', [{ headers: null }], TypeError],
    ['a header that is no pair', [{ headers: [5] }], TypeError],
    ['a header with three parts', [{ headers: [['a', 'b', 'c']] }], TypeError],
    ['a header with a number as its key', [{ headers: [[5, 'a']] }], TypeError],
    ['a header with a number as its value', [{ headers: { a: 5 } }], TypeError],
    ['a record larger than a segment', [{ value: Buffer.alloc(300) }], RecordTooLargeError],
  ])('rejects %s', async (_, records, error) => {
    const log = await openLog(new SimulatedFileSystem())
    await expect(log.append(records as never)).rejects.toThrow(error)
    expect(log.logEndOffset).toBe(0)
  })

  it('accepts headers in every form', async () => {
    const log = await openLog(new SimulatedFileSystem(), { config: {} })
    const forms = [
      { a: '1', b: null },
      [
        ['a', '1'],
        ['b', null],
      ] as const,
      new Map([
        ['a', '1'],
        ['b', null],
      ] as const),
      [
        { key: 'a', value: Buffer.from('1') },
        { key: 'b', value: null },
      ],
    ]
    await log.append(
      forms.map((headers) => ({ value: new Uint8Array([1]), headers: headers as never })),
    )
    for (const record of await log.read(0)) {
      expect(record.headers).toEqual([
        { key: 'a', value: Buffer.from('1') },
        { key: 'b', value: null },
      ])
    }
  })

  it('uses the codec of the topic, and rejects records without a key in a compacted topic', async () => {
    const gzip = await openLog(new SimulatedFileSystem(), { config: { compressionType: 'gzip' } })
    await gzip.append([{ value: 'x'.repeat(5000) }])
    expect(gzip.size).toBeLessThan(200)
    expect(await valuesOf(gzip)).toEqual(['x'.repeat(5000)])
    const plain = await openLog(new SimulatedFileSystem(), {
      config: { compressionType: 'uncompressed' },
    })
    await plain.append([{ value: 'x' }])
    withoutZstd()
    const zstd = openLog(new SimulatedFileSystem(), { config: { compressionType: 'zstd' } })
    await expect(zstd).rejects.toMatchObject({ code: 'UNSUPPORTED_COMPRESSION_TYPE' })
    const compacted = await openLog(new SimulatedFileSystem(), {
      config: { cleanupPolicy: 'compact' },
    })
    await expect(compacted.append([{ value: 'x' }])).rejects.toThrow(InvalidRecordError)
  })
})

describe('reading a log', () => {
  it('reports damage inside a batch with its path and offsets', async () => {
    const fileSystem = new SimulatedFileSystem()
    const log = await openLog(fileSystem, { config: {} })
    await log.append([{ value: 'a' }])
    // A complete batch with a valid checksum, whose record claims to be longer than it is.
    const wrong = bytesOf({ values: ['b'] })
    wrong.writeUInt8(0x7e, 61)
    await log.appendBatches([wrong])
    expect((await log.read(0)).map((record) => record.offset)).toEqual([0])
    await expect(log.read(1)).rejects.toMatchObject({
      code: 'CORRUPT_MESSAGE',
      path: pathOf(0),
      firstOffset: 1,
      lastOffset: 1,
    })
  })

  it('rejects with the disk error, and does not report it as damage', async () => {
    const fileSystem = new SimulatedFileSystem()
    const log = await openLog(fileSystem)
    await log.append([{ value: 'a' }])
    fileSystem.failNext('read', 'EIO')
    await expect(log.read(0)).rejects.toMatchObject({
      code: 'STORAGE_ERROR',
      outcome: 'not-written',
    })
    expect(await valuesOf(log)).toEqual(['a'])
    expect(log.isWritable).toBe(true)
  })

  it('rejects offsets outside the log, and every call after close', async () => {
    const log = await openLog(new SimulatedFileSystem())
    await log.append([{ value: 'a' }])
    await expect(log.read(2)).rejects.toThrow(OffsetOutOfRangeError)
    await expect(log.truncateTo(2)).rejects.toThrow(OffsetOutOfRangeError)
    await expect(log.advanceLogStartOffset(2)).rejects.toThrow(OffsetOutOfRangeError)
    await expect(log.appendBatches([])).rejects.toThrow(RangeError)
    await expect(log.offsetForTimestamp(-1)).rejects.toThrow(RangeError)
    await log.close()
    await log.close()
    await expect(log.read(0)).rejects.toThrow(ClosedError)
    await expect(log.append([{ value: 'b' }])).rejects.toThrow(ClosedError)
    await expect(log.flush()).rejects.toThrow(ClosedError)
    await expect(log.refresh()).rejects.toThrow(ClosedError)
    expect(log.isWritable).toBe(false)
  })

  it('searches by time only up to the given end offset', async () => {
    const log = await openLog(new SimulatedFileSystem())
    for (const timestamp of [10, 30, 20, 40]) await log.append([{ value: 'x', timestamp }])
    expect(await log.offsetForTimestamp(15)).toEqual({ offset: 1, timestamp: 30 })
    expect(await log.offsetForTimestamp(35, 3)).toBeNull()
    expect(await log.offsetForTimestamp(41)).toBeNull()
    await log.advanceLogStartOffset(2)
    expect(await log.offsetForTimestamp(0)).toEqual({ offset: 2, timestamp: 20 })
  })
})

describe('a log opened read-only', () => {
  it('changes nothing, and sees appends, rolls and deletions after a refresh', async () => {
    const fileSystem = new SimulatedFileSystem()
    const writer = await openLog(fileSystem)
    await writer.append([{ value: 'a' }])
    const before = fileSystem.snapshot()
    const reader = await openLog(fileSystem, { readOnly: true })
    expect(await valuesOf(reader)).toEqual(['a'])
    expect(fileSystem.snapshot()).toEqual(before)
    for (const value of ['b', 'c', 'd', 'e']) await writer.append([{ value }])
    await reader.refresh()
    expect(await valuesOf(reader)).toEqual(['a', 'b', 'c', 'd', 'e'])
    await writer.advanceLogStartOffset(3)
    await reader.refresh()
    expect(await valuesOf(reader)).toEqual(['d', 'e'])
    await expect(reader.append([{ value: 'x' }])).rejects.toThrow(ReadOnlyError)
    await expect(reader.roll()).rejects.toThrow(ReadOnlyError)
    fileSystem.failNext('list', 'EIO')
    await expect(reader.refresh()).rejects.toThrow(StorageError)
    await reader.close()
    await writer.close()
  })

  it('is empty if its directory is empty', async () => {
    const fileSystem = new SimulatedFileSystem()
    await fileSystem.createDirectory(DIR)
    const reader = await openLog(fileSystem, { readOnly: true })
    expect([reader.logStartOffset, reader.logEndOffset, reader.size]).toEqual([0, 0, 0])
    expect(await reader.read(0)).toEqual([])
    await reader.close()
  })
})

describe('opening a log', () => {
  it('rejects with StorageError if the disk fails', async () => {
    const fileSystem = new SimulatedFileSystem()
    const log = await openLog(fileSystem)
    await log.append([{ value: 'a' }])
    await log.close()
    fileSystem.failNext('open', 'EIO', { persistent: true, path: /\.log$/ })
    await expect(openLog(fileSystem)).rejects.toThrow(StorageError)
  })

  it('uses the real file system and clock if none are given', async () => {
    await using broker = await tempBroker()
    const dir = `${broker.dir}/alone/clicks-7`
    const now = vi.spyOn(systemClock, 'now').mockReturnValue(NOW)
    onTestFinished(() => {
      now.mockRestore()
    })
    const log = await Log.open(dir)
    await log.append([{ value: 'a' }])
    const [record] = await log.read(0)
    expect(record).toMatchObject({ topic: 'clicks', partition: 7, offset: 0, timestamp: NOW })
    await log.close()
    expect((await stat(`${dir}/00000000000000000000.log`)).size).toBe(log.size)
    const again = await Log.open(dir)
    expect(again.logEndOffset).toBe(1)
    await again.close()
  })

  it.each([
    ['/x/orders-3', 'orders', 3],
    ['/x/a-b-10', 'a-b', 10],
    ['/x/plain', 'plain', 0],
    ['/x/orders-x', 'orders-x', 0],
    ['/x/-5', '-5', 0],
  ])('derives topic and partition from %s', (dir, topic, partition) => {
    expect(partitionOfDirectory(dir)).toEqual({ topic, partition })
  })

  it('keeps the producers of a foreign log if a failed append is undone', async () => {
    const fileSystem = new SimulatedFileSystem()
    const log = await openLog(fileSystem, { config: { segmentBytes: 300 } })
    await log.appendBatches([bytesOf({ producerId: 9, producerEpoch: 0, baseSequence: 4 })])
    fileSystem.failNext('write', 'ENOSPC')
    await expect(log.append([{ value: 'x' }])).rejects.toThrow(StorageError)
    await log.close()
    const path = pathOf(1, 'snapshot')
    expect(decodeProducerSnapshot(fileSystem.readFile(path), path)).toMatchObject([
      { producerId: 9, producerEpoch: 0, lastSequence: 4, lastOffset: 0 },
    ])
  })
})
