import { describe, expect, it, vi } from 'vitest'
import {
  ClosedError,
  CorruptRecordError,
  InvalidRecordError,
  LockLostError,
  OffsetConflictError,
  OffsetOutOfRangeError,
  PolicyViolationError,
  RecordTooLargeError,
  StorageError,
} from '../../lib/errors.ts'
import type { Partition } from '../../lib/broker/partition.ts'
import { nextTurn } from '../../lib/platform/event-loop.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { heldSyncs } from '../helpers/held-syncs.ts'
import { openPartition, textsOf } from '../helpers/partitions.ts'
import { settle } from '../helpers/settle.ts'

const CLOSED = new ClosedError('the test is over')

async function fill(partition: Partition, count: number): Promise<void> {
  for (let each = 0; each < count; each += 1) {
    await partition.append({ key: `k${each}`, value: `v${each}` })
  }
}

describe('appending to a partition', () => {
  it('assigns offsets in the order of the calls, awaited or not', async () => {
    const partition = await openPartition()
    const results = await Promise.all(
      Array.from({ length: 50 }, (_, each) => partition.append({ value: `v${each}` })),
    )
    expect(results.map((result) => result.baseOffset)).toEqual([...Array(50).keys()])
    const expected = Array.from({ length: 50 }, (_, each) => `v${each}`)
    expect(textsOf(await partition.read(0))).toEqual(expected)
  })

  it('shares one write and one sync among all appends of a tick', async () => {
    const fileSystem = new SimulatedFileSystem()
    const partition = await openPartition({ fileSystem })
    await partition.append({ value: 'first' })
    const before = fileSystem.operations.length
    await Promise.all(Array.from({ length: 100 }, () => partition.append({ value: 'x' })))
    const operations = fileSystem.operations.slice(before)
    expect(operations.filter((line) => line.includes(' write '))).toHaveLength(1)
    expect(operations.filter((line) => line.includes(' datasync '))).toHaveLength(1)
  })

  it('acknowledges each append at its requested acks level', async () => {
    const fileSystem = new SimulatedFileSystem({ completion: 'awaited' })
    const partition = await openPartition({ fileSystem })
    await partition.append({ value: 'a' })
    const seen: string[] = []
    const written = partition.append({ value: 'b' }, { acks: 1 }).then(() => {
      seen.push(`written, high watermark ${partition.highWatermark}`)
    })
    const durable = partition.append({ value: 'c' }, { acks: 'all' }).then(() => {
      seen.push(`durable, high watermark ${partition.highWatermark}`)
    })
    expect(await partition.append({ value: 'd' }, { acks: 0 })).toMatchObject({ baseOffset: -1 })
    await Promise.all([written, durable])
    expect(seen).toEqual(['written, high watermark 1', 'durable, high watermark 4'])
  })

  it('shows written records to consumers at once when flushMessages is above 1', async () => {
    const fileSystem = new SimulatedFileSystem()
    const partition = await openPartition({ fileSystem, config: { flushMessages: 10 } })
    await fill(partition, 9)
    expect(partition.highWatermark).toBe(9)
    expect(partition.log.durableEndOffset).toBe(0)
    await fill(partition, 1)
    expect(partition.log.durableEndOffset).toBe(10)
  })

  it('syncs a relaxed log when flushMs have elapsed', async () => {
    const clock = new ManualClock()
    const partition = await openPartition({ clock, config: { flushMessages: 1000, flushMs: 200 } })
    await fill(partition, 3)
    await clock.advance(199)
    expect(partition.log.durableEndOffset).toBe(0)
    await clock.advance(1)
    await partition.append({ value: 'the chain is idle again' })
    expect(partition.log.durableEndOffset).toBe(3)
  })

  it.each([0, 200, 5000])(
    'retries the sync of a relaxed log later while a failed write cannot be truncated, flushMs %i',
    async (flushMs) => {
      const clock = new ManualClock()
      const fileSystem = new SimulatedFileSystem()
      const config = { flushMessages: 1000, flushMs: 10_000 }
      const partition = await openPartition({ clock, fileSystem, config })
      await fill(partition, 1)
      partition.configure({ ...partition.log.config, flushMs })
      fileSystem.failNext('write', 'EIO')
      fileSystem.failNext('truncate', 'EIO', { persistent: true })
      await expect(fill(partition, 1)).rejects.toMatchObject({ outcome: 'unknown' })
      const before = fileSystem.operationCount
      await clock.advance(2 * flushMs)
      const tried = fileSystem.operationCount - before
      expect([partition.log.durableEndOffset, partition.log.isWritable]).toEqual([0, true])
      // A disk that keeps failing is not retried all the time.
      expect(tried).toBeLessThan(10)
      fileSystem.clearFaults()
      await clock.advance(Math.max(flushMs, 1000))
      expect(partition.log.durableEndOffset).toBe(1)
    },
  )

  it('saves the recovery point once enough is appended, and retries after a failed save', async () => {
    const fileSystem = new SimulatedFileSystem()
    const partition = await openPartition({ fileSystem, config: { flushMessages: 10 } })
    const saved = (): string =>
      fileSystem.readFile('/data/orders-0/recovery-point-offset-checkpoint').toString()
    const value = Buffer.alloc(1_000_000)
    const appendMuch = async (): Promise<void> => {
      for (let each = 0; each < 40; each += 1) await partition.append({ value })
      await partition.flush()
    }
    await partition.append({ value })
    fileSystem.failNext('rename', 'ENOSPC', { persistent: true })
    await appendMuch()
    expect(saved()).toBe('0\n1\norders 0 0\n')
    fileSystem.clearFaults()
    await appendMuch()
    // Twice: what was appended during the first write is due again.
    await partition.log.roll()
    expect(saved()).not.toBe('0\n1\norders 0 0\n')
    expect(partition.log.bytesSinceCheckpoint).toBeLessThan(40_000_000)
  })

  it('writes no checkpoint while nothing has become durable since the last one', async () => {
    const fileSystem = new SimulatedFileSystem()
    const config = { flushMessages: 1000, segmentBytes: 2 ** 30 }
    const partition = await openPartition({ fileSystem, config })
    const checkpoints = vi.spyOn(partition.log, 'checkpoint')
    const value = Buffer.alloc(1_000_000)
    for (let each = 0; each < 40; each += 1) await partition.append({ value })
    expect(checkpoints).not.toHaveBeenCalled()
    await partition.flush()
    await partition.append({ value })
    expect(checkpoints).toHaveBeenCalledOnce()
  })

  it('rejects an append with OffsetConflictError if its expectedOffset is not the next offset', async () => {
    const partition = await openPartition()
    const first = partition.append({ value: 'a' }, { expectedOffset: 0 })
    const second = partition.append({ value: 'b' }, { expectedOffset: 0 })
    const third = partition.append({ value: 'c' }, { expectedOffset: 1 })
    expect(await first).toMatchObject({ baseOffset: 0 })
    await expect(second).rejects.toThrow(OffsetConflictError)
    await expect(second).rejects.toMatchObject({ expectedOffset: 0, actualOffset: 1 })
    expect(await third).toMatchObject({ baseOffset: 1 })
  })

  it('accepts an array of records as one append', async () => {
    const partition = await openPartition()
    const records = [{ value: 'a' }, { value: null }, { key: '', value: '' }]
    expect(await partition.append(records)).toMatchObject({ baseOffset: 0, lastOffset: 2 })
    const [, tombstone, empty] = await partition.read(0)
    expect(tombstone).toMatchObject({ offset: 1, key: null, value: null })
    expect([empty?.key?.length, empty?.value?.length]).toEqual([0, 0])
  })

  it.each([
    ['no record', [], RangeError],
    ['a number', 5, TypeError],
    ['a value that is no bytes', { value: { a: 1 } }, TypeError],
    ['a negative timestamp', { value: 'x', timestamp: -5 }, RangeError],
    ['a fractional timestamp', { value: 'x', timestamp: 1.5 }, RangeError],
    ['headers that are none', { value: 'x', headers: 5 }, TypeError],
    ['a record that is too large', { value: Buffer.alloc(2000) }, RecordTooLargeError],
    [
      'one of several that is too large',
      [{ value: 'x' }, { value: Buffer.alloc(2000) }],
      RecordTooLargeError,
    ],
  ])('rejects %s and writes nothing', async (_, records, error) => {
    const partition = await openPartition({ config: { maxMessageBytes: 1000 } })
    await expect(partition.append(records as never)).rejects.toThrow(error)
    expect(partition.logEndOffset).toBe(0)
  })

  it('rejects an append whose record has no key in a compacted topic', async () => {
    const partition = await openPartition({ config: { cleanupPolicy: 'compact' } })
    const records = [{ key: 'a', value: '1' }, { value: '2' }]
    await expect(partition.append(records)).rejects.toThrow(InvalidRecordError)
    expect(partition.logEndOffset).toBe(0)
  })

  it.each([
    [{ acks: 2 }, TypeError],
    [{ acks: 'most' }, TypeError],
    [{ expectedOffset: -1 }, RangeError],
    [{ expectedOffset: '0' }, TypeError],
    [{ ack: 1 }, TypeError],
  ])('rejects options %j', async (options, error) => {
    const partition = await openPartition()
    await expect(partition.append({ value: 'x' }, options as never)).rejects.toThrow(error)
  })

  it('rejects a record with acks 0 that is too large once it is compressed', async () => {
    const partition = await openPartition({
      config: { compressionType: 'gzip', maxMessageBytes: 500 },
    })
    const appended = partition.append({ value: new SeededRandom(1).bytes(600) }, { acks: 0 })
    await expect(appended).rejects.toThrow(RecordTooLargeError)
    expect(await partition.append({ value: 'fits' }, { acks: 0 })).toMatchObject({ baseOffset: -1 })
    await partition.flush()
    expect(partition.logEndOffset).toBe(1)
  })

  it('rejects an expectedOffset with acks 0, which could not report a conflict', async () => {
    const partition = await openPartition()
    for (const expectedOffset of [0, 5]) {
      const appended = partition.append({ value: 'x' }, { acks: 0, expectedOffset })
      await expect(appended).rejects.toThrow(
        new TypeError(`expectedOffset (${expectedOffset}) needs acks 1 or "all", got acks 0`),
      )
    }
    expect(partition.logEndOffset).toBe(0)
  })

  it('rejects all appends of a write to a full disk, and accepts appends again when there is space', async () => {
    const fileSystem = new SimulatedFileSystem()
    const partition = await openPartition({ fileSystem })
    await fill(partition, 2)
    fileSystem.failNext('write', 'ENOSPC')
    const failed = [partition.append({ value: 'lost' }), partition.append({ value: 'lost too' })]
    for (const each of await Promise.allSettled(failed)) {
      expect(each).toMatchObject({ reason: { code: 'STORAGE_ERROR', outcome: 'not-written' } })
    }
    expect(await partition.append({ value: 'v2' })).toMatchObject({ baseOffset: 2 })
    expect(textsOf(await partition.read(0))).toEqual(['v0', 'v1', 'v2'])
  })

  it('rejects appends after a failed sync, and still reads what was durable before', async () => {
    const fileSystem = new SimulatedFileSystem()
    const partition = await openPartition({ fileSystem })
    await fill(partition, 2)
    fileSystem.failNext('datasync', 'EIO')
    const unknown = partition.append({ value: 'who knows' })
    await expect(unknown).rejects.toThrow(StorageError)
    await expect(unknown).rejects.toMatchObject({ outcome: 'unknown' })
    await expect(partition.append({ value: 'x' })).rejects.toMatchObject({ outcome: 'not-written' })
    expect(partition.highWatermark).toBe(2)
    expect(textsOf(await partition.read(0))).toEqual(['v0', 'v1'])
  })

  it('rejects with outcome unknown when a flush fails between the write and the sync of the append', async () => {
    const fileSystem = new SimulatedFileSystem()
    const partition = await openPartition({ fileSystem })
    await fill(partition, 2)
    fileSystem.failNext('datasync', 'EIO')
    const appended = partition.append({ value: 'who knows' })
    // It is queued after the append's write, and before the append's sync.
    const flushed = partition.log.appendBatches([]).catch(() => partition.log.flush())
    const outcomes = await Promise.allSettled([appended, flushed])
    expect(outcomes).toMatchObject([
      { reason: { code: 'STORAGE_ERROR', outcome: 'unknown' } },
      { reason: { code: 'STORAGE_ERROR', outcome: 'unknown' } },
    ])
  })

  it('moves the high watermark back when a failed sync loses records that were visible', async () => {
    const fileSystem = new SimulatedFileSystem()
    const partition = await openPartition({ fileSystem, config: { flushMessages: 100 } })
    await fill(partition, 3)
    await partition.flush()
    await fill(partition, 2)
    expect(partition.highWatermark).toBe(5)
    fileSystem.failNext('datasync', 'EIO')
    await expect(partition.flush()).rejects.toMatchObject({ outcome: 'unknown' })
    expect(partition).toMatchObject({ highWatermark: 3, logEndOffset: 3 })
    const seen: number[] = []
    for await (const record of partition.records({ until: 'end' })) seen.push(record.offset)
    expect(seen).toEqual([0, 1, 2])
  })

  it('reads only the records that exist after its log was truncated and has grown again', async () => {
    const partition = await openPartition()
    await partition.append([{ value: 'a' }])
    await partition.append([{ value: 'b' }, { value: 'c' }])
    await partition.append([{ value: 'd' }])
    await partition.log.truncateTo(2)
    expect(textsOf(await partition.read(0))).toEqual(['a'])
    expect(textsOf(await partition.read(1))).toEqual([])
    await partition.append([{ value: 'e' }])
    expect(textsOf(await partition.read(0))).toEqual(['a', 'e'])
    expect(textsOf(await partition.read(1))).toEqual(['e'])
    expect((await partition.read(2))[0]).toMatchObject({ offset: 2 })
  })

  it.each([1, 2, 3, 4])(
    'reads no truncated records after its log was truncated and got %d records directly',
    async (count) => {
      const partition = await openPartition()
      for (const value of ['a', 'b', 'c', 'd']) await partition.append({ value })
      await partition.log.truncateTo(2)
      const values = Array.from({ length: count }, (_, each) => `new ${2 + each}`)
      for (const value of values) {
        await partition.log.append([{ value }])
        // Records appended directly to the log become visible with the next append.
        expect(partition.highWatermark).toBe(2)
        expect(textsOf(await partition.read(0))).toEqual(['a', 'b'])
      }
      await partition.append({ value: 'last' })
      const texts = ['a', 'b', ...values, 'last']
      expect(textsOf(await partition.read(0))).toEqual(texts)
      expect(textsOf(await partition.read(2, { maxRecords: 2 }))).toEqual(texts.slice(2, 4))
      expect(partition.highWatermark).toBe(texts.length)
    },
  )

  it('hides records in place of truncated ones until they are durable', async () => {
    const fileSystem = new SimulatedFileSystem({ completion: 'awaited' })
    const partition = await openPartition({ fileSystem })
    await fill(partition, 4)
    await partition.log.truncateTo(2)
    let isDurable = false
    const durable = partition.append({ value: 'new' }).then(() => (isDurable = true))
    await partition.append({ value: 'behind' }, { acks: 1 })
    expect({ isDurable, end: partition.highWatermark }).toEqual({ isDurable: false, end: 2 })
    await durable
    expect(partition.highWatermark).toBe(4)
  })

  it('accepts a deleteRecords below what another call has deleted meanwhile', async () => {
    const partition = await openPartition()
    await fill(partition, 5)
    await Promise.all([partition.deleteRecords(4), partition.deleteRecords(2)])
    expect(partition.logStartOffset).toBe(4)
  })

  it('rejects an append with LockLostError and writes nothing once the lock is lost', async () => {
    let isOwned = true
    const partition = await openPartition({ isOwned: () => isOwned })
    await fill(partition, 1)
    isOwned = false
    const refused = partition.append({ value: 'x' })
    await expect(refused).rejects.toThrow(LockLostError)
    await expect(refused).rejects.toMatchObject({ outcome: 'not-written' })
    expect(textsOf(await partition.read(0))).toEqual(['v0'])
  })

  it.each([
    ['written', 1],
    ['synced', 2],
  ])(
    'rejects with outcome unknown when the lock is lost while the append is %s',
    async (_, questions) => {
      let left = questions
      const partition = await openPartition({ isOwned: () => (left -= 1) >= 0 })
      const lost = partition.append({ value: 'x' })
      await expect(lost).rejects.toThrow(LockLostError)
      await expect(lost).rejects.toMatchObject({ outcome: 'unknown' })
      expect(partition.highWatermark).toBe(0)
    },
  )

  it('rejects with outcome unknown when the lock is lost during a sync of the thread pool', async () => {
    const fileSystem = new SimulatedFileSystem()
    let isOwned = true
    let isLosing = false
    const open = fileSystem.open.bind(fileSystem)
    fileSystem.open = async (path, mode) => {
      const file = await open(path, mode)
      const datasync = file.datasync.bind(file)
      file.datasyncNow = () => false
      file.datasync = async () => {
        await datasync()
        if (isLosing) isOwned = false
      }
      return file
    }
    const partition = await openPartition({ fileSystem, isOwned: () => isOwned })
    await fill(partition, 1)
    isLosing = true
    const lost = partition.append({ value: 'x' })
    await expect(lost).rejects.toThrow(LockLostError)
    await expect(lost).rejects.toMatchObject({ outcome: 'unknown' })
  })

  it('settles the pending appends when it is closed, and rejects later ones', async () => {
    const partition = await openPartition()
    const appended = partition.append({ value: 'in time' })
    const closed = partition.close(CLOSED)
    await expect(partition.append({ value: 'too late' })).rejects.toBe(CLOSED)
    await closed
    await expect(appended).resolves.toMatchObject({ baseOffset: 0 })
  })
})

