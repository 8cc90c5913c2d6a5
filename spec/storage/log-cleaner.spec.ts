import { describe, expect, it, onTestFinished } from 'vitest'
import type { TopicConfig } from '../../lib/config.ts'
import { CorruptRecordError } from '../../lib/errors.ts'
import { NO_TIMESTAMP, RECORD_BATCH_OVERHEAD } from '../../lib/record/batch-layout.ts'
import { codecFor, registerCodec } from '../../lib/record/compression.ts'
import type { RecordBatch } from '../../lib/record/record-batch.ts'
import { RecordBatchBuilder } from '../../lib/record/record-batch-builder.ts'
import type { CompactionReport } from '../../lib/storage/log-cleaner.ts'
import type { Log } from '../../lib/storage/log.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { heldSyncs } from '../helpers/held-syncs.ts'
import { settle } from '../helpers/settle.ts'
import { DIR, NOW, openLog, pathOf, readAll } from './log-fixtures.ts'

const COMPACTED: TopicConfig = {
  segmentBytes: 400,
  indexIntervalBytes: 64,
  cleanupPolicy: 'compact',
  deleteRetentionMs: 1000,
}
const MIB = 1024 * 1024

/** A compacted log, and the appends of a test. */
class Table {
  readonly clock: ManualClock
  readonly fileSystem: SimulatedFileSystem
  checkpoint = 0
  #log: Log | null = null
  readonly #config: TopicConfig

  constructor(
    config: TopicConfig = {},
    fileSystem = new SimulatedFileSystem({ seed: 1 }),
    clock = new ManualClock(NOW),
  ) {
    this.clock = clock
    this.#config = { ...COMPACTED, ...config }
    this.fileSystem = fileSystem
  }