describe('records that take time to encode', () => {
  it('keep their place in the order of appends', async () => {
    const partition = await openPartition({ config: { compressionType: 'gzip' } })
    const large = { value: 'x'.repeat(200_000) }
    const results = await Promise.all([
      partition.append(large),
      partition.append({ value: 'small' }),
      partition.append([{ value: 'not', headers: 5 as never }]).catch((error: unknown) => error),
      partition.append(large),
    ])
    expect(results).toMatchObject([
      { baseOffset: 0 },
      { baseOffset: 1 },
      expect.any(TypeError),
      { baseOffset: 2 },
    ])
    const values = (await partition.read(0)).map((record) => record.value?.length)
    expect(values).toEqual([200_000, 5, 200_000])
  })

  it('are all appended even if they are too large together for one write', async () => {
    const partition = await openPartition()
    const value = Buffer.alloc(900_000)
    await Promise.all(Array.from({ length: 12 }, () => partition.append({ value })))
    expect(partition.highWatermark).toBe(12)
  })
})

describe('reading a partition', () => {
  it.each([0, 1, 2, 7])(
    'returns the same records from memory and from disk, with %i recent batches',
    async (recent) => {
      const partition = await openPartition({
        recentBytes: recent * 75,
        config: { segmentBytes: 200, indexIntervalBytes: 32 },
      })
      await fill(partition, 10)
      for (let offset = 0; offset <= 10; offset += 1) {
        const expected = Array.from({ length: 10 - offset }, (_, each) => `v${offset + each}`)
        const records = []
        for (let at = offset; at < 10;) {
          const some = await partition.read(at)
          records.push(...some)
          at = (some.at(-1)?.offset ?? at) + 1
        }
        expect(textsOf(records)).toEqual(expected)
      }
    },
  )

  it('returns whole batches up to maxBytes, but at least one however large', async () => {
    const partition = await openPartition()
    await fill(partition, 5)
    expect(await partition.read(0, { maxBytes: 1 })).toHaveLength(1)
    expect(await partition.read(0, { maxBytes: 150 })).toHaveLength(2)
  })

  it('rejects offsets outside of the log, and returns nothing at its end', async () => {
    const partition = await openPartition()
    await fill(partition, 3)
    await expect(partition.read(4)).rejects.toThrow(OffsetOutOfRangeError)
    await expect(partition.read(4)).rejects.toMatchObject({
      offset: 4,
      logStartOffset: 0,
      logEndOffset: 3,
    })
    await expect(partition.read(-1)).rejects.toThrow(RangeError)
    await expect(partition.read(1.5)).rejects.toThrow(RangeError)
    await expect(partition.read('0' as never)).rejects.toThrow(TypeError)
    await expect(partition.read(0, { maxBytes: 0 })).rejects.toThrow(RangeError)
    expect(await partition.read(3)).toEqual([])
  })

  it('returns the records before a damaged batch, and rejects with its position after them', async () => {
    const fileSystem = new SimulatedFileSystem()
    const partition = await openPartition({ fileSystem, recentBytes: 0 })
    await fill(partition, 3)
    fileSystem.flipBit('/data/orders-0/00000000000000000000.log', 80, 0)
    expect(textsOf(await partition.read(0))).toEqual(['v0'])
    await expect(partition.read(1)).rejects.toThrow(CorruptRecordError)
    await expect(partition.read(1)).rejects.toMatchObject({ position: 72, firstOffset: 1 })
  })

  it('rejects a batch that does not match its checksum', async () => {
    const fileSystem = new SimulatedFileSystem()
    const partition = await openPartition({ fileSystem, recentBytes: 0 })
    await fill(partition, 3)
    const path = '/data/orders-0/00000000000000000000.log'
    fileSystem.flipBit(path, fileSystem.readFile(path).indexOf('v1'), 0)
    await expect(partition.read(1)).rejects.toThrow(CorruptRecordError)
  })

  it('finds the offset of the first record with at least the given timestamp', async () => {
    const partition = await openPartition()
    for (const timestamp of [1000, 3000, 2000, 5000])
      await partition.append({ value: 'x', timestamp })
    const found = [0, 1000, 1001, 3001, 5001].map((time) => partition.offsetForTimestamp(time))
    expect(await Promise.all(found)).toEqual([0, 0, 1, 3, null])
    await expect(partition.offsetForTimestamp(-1)).rejects.toThrow(RangeError)
  })

  it('deletes records below an offset, even inside a segment, and for a reopened partition too', async () => {
    const fileSystem = new SimulatedFileSystem()
    const config = { segmentBytes: 200 }
    const partition = await openPartition({ fileSystem, config })
    await fill(partition, 6)
    await partition.deleteRecords(4)
    expect(partition.logStartOffset).toBe(4)
    await expect(partition.read(3)).rejects.toThrow(OffsetOutOfRangeError)
    expect(textsOf(await partition.read(4))).toEqual(['v4', 'v5'])
    expect(partition.log.segments.map((segment) => segment.baseOffset)).toEqual([4])
    await partition.deleteRecords(1)
    await expect(partition.deleteRecords(7)).rejects.toThrow(OffsetOutOfRangeError)
    await partition.close(CLOSED)
    const again = await openPartition({ fileSystem, config })
    expect(again.logStartOffset).toBe(4)
    await again.deleteRecords(-1)
    expect([again.logStartOffset, again.logEndOffset]).toEqual([6, 6])
  })

  it('rejects deleteRecords in a compacted topic', async () => {
    const partition = await openPartition({ config: { cleanupPolicy: 'compact' } })
    await expect(partition.deleteRecords(0)).rejects.toThrow(PolicyViolationError)
  })

  it('iterates from an offset to the end, or to the offset until, and stops there', async () => {
    const partition = await openPartition({ config: { segmentBytes: 200 } })
    await fill(partition, 7)
    const seen: number[] = []
    for await (const record of partition.records({ from: 2, until: 'end' }))
      seen.push(record.offset)
    expect(seen).toEqual([2, 3, 4, 5, 6])
    const until: number[] = []
    for await (const record of partition.records({ until: 3 })) until.push(record.offset)
    expect(until).toEqual([0, 1, 2])
    for await (const record of partition.records({ from: 'latest', until: 'end' })) {
      expect.unreachable(`record ${record.offset} is beyond the end`)
    }
  })

  it('continues an iteration with records that are appended meanwhile', async () => {
    const partition = await openPartition()
    await fill(partition, 2)
    const seen: (string | undefined)[] = []
    for await (const record of partition.records()) {
      seen.push(record.value?.toString())
      if (seen.length < 5) void partition.append({ value: `more ${seen.length}` })
      else break
    }
    expect(seen).toEqual(['v0', 'v1', 'more 1', 'more 2', 'more 3'])
  })

  it('rejects an iteration with the reason of its signal', async () => {
    const partition = await openPartition()
    await fill(partition, 1)
    const controller = new AbortController()
    const reason = new Error('enough')
    const run = async (): Promise<void> => {
      for await (const record of partition.records({ signal: controller.signal })) {
        expect(record.offset).toBe(0)
        queueMicrotask(() => {
          controller.abort(reason)
        })
      }
    }
    await expect(run()).rejects.toBe(reason)
  })
})

describe('waiting for records', () => {
  it('resolves a fetch at the end of the log with the next append', async () => {
    const partition = await openPartition()
    await fill(partition, 1)
    const waiting = partition.fetch(1, { maxWaitMs: 10_000 })
    await partition.append({ value: 'next' })
    expect(textsOf(await waiting)).toEqual(['next'])
  })

  it('resolves a fetch only when minBytes are there', async () => {
    const clock = new ManualClock()
    const partition = await openPartition({ clock })
    let isDone = false
    const waiting = partition.fetch(0, { minBytes: 200, maxWaitMs: 10_000 }).finally(() => {
      isDone = true
    })
    await fill(partition, 2)
    await clock.advance(1)
    expect(isDone).toBe(false)
    await fill(partition, 1)
    expect(textsOf(await waiting)).toEqual(['v0', 'v1', 'v0'])
    expect(clock.pendingTimers).toBe(0)
  })

  it.each<[string, { minBytes: number; maxBytes?: number }, number]>([
    ['the end of its segment', { minBytes: 500 }, 4],
    ['a limit', { minBytes: 200, maxBytes: 200 }, 2],
  ])('waits for no more bytes than one read can return: up to %s', async (_, limits, count) => {
    const clock = new ManualClock()
    const config = { segmentBytes: 300 }
    const partition = await openPartition({ clock, config, recentBytes: 0, readCacheBytes: 0 })
    await fill(partition, 9)
    let found: number | null = null
    const fetching = partition.fetch(0, { ...limits, maxWaitMs: 10_000 }).then((records) => {
      found = records.length
    })
    await settle()
    expect(found).toBe(count)
    await fetching
    expect(clock.pendingTimers).toBe(0)
  })

  it.each([
    ['meanwhile', 300, 4],
    ['before, with nothing behind it', 100_000, 2],
  ])(
    'stops waiting for minBytes once there are records behind the segment, rolled %s',
    async (_, ...sizes) => {
      const [segmentBytes, count] = sizes
      const clock = new ManualClock()
      const config = { segmentBytes }
      const partition = await openPartition({ clock, config, recentBytes: 0, readCacheBytes: 0 })
      await fill(partition, 2)
      if (count === 2) await partition.log.roll()
      let found: number | null = null
      const fetching = partition
        .fetch(0, { minBytes: 10_000, maxWaitMs: 10_000 })
        .then((records) => {
          found = records.length
        })
      await clock.advance(1)
      await fill(partition, 3)
      await settle()
      expect(found).toBe(count)
      await fetching
    },
  )

  it('returns all of minBytes if one read can return them', async () => {
    const partition = await openPartition()
    await fill(partition, 500)
    const records = await partition.fetch(0, { minBytes: 30_000, maxWaitMs: 10_000 })
    expect(records.length).toBeGreaterThan(400)
  })

  it('returns what there is when maxWaitMs have elapsed', async () => {
    const clock = new ManualClock()
    const partition = await openPartition({ clock })
    const empty = partition.fetch(0, { maxWaitMs: 100 })
    await clock.advance(100)
    expect(await empty).toEqual([])
    await fill(partition, 1)
    const some = partition.fetch(0, { minBytes: 1000, maxWaitMs: 100 })
    await clock.advance(100)
    expect(textsOf(await some)).toEqual(['v0'])
  })

  it('rejects with the reason of the signal, before and while it waits', async () => {
    const clock = new ManualClock()
    const partition = await openPartition({ clock })
    const reason = new Error('changed my mind')
    await expect(partition.fetch(0, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    const controller = new AbortController()
    const waiting = partition.fetch(0, { signal: controller.signal, maxWaitMs: 10_000 })
    controller.abort(reason)
    await expect(waiting).rejects.toBe(reason)
    expect(clock.pendingTimers).toBe(0)
  })

  it('rejects when the partition is closed, and leaves no timer', async () => {
    const clock = new ManualClock()
    const partition = await openPartition({ clock })
    const waiting = partition.fetch(0, { maxWaitMs: 10_000 })
    const closed = partition.close(CLOSED)
    await expect(waiting).rejects.toBe(CLOSED)
    await closed
    expect(clock.pendingTimers).toBe(0)
    await expect(partition.fetch(0)).rejects.toBe(CLOSED)
  })

  it('rejects when the records at its offset are deleted', async () => {
    const partition = await openPartition()
    await fill(partition, 3)
    const waiting = partition.fetch(0, { minBytes: 10_000, maxWaitMs: 10_000 })
    await partition.deleteRecords(2)
    await expect(waiting).rejects.toThrow(OffsetOutOfRangeError)
  })

  it('hides records until they are durable', async () => {
    const { fileSystem, hold } = heldSyncs()
    const partition = await openPartition({ fileSystem })
    const release = hold()
    const waiting = partition.fetch(0, { maxWaitMs: 10_000 })
    const appended = partition.append({ value: 'not yet' })
    await settle()
    expect([partition.logEndOffset, partition.highWatermark]).toEqual([1, 0])
    expect(await partition.read(0)).toEqual([])
    release()
    await appended
    expect(await waiting).toHaveLength(1)
  })

  it('never shows records whose sync has failed', async () => {
    const fileSystem = new SimulatedFileSystem({ completion: 'awaited' })
    const partition = await openPartition({ fileSystem })
    fileSystem.failNext('datasync', 'EIO')
    const waiting = partition.fetch(0, { maxWaitMs: 10_000 })
    await expect(partition.append({ value: 'never seen' })).rejects.toThrow(StorageError)
    const [fetched] = await Promise.allSettled([waiting, partition.close(CLOSED)])
    expect(fetched).toEqual({ status: 'rejected', reason: CLOSED })
  })

  it.each([
    [{ minBytes: -1 }, RangeError],
    [{ maxBytes: 0 }, RangeError],
    [{ maxWaitMs: '5' }, TypeError],
    [{ maxWait: 5 }, TypeError],
  ])('rejects options %j', async (options, error) => {
    const partition = await openPartition()
    await expect(partition.fetch(0, options as never)).rejects.toThrow(error)
  })

  it.each([1, 2, 3])(
    'wakes each of 1,000 waiters over 100 partitions exactly once, whatever ends the wait, seed %i',
    async (seed) => {
      const random = new SeededRandom(seed)
      const fileSystem = new SimulatedFileSystem()
      const clock = new ManualClock()
      const partitions = await Promise.all(
        Array.from({ length: 100 }, (_, index) => openPartition({ fileSystem, clock, index })),
      )
      const closed = new ClosedError('the test closes it')
      const outcomes: string[][] = Array.from({ length: 1000 }, () => [])
      const aborts = outcomes.map(() => new AbortController())
      const waiters = outcomes.map((outcome, each) => {
        const { signal } = aborts[each] ?? new AbortController()
        const partition = partitions[each % 100]
        if (partition === undefined) throw new Error('no such partition')
        return partition.fetch(0, { maxWaitMs: 60_000, signal }).then(
          (records) => outcome.push(`${records.length} records`),
          (error: unknown) => outcome.push(error === closed ? 'closed' : String(error)),
        )
      })
      // Of the partitions 70 get an append, 10 a close, 10 an abort of their waiters, 10 nothing.
      const ends = partitions.flatMap((partition, index): (() => Promise<unknown>)[] => {
        const ofPartition = aborts.filter((_, each) => each % 100 === index)
        if (index < 70) return [() => partition.append({ value: 'wake up' })]
        if (index < 80) return [() => partition.close(closed)]
        if (index < 90) {
          return ofPartition.map((abort) => () => {
            abort.abort('enough')
            return Promise.resolve()
          })
        }
        return []
      })
      const order = ends.map((end) => ({ end, at: random.integer(1000) }))
      order.sort((left, right) => left.at - right.at)
      const ended: Promise<unknown>[] = []
      for (const { end } of order) {
        ended.push(end())
        for (let turns = random.integer(4); turns > 0; turns -= 1) await Promise.resolve()
      }
      await Promise.all(ended)
      // Each is served, or begins to wait, in a turn of the event loop that has time for it.
      const served = (): number => outcomes.filter(({ length }) => length > 0).length
      while (served() < 900 || clock.pendingTimers < 100) await nextTurn()
      await clock.advance(60_000)
      await Promise.all(waiters)
      const expected = (index: number): string => {
        if (index < 70) return '1 records'
        if (index < 80) return 'closed'
        return index < 90 ? 'enough' : '0 records'
      }
      expect(outcomes).toEqual(outcomes.map((_, each) => [expected(each % 100)]))
      expect(clock.pendingTimers).toBe(0)
    },
  )
})

it('highWatermark does not ask the log whether it is writable', async () => {
  const partition = await openPartition()
  await fill(partition, 3)
  const asking = vi.spyOn(partition.log, 'isWritable', 'get')
  expect(partition.highWatermark).toBe(3)
  expect(asking).not.toHaveBeenCalled()
  await partition.close(CLOSED)
})

it('ensureDurable returns null instead of a promise for records that are already durable', async () => {
  const partition = await openPartition({ config: { flushMessages: 1000 } })
  await fill(partition, 3)
  const ensured = partition.ensureDurable(3, null)
  expect(ensured).toBeInstanceOf(Promise)
  await ensured
  expect(partition.ensureDurable(3, null)).toBeNull()
  await partition.close(CLOSED)
})