  get log(): Log {
    if (this.#log === null) throw new Error('the table is not open')
    return this.#log
  }

  async open(): Promise<this> {
    const options = { config: this.#config, clock: this.clock }
    this.#log = await openLog(this.fileSystem, options)
    return this
  }

  /** Appends one batch for each pair `key=value`; `key=` is a tombstone. */
  async put(...pairs: readonly string[]): Promise<void> {
    for (const pair of pairs) await this.log.append([recordOf(pair, this.clock.now())])
  }

  /** Appends all pairs in one batch. */
  async putTogether(...pairs: readonly string[]): Promise<void> {
    await this.log.append(pairs.map((pair) => recordOf(pair, this.clock.now())))
  }

  async compact(dedupeBufferBytes = MIB): Promise<CompactionReport> {
    const options = { checkpoint: this.checkpoint, dedupeBufferBytes }
    const report = await this.log.cleaner.compact(options)
    this.checkpoint = report.endOffset
    return report
  }

  /** `offset:key=value` of every record. */
  async content(): Promise<string[]> {
    return (await readAll(this.log)).map(
      ({ offset, key, value }) => `${offset}:${String(key)}=${String(value ?? '')}`,
    )
  }

  async batches(): Promise<readonly RecordBatch[]> {
    const found: RecordBatch[] = []
    for (let from = this.log.logStartOffset; from < this.log.logEndOffset;) {
      const batches = await this.log.reader.readBatches(from, { maxBytes: MIB })
      found.push(...batches)
      from = batches.at(-1)?.nextOffset ?? this.log.logEndOffset
    }
    return found
  }
}

function recordOf(pair: string, timestamp: number) {
  const [key = '', value = ''] = pair.split('=')
  return { key, value: value === '' ? null : value, timestamp }
}

const names = async (table: Table): Promise<string[]> =>
  (await table.fileSystem.list(DIR)).map(({ name }) => name)

describe('a compaction pass', () => {
  it('keeps the last record of each key at its offset, in order', async () => {
    const table = await new Table().open()
    await table.put('a=1', 'b=1', 'a=2', 'c=1', 'b=2', 'a=3')
    await table.log.roll()
    const report = await table.compact()
    expect(await table.content()).toEqual(['3:c=1', '4:b=2', '5:a=3'])
    expect(report).toMatchObject({ fromOffset: 0, endOffset: 6, recordsRead: 6, recordsKept: 3 })
    expect(report.bytesAfter).toBeLessThan(report.bytesBefore)
    expect(await table.log.verify()).toEqual([])
  })

  it('keeps timestamps before 1970, which Kafka brokers accept and append rejects', async () => {
    const table = await new Table().open()
    const builder = new RecordBatchBuilder()
    const add = (offset: number, timestamp: number, key: string): void => {
      builder.appendWithOffset(offset, timestamp, Buffer.from(key), Buffer.from('v'))
    }
    add(0, -5000, 'a')
    add(1, -6000, 'b')
    add(2, 1000, 'a')
    await table.log.appendBatches([await builder.build()])
    await table.log.roll()
    await table.compact()
    const left = (await readAll(table.log)).map(({ offset, timestamp }) => [offset, timestamp])
    expect(left).toEqual([
      [1, -6000],
      [2, 1000],
    ])
    const appending = table.log.append([{ key: 'c', timestamp: -5000 }])
    await expect(appending).rejects.toThrow('got -5000')
  })

  it('never touches the active segment', async () => {
    const table = await new Table({ segmentBytes: 4096 }).open()
    await table.put('a=1', 'a=2')
    await table.log.roll()
    await table.put('a=3', 'a=4')
    await table.compact()
    expect(await table.content()).toEqual(['1:a=2', '2:a=3', '3:a=4'])
  })

  it('makes a read at a removed offset return the next higher record', async () => {
    const table = await new Table().open()
    await table.put('a=1', 'b=1', 'a=2', 'a=3')
    await table.log.roll()
    await table.compact()
    for (const offset of [0, 1]) {
      expect((await table.log.read(offset))[0]).toMatchObject({ offset: 1 })
    }
    expect((await table.log.read(2))[0]).toMatchObject({ offset: 3 })
  })

  it('continues where the previous pass ended, and merges small segments', async () => {
    const table = await new Table().open()
    for (let round = 0; round < 10; round += 1) await table.put(`a=${round}`, `b=${round}`)
    await table.log.roll()
    const before = table.log.segments.length
    await table.compact()
    await table.put('a=x', 'a=y')
    await table.log.roll()
    const report = await table.compact()
    expect(report.fromOffset).toBe(20)
    expect((await table.content()).filter((each) => each.includes(':a='))).toEqual(['21:a=y'])
    await table.compact()
    expect(table.log.segments.length).toBeLessThan(before)
    expect(table.log.segments.every(({ sizeBytes }) => sizeBytes <= 400)).toBe(true)
  })

  it('covers as many keys as fit in memory, and leaves the rest to later passes', async () => {
    const table = await new Table().open()
    await table.put('a=1', 'b=1', 'c=1', 'd=1', 'e=1', 'a=2', 'b=2', 'c=2', 'd=2', 'e=2')
    await table.log.roll()
    const first = await table.compact(24 * 5)
    expect(first.endOffset).toBe(4)
    for (let round = 0; round < 10 && table.checkpoint < 10; round += 1) await table.compact(24 * 5)
    expect(table.checkpoint).toBe(10)
    expect(await table.content()).toEqual(['5:a=2', '6:b=2', '7:c=2', '8:d=2', '9:e=2'])
  })

  it('makes progress inside a batch with more keys than fit in memory', async () => {
    const table = await new Table({ segmentBytes: 4096 }).open()
    await table.putTogether('a=1', 'b=1', 'c=1', 'd=1', 'a=2', 'b=2')
    await table.log.roll()
    for (let round = 0; round < 10 && table.checkpoint < 6; round += 1) await table.compact(24 * 3)
    expect(table.checkpoint).toBe(6)
    expect(await table.content()).toEqual(['2:c=1', '3:d=1', '4:a=2', '5:b=2'])
  })

  it('keeps unchanged batches byte for byte, and the base and last offsets of the others', async () => {
    const table = await new Table({ segmentBytes: 4096 }).open()
    await table.putTogether('a=1', 'b=1', 'c=1')
    await table.putTogether('x=1', 'y=1')
    await table.putTogether('a=2', 'c=2')
    await table.log.roll()
    const [first, second] = await table.batches()
    await table.compact()
    const [rest, same] = await table.batches()
    expect(rest).toMatchObject({ baseOffset: 0, lastOffset: 2, recordCount: 1 })
    expect(rest?.partitionLeaderEpoch).toBe(first?.partitionLeaderEpoch)
    expect(same?.buffer.equals(second?.buffer ?? Buffer.alloc(0))).toBe(true)
  })

  it('keeps the end offset of a segment whose last records it removes, even after a reopen', async () => {
    const table = await new Table({ segmentBytes: 4096 }).open()
    await table.put('a=1', 'b=1')
    await table.log.roll()
    await table.put('b=2')
    await table.log.roll()
    await table.compact()
    expect(await table.content()).toEqual(['0:a=1', '2:b=2'])
    await table.log.close()
    await table.open()
    expect(table.log.logEndOffset).toBe(3)
    expect(await table.content()).toEqual(['0:a=1', '2:b=2'])
    expect(table.log.recovery).toEqual({
      truncations: [],
      rebuiltIndexes: [],
      failedSyncOffset: null,
      damage: null,
    })
    expect(await table.log.verify()).toEqual([])
  })

  it('keeps the last batch of a segment, empty, if it removes the records of that batch', async () => {
    const table = await new Table({ segmentBytes: 200 }).open()
    await table.put('a=1', 'b=1')
    await table.log.roll()
    await table.put('b=2', 'c=1')
    await table.log.roll()
    await table.compact()
    expect(await table.content()).toEqual(['0:a=1', '2:b=2', '3:c=1'])
    expect((await table.batches())[1]).toMatchObject({
      baseOffset: 1,
      lastOffset: 1,
      recordCount: 0,
    })
  })

  it('removes records without a key, which were appended before the topic was compacted', async () => {
    const table = await new Table({ segmentBytes: 4096 }).open()
    table.log.config = { ...table.log.config, cleanupPolicy: 'delete' }
    await table.log.append([{ value: 'none' }, { key: 'a', value: '1' }])
    table.log.config = { ...table.log.config, cleanupPolicy: 'compact' }
    await table.log.roll()
    await table.compact()
    expect(await table.content()).toEqual(['1:a=1'])
  })

  it.each(['gzip'] as const)(
    'keeps the compression codec of batches: %s',
    async (compressionType) => {
      const table = await new Table({ compressionType, segmentBytes: 4096 }).open()
      await table.putTogether('a=1', 'b=1', 'c=1')
      await table.putTogether('a=2', 'b=2')
      await table.log.roll()
      await table.compact()
      expect(await table.content()).toEqual(['2:c=1', '3:a=2', '4:b=2'])
      expect((await table.batches()).map((batch) => batch.compressionType)).toEqual([
        compressionType,
        compressionType,
      ])
    },
  )

  it('rejects when there is no memory for a batch, and compacts it in the next pass', async () => {
    const table = await new Table({ compressionType: 'gzip', segmentBytes: 4096 }).open()
    await table.putTogether('a=1', 'b=1')
    await table.putTogether('a=2', 'c=2')
    await table.log.roll()
    const gzip = codecFor('gzip')
    const noMemory = new RangeError('Array buffer allocation failed')
    registerCodec({ ...gzip, compress: () => Promise.reject(noMemory) })
    onTestFinished(() => {
      registerCodec(gzip)
    })
    await expect(table.compact()).rejects.toThrow(noMemory.message)
    registerCodec(gzip)
    await table.compact()
    expect(await table.content()).toEqual(['1:b=1', '2:a=2', '3:c=2'])
  })

  it('rejects with CorruptRecordError at damage, leaving no temporary files and the log writable', async () => {
    const table = await new Table().open()
    await table.put('a=1', 'a=2', 'a=3', 'a=4')
    await table.log.roll()
    const bytes = table.fileSystem.readFile(pathOf(0))
    bytes[70] = (bytes[70] ?? 0) ^ 1
    table.fileSystem.writeFile(pathOf(0), bytes)
    await expect(table.compact()).rejects.toThrow(CorruptRecordError)
    expect((await names(table)).filter((name) => /cleaned|swap/.test(name))).toEqual([])
    expect(table.log.isWritable).toBe(true)
  })
})

describe('tombstones', () => {
  it('are removed by a later pass, but only after deleteRetentionMs', async () => {
    const table = await new Table().open()
    await table.put('a=1', 'b=1', 'a=')
    await table.log.roll()
    const first = await table.compact()
    expect(first).toMatchObject({ tombstonesRemoved: 0, earliestDeleteHorizonMs: NOW + 1000 })
    expect(await table.content()).toEqual(['1:b=1', '2:a='])
    await table.clock.advance(999)
    expect(await table.compact()).toMatchObject({ tombstonesRemoved: 0 })
    await table.clock.advance(1)
    const last = await table.compact()
    expect(last).toMatchObject({ tombstonesRemoved: 1, earliestDeleteHorizonMs: null })
    expect(await table.content()).toEqual(['1:b=1'])
    expect(table.log.logEndOffset).toBe(3)
  })

  it('keep their timestamps, and those of the records in their batch, when their delete horizon is set', async () => {
    const table = await new Table({ segmentBytes: 4096 }).open()
    await table.log.append([
      { key: 'a', value: '1', timestamp: NOW - 5 },
      { key: 'b', value: null, timestamp: NOW + 7 },
    ])
    const builder = new RecordBatchBuilder()
    builder.append(-1, Buffer.from('c'), null)
    await table.log.appendBatches([builder.buildUncompressed()])
    await table.log.roll()
    await table.compact()
    const [batch] = await table.batches()
    expect(batch?.deleteHorizonMs).toBe(NOW + 1000)
    const timestamps = (await readAll(table.log)).map(({ timestamp }) => timestamp)
    expect(timestamps).toEqual([NOW - 5, NOW + 7, -1])
  })

  it('stay in a batch that a delete horizon would make too large, and the pass continues', async () => {
    const table = await new Table({ segmentBytes: 10 * MIB }).open()
    const records = Array.from({ length: 1000 }, (_, each) => {
      const key = Buffer.alloc(67_096)
      key.writeInt32BE(each)
      return key
    })
    const builder = new RecordBatchBuilder({ compressionType: 'gzip' })
    for (const key of records) builder.append(NOW, key, null)
    // One more byte per record exceeds the limit.
    expect(builder.sizeBytes).toBeGreaterThan(64 * MIB - records.length + RECORD_BATCH_OVERHEAD)
    await table.log.appendBatches([await builder.build()])
    await table.put('a=1', 'a=2')
    await table.log.roll()
    expect(await table.compact()).toMatchObject({ endOffset: 1002, earliestDeleteHorizonMs: null })
    const [first, ...others] = await table.batches()
    expect(first).toMatchObject({ recordCount: 1000, deleteHorizonMs: null })
    expect(others.map(({ baseOffset }) => baseOffset)).toEqual([1001])
    await table.log.close()
  })

  it('get a delete horizon of at most 2^52, even in a batch with a record without a timestamp', async () => {
    const config = { segmentBytes: 4096, deleteRetentionMs: Number.MAX_SAFE_INTEGER }
    const table = await new Table(config).open()
    const builder = new RecordBatchBuilder()
    builder.append(NO_TIMESTAMP, Buffer.from('a'), null)
    builder.append(NOW, Buffer.from('b'), Buffer.from('1'))
    await table.log.appendBatches([builder.buildUncompressed()])
    await table.put('c=1', 'c=2')
    await table.log.roll()
    const report = await table.compact()
    expect(report).toMatchObject({ endOffset: 4, earliestDeleteHorizonMs: 2 ** 52 })
    expect(await table.content()).toEqual(['0:a=', '1:b=1', '3:c=2'])
    const timestamps = (await readAll(table.log)).map(({ timestamp }) => timestamp)
    expect(timestamps).toEqual([NO_TIMESTAMP, NOW, NOW])
  })

  it('stay if the checkpoint claims that offsets are clean that no pass has covered', async () => {
    const table = await new Table().open()
    await table.put('a=1', 'b=1', 'a=', 'c=1')
    await table.log.roll()
    table.checkpoint = 4
    await table.compact()
    await table.clock.advance(10_000)
    await table.compact()
    expect(await table.content()).toContain('2:a=')
  })

  it('leave nothing to read at the offset of a last batch from which they were removed', async () => {
    const table = await new Table().open()
    await table.put('k=v', 'k=')
    await table.log.roll()
    await table.compact()
    await table.clock.advance(2000)
    await table.compact()
    const { log } = table
    expect(log).toMatchObject({ logStartOffset: 0, logEndOffset: 2 })
    expect(await log.read(1)).toEqual([])
  })
})

describe('a batch that cannot be rebuilt', () => {
  /** Without its first record, the others are further apart than a number can express. */
  async function tableWithIt(): Promise<Table> {
    const table = await new Table({ segmentBytes: 4096 }).open()
    const builder = new RecordBatchBuilder()
    const timestamps = { a: 0, b: Number.MAX_SAFE_INTEGER, c: NO_TIMESTAMP }
    for (const [key, timestamp] of Object.entries(timestamps)) {
      builder.append(timestamp, Buffer.from(key), Buffer.from('old'))
    }
    await table.log.appendBatches([builder.buildUncompressed()])
    return table
  }

  it('stays unchanged in this pass and the next, while the other batches are compacted', async () => {
    const table = await tableWithIt()
    await table.put('a=new', 'd=1', 'd=2')
    await table.log.roll()
    for (let pass = 0; pass < 2; pass += 1) {
      table.checkpoint = 0
      const { recordsRead, recordsKept, endOffset } = await table.compact()
      expect([recordsRead - recordsKept, endOffset]).toEqual([pass === 0 ? 1 : 0, 6])
      const whole = ['0:a=old', '1:b=old', '2:c=old']
      expect(await table.content()).toEqual([...whole, '3:a=new', '5:d=2'])
    }
    expect(await table.log.verify()).toEqual([])
  })

  it('keeps the tombstones that delete its records, so that no deleted key comes back', async () => {
    const table = await tableWithIt()
    await table.put('a=', 'd=1', 'd=')
    await table.log.roll()
    expect(await table.compact()).toMatchObject({ earliestDeleteHorizonMs: null })
    await table.clock.advance(10_000)
    await table.put('e=1', 'e=')
    await table.log.roll()
    // It is independent of those of the next pass.
    const horizonMs = table.clock.now() + 1000
    expect(await table.compact()).toMatchObject({ earliestDeleteHorizonMs: horizonMs })
    await table.clock.advance(1000)
    expect(await table.compact()).toMatchObject({ tombstonesRemoved: 1 })
    expect(await table.content()).toEqual(['0:a=old', '1:b=old', '2:c=old', '3:a=', '5:d='])
  })
})

describe('a batch with more keys than fit in memory', () => {
  const pairs = Array.from({ length: 20 }, (_, each) => `k${each}=${each === 3 ? '' : 'v'}`)

  it('is covered, so that its tombstones get their delete horizon and are removed', async () => {
    const table = await new Table({ segmentBytes: 4096 }).open()
    await table.put('k3=old', 'k4=old')
    await table.putTogether(...pairs)
    await table.log.roll()
    for (let pass = 0; pass < 3; pass += 1) await table.compact(24 * 4)
    expect(table.checkpoint).toBe(22)
    await table.clock.advance(1000)
    await table.put('other=1')
    await table.log.roll()
    await table.compact(24 * 4)
    expect((await table.content()).filter((each) => /:k[34]=/.test(each))).toEqual(['6:k4=v'])
  })

  it('is covered as a whole if an earlier pass ended inside it', async () => {
    const table = await new Table({ segmentBytes: 4096 }).open()
    await table.putTogether(...pairs)
    await table.log.roll()
    table.checkpoint = 7
    await table.compact(24 * 4)
    await table.clock.advance(1000)
    await table.compact()
    expect((await table.content()).filter((each) => /:k3=/.test(each))).toEqual([])
  })
})

describe('a producer with a producer id', () => {
  it('keeps its last batch, empty, so that its sequence continues', async () => {
    const table = await new Table({ segmentBytes: 4096 }).open()
    const batch = (baseSequence: number, value: string): Buffer => {
      const builder = new RecordBatchBuilder({ producerId: 7, producerEpoch: 1, baseSequence })
      builder.append(NOW, Buffer.from('k'), Buffer.from(value))
      return builder.buildUncompressed()
    }
    await table.log.appendBatches([batch(0, 'a')])
    await table.log.appendBatches([batch(1, 'b')])
    await table.put('k=2', 'l=1')
    await table.log.roll()
    await table.compact()
    expect(await table.content()).toEqual(['2:k=2', '3:l=1'])
    expect((await table.batches())[0]).toMatchObject({
      baseOffset: 1,
      lastOffset: 1,
      recordCount: 0,
      producerId: 7,
      producerEpoch: 1,
      baseSequence: 1,
    })
  })
})

describe('a pass that is limited or interrupted', () => {
  it('ends before a segment with a record younger than minCompactionLagMs', async () => {
    const table = await new Table({ minCompactionLagMs: 500, segmentBytes: 4096 }).open()
    await table.put('a=1', 'a=2')
    await table.log.roll()
    await table.clock.advance(400)
    await table.put('a=3', 'a=4')
    await table.log.roll()
    await table.clock.advance(101)
    await table.compact()
    expect(await table.content()).toEqual(['1:a=2', '2:a=3', '3:a=4'])
    expect(table.checkpoint).toBe(2)
  })

  it('uses the modification time of a segment whose records have no timestamps', async () => {
    const clock = new ManualClock(NOW)
    const fileSystem = new SimulatedFileSystem({ seed: 1, clock })
    const config = { minCompactionLagMs: 500, segmentBytes: 4096 }
    const table = await new Table(config, fileSystem, clock).open()
    for (const value of ['1', '2']) {
      const builder = new RecordBatchBuilder()
      builder.append(NO_TIMESTAMP, Buffer.from('a'), Buffer.from(value))
      await table.log.appendBatches([await builder.build()])
    }
    await table.log.roll()
    await clock.advance(400)
    await table.compact()
    expect(await table.content()).toEqual(['0:a=1', '1:a=2'])
    await clock.advance(101)
    await table.compact()
    expect(await table.content()).toEqual(['1:a=2'])
  })

  it('is delayed by a future timestamp no longer than the compaction lags, counted from the file times', async () => {
    const clock = new ManualClock(NOW)
    const fileSystem = new SimulatedFileSystem({ seed: 1, clock })
    const limits = { minCompactionLagMs: 500, maxCompactionLagMs: 1000, segmentBytes: 4096 }
    const table = await new Table(limits, fileSystem, clock).open()
    for (const value of ['a=1', 'a=2']) await table.log.append([recordOf(value, NOW + 1_000_000)])
    for (let life = 0; life < 2; life += 1) {
      await clock.advance(500)
      expect(await table.log.cleaner.isRollDue()).toBe(false)
      await table.put('b=1')
      await table.log.close()
      await table.open()
    }
    await clock.advance(1)
    expect(await table.log.cleaner.isRollDue()).toBe(true)
    await table.log.roll()
    const young = { dirtyRatio: 0, isOverdue: false }
    expect(await table.log.cleaner.range(0)).toMatchObject(young)
    await clock.advance(500)
    expect(await table.log.cleaner.range(0)).toMatchObject({ isOverdue: true })
    await table.compact()
    expect(await table.content()).toEqual(['1:a=2', '3:b=1'])
  })

  it('starts at the log start offset if the checkpoint is below it or beyond the log end', async () => {
    const table = await new Table().open()
    await table.put('a=1', 'a=2', 'b=1')
    await table.log.roll()
    expect(await table.log.cleaner.range(99)).toMatchObject({ firstDirtyOffset: 0 })
    await table.log.advanceLogStartOffset(2)
    expect(await table.log.cleaner.range(1)).toMatchObject({ firstDirtyOffset: 2 })
    expect(await table.log.cleaner.range(3)).toMatchObject({ firstDirtyOffset: 3, dirtyRatio: 0 })
  })

  it('reports the dirty ratio, and whether maxCompactionLagMs is exceeded', async () => {
    const table = await new Table({ maxCompactionLagMs: 1000 }).open()
    await table.put('a=1', 'a=2')
    await table.log.roll()
    await table.compact()
    await table.put('b=1', 'b=2', 'c=1')
    expect(await table.log.cleaner.isRollDue()).toBe(false)
    await table.clock.advance(1001)
    expect(await table.log.cleaner.isRollDue()).toBe(true)
    await table.log.roll()
    const range = await table.log.cleaner.range(table.checkpoint)
    expect(range).toMatchObject({ firstDirtyOffset: 2, isOverdue: true })
    expect(range.dirtyRatio).toBeGreaterThan(0.5)
    expect(await table.log.cleaner.isRollDue()).toBe(false)
  })

  it('ends if the log is truncated meanwhile, and loses only what was truncated', async () => {
    const table = await new Table().open()
    await table.put('u=1', 'v=1', 'w=1', 'x=1', 'y=1', 'a=1', 'b=1', 'c=1', 'd=1', 'e=1', 'a=2')
    await table.log.roll()
    const cuts: Promise<void>[] = []
    const report = await table.log.cleaner.compact({
      checkpoint: 0,
      dedupeBufferBytes: MIB,
      onProgress: () => {
        if (cuts.length === 0) cuts.push(table.log.truncateTo(10))
      },
    })
    await Promise.all(cuts)
    expect(report).toMatchObject({ endOffset: 0 })
    expect(await table.content()).toHaveLength(10)
    expect(await table.content()).toContain('5:a=1')
    expect((await names(table)).filter((name) => /cleaned|swap/.test(name))).toEqual([])
  })

  it('removes the producer snapshot of a segment that it has merged into another', async () => {
    const table = await new Table().open()
    const snapshots = async (): Promise<string[]> =>
      (await names(table)).filter((name) => name.endsWith('.snapshot'))
    for (let round = 0; round < 5; round += 1) {
      await table.put('a=1')
      await table.log.roll()
      await table.compact()
    }
    const bases = table.log.segments.map(({ baseOffset }) => baseOffset)
    expect(bases).toEqual([0, 5])
    expect(await snapshots()).toEqual(['00000000000000000005.snapshot'])
  })

  it('does not treat a truncation of its segment at any moment as damage', async () => {
    let interrupted = 0
    for (let wait = 0; wait < 150; wait += 1) {
      const fileSystem = new SimulatedFileSystem({ seed: wait, completion: 'random' })
      const table = await new Table({ segmentBytes: 4096 }, fileSystem).open()
      await table.put('a=1', 'b=1', 'a=2', 'c=1')
      await table.log.roll()
      const pass = table.compact()
      for (let tick = 0; tick < wait; tick += 1) await Promise.resolve()
      await table.log.truncateTo(1)
      const report = await pass
      if (report.endOffset === 0) interrupted += 1
      expect(await table.log.verify(), `after ${wait} ticks`).toEqual([])
      await table.log.close()
    }
    expect(interrupted).toBeGreaterThan(0)
  })

  it('still reports the earliest delete horizon if it is interrupted', async () => {
    const table = await new Table().open()
    await table.put('u=1', 'v=1', 'w=1', 'x=1', 'y=1', 'a=1', 'b=1', 'c=1', 'd=1', 'e=1', 'a=2')
    await table.log.roll()
    const compact = async (horizonMs: number | null): Promise<number | null> => {
      const report = await table.log.cleaner.compact({
        ...{ checkpoint: 0, dedupeBufferBytes: MIB, horizonMs },
        onProgress: () => void table.log.truncateTo(table.log.logEndOffset - 1),
      })
      expect(report.endOffset, 'it was interrupted').toBe(0)
      return report.earliestDeleteHorizonMs
    }
    expect(await compact(NOW + 5)).toBe(NOW + 5)
    await table.put('a=2', 'a=3')
    await table.log.roll()
    expect(await compact(null)).toBe(null)
  })

  it('rejects with ClosedError if the log is closed, and leaves no temporary file', async () => {
    const table = await new Table().open()
    await table.put('a=1', 'b=1', 'c=1', 'd=1', 'a=2')
    await table.log.roll()
    const pass = table.log.cleaner.compact({ checkpoint: 0, dedupeBufferBytes: MIB })
    const ended = expect(pass).rejects.toMatchObject({ name: 'ClosedError' })
    await table.log.close()
    await ended
    expect((await names(table)).filter((name) => /cleaned|swap/.test(name))).toEqual([])
  })

  it('rejects with ClosedError if the log is closed while a new segment is synced, and removes it', async () => {
    const { fileSystem, hold } = heldSyncs()
    const table = await new Table({}, fileSystem).open()
    await table.put('a=1', 'b=1', 'c=1', 'd=1', 'a=2')
    await table.log.roll()
    const release = hold()
    const pass = table.log.cleaner.compact({ checkpoint: 0, dedupeBufferBytes: MIB })
    const ended = expect(pass).rejects.toMatchObject({ name: 'ClosedError' })
    await settle()
    expect(await names(table)).toContain('00000000000000000000.log.cleaned')
    const closing = table.log.close()
    release()
    await closing
    await ended
    expect((await names(table)).filter((name) => /cleaned|swap/.test(name))).toEqual([])
  })
})
