import { afterEach, describe, expect, it, vi } from 'vitest'
import type { Partition } from '../../lib/broker/partition.ts'
import { ClosedError, CorruptRecordError, OffsetOutOfRangeError } from '../../lib/errors.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { RecordBatchBuilder } from '../../lib/record/record-batch-builder.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { bytesOf } from '../storage/log-fixtures.ts'
import { holdTurns, type HeldTurns } from '../helpers/held-turns.ts'
import { appendBatches, openPartition, textsOf } from '../helpers/partitions.ts'
import { settle } from '../helpers/settle.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

/** Without batches in memory, so that every read goes to the disk. */
const FROM_DISK = { recentBytes: 0 }

/** `v0` to `v<count - 1>`, with `perBatch` in each batch. */
async function fill(partition: Partition, count: number, perBatch: number): Promise<void> {
  for (let from = 0; from < count; from += perBatch) {
    const size = Math.min(perBatch, count - from)
    await partition.append(
      Array.from({ length: size }, (_, each) => ({ value: `v${from + each}` })),
    )
  }
}

const texts = (from: number, count: number): string[] =>
  Array.from({ length: count }, (_, each) => `v${from + each}`)

/** A batch that takes an offset but holds nothing for readers, as at a transaction's end. */
function markerBatch(): Buffer {
  const builder = new RecordBatchBuilder({ isControl: true, isTransactional: true })
  builder.append(-1, Buffer.from([0, 0, 0, 1]), Buffer.alloc(6))
  return builder.buildUncompressed()
}

describe('a fetch at transaction markers that end the log', () => {
  it.each([
    ['in memory', {}, {}],
    ['on the disk', FROM_DISK, {}],
    ['of a few records', FROM_DISK, { maxRecords: 2 }],
  ])('waits for the records behind them, %s', async (_, setup, options) => {
    const clock = new ManualClock()
    const partition = await openPartition({ ...setup, clock })
    await fill(partition, 2, 2)
    await appendBatches(partition, [markerBatch(), markerBatch()])
    expect(partition.highWatermark).toBe(4)
    const waiting = partition.fetch(2, { ...options, maxWaitMs: 10_000 })
    await partition.append({ value: 'next' })
    expect(textsOf(await waiting)).toEqual(['next'])
    expect(await partition.fetch(2, { ...options, maxWaitMs: 0 })).toHaveLength(1)
    await appendBatches(partition, [markerBatch()])
    expect(await partition.fetch(5, { ...options, maxWaitMs: 0 })).toEqual([])
    expect(clock.pendingTimers).toBe(0)
  })
})

describe('maxRecords', () => {
  it.each([
    ['in memory', {}],
    ['on the disk', FROM_DISK],
    ['in many segments', { ...FROM_DISK, config: { segmentBytes: 200 } }],
    ['in compressed batches', { config: { compressionType: 'gzip' as const } }],
  ])('is the number of records that a read returns if there are as many, %s', async (_, setup) => {
    const partition = await openPartition(setup)
    await fill(partition, 20, 3)
    for (let offset = 0; offset <= 20; offset += 1) {
      for (const maxRecords of [1, 2, 5, 11, 30]) {
        const read = await partition.read(offset, { maxRecords })
        expect(textsOf(read)).toEqual(texts(offset, Math.min(maxRecords, 20 - offset)))
      }
    }
  })

  it('counts records rather than offsets, and maxBytes still applies', async () => {
    const fileSystem = new SimulatedFileSystem()
    await fileSystem.createDirectory('/data/orders-0')
    const batches = [0, 5, 100, 101, 900].map((baseOffset) =>
      bytesOf({ baseOffset, values: [`v${baseOffset}`] }),
    )
    fileSystem.writeFile(`/data/orders-0/${'0'.repeat(20)}.log`, Buffer.concat(batches))
    const partition = await openPartition({ fileSystem, ...FROM_DISK })
    const read = async (maxRecords: number, maxBytes = 10_000): Promise<number[]> =>
      (await partition.read(1, { maxRecords, maxBytes })).map(({ offset }) => offset)
    expect(await read(1)).toEqual([5])
    expect(await read(3)).toEqual([5, 100, 101])
    expect(await read(9)).toEqual([5, 100, 101, 900])
    const sizeBytes = (batches[1]?.length ?? 0) + (batches[2]?.length ?? 0)
    expect(await read(9, sizeBytes)).toEqual([5, 100])
    expect(await read(9, sizeBytes - 1)).toEqual([5])
  })

  it('ends the wait of a fetch when that many records are there, even below minBytes', async () => {
    const clock = new ManualClock()
    const partition = await openPartition({ clock })
    await fill(partition, 2, 1)
    const waiting = partition.fetch(0, { maxRecords: 3, minBytes: 10_000, maxWaitMs: 60_000 })
    await partition.append({ value: 'v2' })
    await partition.append({ value: 'v3' })
    expect(textsOf(await waiting)).toEqual(texts(0, 3))
    expect(clock.pendingTimers).toBe(0)
  })

  it('counts records that are appended one by one, and ends the wait of a fetch with the last of them', async () => {
    const clock = new ManualClock()
    const partition = await openPartition({ clock, ...FROM_DISK })
    await fill(partition, 1, 1)
    let found: unknown = null
    const limits = { maxRecords: 3, minBytes: 10_000, maxWaitMs: 60_000 }
    const fetching = partition.fetch(0, limits).then((records) => (found = textsOf(records)))
    for (const value of ['v1', 'v2']) {
      await clock.advance(1)
      expect(found).toBeNull()
      await partition.append({ value })
    }
    await clock.advance(1)
    expect(found).toEqual(texts(0, 3))
    await fetching
  })

  it('keeps a read from reading more than the batches that hold the records', async () => {
    const fileSystem = new SimulatedFileSystem()
    const partition = await openPartition({ fileSystem, ...FROM_DISK })
    const value = Buffer.alloc(10_000)
    for (let each = 0; each < 20; each += 1) await partition.append({ value })
    await partition.read(7, { maxRecords: 1 })
    const before = fileSystem.operations.length
    expect(await partition.read(7, { maxRecords: 1 })).toMatchObject([{ offset: 7 }])
    const lines = fileSystem.operations.slice(before)
    expect(lines).toHaveLength(1)
    expect(Number(/\+(\d+)$/.exec(lines[0] ?? '')?.[1])).toBeLessThan(10_200)
  })

  it.each([0, -1, 1.5, Number.NaN])('is rejected if it is %d', async (maxRecords) => {
    const partition = await openPartition()
    await expect(partition.read(0, { maxRecords })).rejects.toThrow('maxRecords')
  })
})

describe('an iteration', () => {
  it('answers overlapping calls of next in their order', async () => {
    const partition = await openPartition(FROM_DISK)
    await fill(partition, 5, 2)
    const records = partition.records({ until: 'end' })
    const results = await Promise.all(Array.from({ length: 7 }, () => records.next()))
    expect(results.map(({ value }) => value?.offset)).toEqual([0, 1, 2, 3, 4, undefined, undefined])
    expect(results.map(({ done }) => done)).toEqual([...Array<boolean>(5).fill(false), true, true])
  })

  it('is done after return, but answers the calls before it', async () => {
    const partition = await openPartition()
    await fill(partition, 5, 5)
    const records = partition.records()
    const calls = [records.next(), records.return(), records.next()]
    expect((await Promise.all(calls)).map(({ done }) => done)).toEqual([false, true, true])
    expect(await records.next()).toEqual({ done: true, value: undefined })
  })

  it('rejects with the error that is passed to throw, and is done then', async () => {
    const partition = await openPartition()
    await fill(partition, 2, 2)
    const records = partition.records()
    await records.next()
    const reason = new Error('no more')
    await expect(records.throw(reason)).rejects.toBe(reason)
    expect(await records.next()).toEqual({ done: true, value: undefined })
  })

  it('rejects with the reason of its signal even between two records of a batch', async () => {
    const partition = await openPartition()
    await fill(partition, 5, 5)
    const controller = new AbortController()
    const records = partition.records({ signal: controller.signal })
    expect(await records.next()).toMatchObject({ value: { offset: 0 } })
    const reason = new Error('enough')
    controller.abort(reason)
    await expect(records.next()).rejects.toBe(reason)
    expect(await records.next()).toEqual({ done: true, value: undefined })
  })

  it('lets the event loop turn within a large batch, and then reads the rest', async () => {
    const partition = await openPartition()
    await fill(partition, 500, 500)
    const taken: number[] = []
    const held: HeldTurns[] = []
    const iterating = (async () => {
      for await (const { offset } of partition.records({ until: 'end' })) {
        // Waits before this record are not the ones under test.
        if (offset === 0) held.push(holdTurns())
        taken.push(offset)
      }
    })()
    await settle()
    expect(taken.length).toBeGreaterThan(0)
    expect(taken.length).toBeLessThan(128)
    for (const turns of held) turns.release()
    await iterating
    expect(taken).toEqual(Array.from({ length: 500 }, (_, offset) => offset))
  })

  it('leaves no timer behind when it is disposed of', async () => {
    const clock = new ManualClock()
    const partition = await openPartition({ clock })
    await fill(partition, 1, 1)
    const records = partition.records()
    await records.next()
    await records[Symbol.asyncDispose]()
    expect(clock.pendingTimers).toBe(0)
    expect(await records.next()).toEqual({ done: true, value: undefined })
  })

  it('rejects when the partition is closed, and is done then', async () => {
    const partition = await openPartition()
    await fill(partition, 1, 1)
    const records = partition.records()
    await records.next()
    const waiting = records.next()
    await partition.close(new ClosedError('the test is over'))
    await expect(waiting).rejects.toThrow(ClosedError)
    expect(await records.next()).toEqual({ done: true, value: undefined })
  })
})

describe('a fetch', () => {
  it('starts a timer only if there is nothing to read', async () => {
    let timers = 0
    class CountingClock extends ManualClock {
      override startTimer(...args: Parameters<ManualClock['startTimer']>) {
        timers += 1
        return super.startTimer(...args)
      }
    }
    const partition = await openPartition({ clock: new CountingClock() })
    await fill(partition, 1, 1)
    const before = timers
    expect(await partition.fetch(0)).toHaveLength(1)
    expect(timers).toBe(before)
    const waiting = partition.fetch(1)
    // On a busy machine it may have to yield to the event loop before it checks.
    while (timers === before) await new Promise(setImmediate)
    await fill(partition, 1, 1)
    expect(await waiting).toHaveLength(1)
    expect(timers).toBe(before + 1)
  })

  it('that waits for many bytes reads them at most twice, however many appends write them', async () => {
    const fileSystem = new SimulatedFileSystem()
    const clock = new ManualClock()
    const onDisk = { ...FROM_DISK, readCacheBytes: 0 }
    const partition = await openPartition({ fileSystem, clock, ...onDisk })
    const value = Buffer.alloc(10_000)
    const before = fileSystem.operations.length
    const waiting = partition.fetch(0, { minBytes: 500_000, maxWaitMs: 60_000 })
    for (let each = 0; each < 50; each += 1) {
      await settle()
      await partition.append({ value })
    }
    expect(await waiting).toHaveLength(50)
    const readBytes = fileSystem.operations
      .slice(before)
      .filter((line) => line.includes(' read '))
      .reduce((sum, line) => sum + Number(/\+(\d+)$/.exec(line)?.[1]), 0)
    expect(readBytes).toBeLessThanOrEqual(2 * partition.log.size)
    expect(clock.pendingTimers).toBe(0)
  })

  it('that waits for many bytes returns as soon as minBytes are there', async () => {
    const clock = new ManualClock()
    const partition = await openPartition({ clock, ...FROM_DISK })
    await fill(partition, 3, 1)
    const minBytes = partition.log.size
    await partition.deleteRecords(3)
    let found: unknown = null
    const fetching = partition
      .fetch(3, { minBytes, maxWaitMs: 60_000 })
      .then((records) => (found = textsOf(records)))
    for (const value of ['v0', 'v1', 'v2']) {
      await clock.advance(1)
      expect(found).toBeNull()
      await partition.append({ value })
    }
    await clock.advance(1)
    expect(found).toEqual(texts(0, 3))
    await fetching
  })

  it('that waits for many bytes rejects when records that it has counted are deleted', async () => {
    const partition = await openPartition()
    await fill(partition, 3, 1)
    const waiting = partition.fetch(0, { minBytes: 10_000, maxWaitMs: 60_000 })
    await fill(partition, 1, 1)
    await partition.deleteRecords(2)
    await expect(waiting).rejects.toThrow(OffsetOutOfRangeError)
  })

  it('that waits for many bytes rejects when the disk fails to read the records to count', async () => {
    const fileSystem = new SimulatedFileSystem()
    const clock = new ManualClock()
    const partition = await openPartition({ fileSystem, clock, ...FROM_DISK })
    await fill(partition, 3, 1)
    let told: unknown = null
    const fetching = partition
      .fetch(0, { minBytes: 10_000, maxWaitMs: 60_000 })
      .catch((error: unknown) => (told = error))
    await clock.advance(1)
    fileSystem.failNext('read', 'EIO', { persistent: true })
    await fill(partition, 1, 1)
    await clock.advance(1)
    expect(told).toMatchObject({ cause: { code: 'EIO' } })
    await fetching
    expect(clock.pendingTimers).toBe(0)
  })

  it('that waits for many bytes returns the records before damage at once, then rejects at the damage', async () => {
    const fileSystem = new SimulatedFileSystem()
    const setup = { fileSystem, clock: new ManualClock(), ...FROM_DISK }
    const partition = await openPartition(setup)
    await fill(partition, 3, 1)
    await partition.close(new ClosedError('closed'))
    const path = '/data/orders-0/00000000000000000000.log'
    fileSystem.flipBit(path, fileSystem.readFile(path).length - 1, 0)
    const damaged = await openPartition(setup)
    const options = { minBytes: 10_000, maxWaitMs: 60_000 }
    expect(textsOf(await damaged.fetch(0, options))).toEqual(texts(0, 2))
    await expect(damaged.fetch(2, options)).rejects.toThrow(CorruptRecordError)
  })

  it('that waits for many bytes returns what there is when maxWaitMs are over', async () => {
    const clock = new ManualClock()
    const partition = await openPartition({ clock, ...FROM_DISK })
    await fill(partition, 2, 1)
    const waiting = partition.fetch(0, { minBytes: 10_000, maxWaitMs: 500 })
    await fill(partition, 2, 1)
    await clock.advance(500)
    expect(await waiting).toHaveLength(4)
  })
})

describe('a read of a few records during which the log is truncated', () => {
  it.each(['read', 'fetch'] as const)(
    'never returns truncated records followed by those written in their place: %s',
    async (way) => {
      const fileSystem = new SimulatedFileSystem()
      const slow = new SlowRead(fileSystem)
      const config = { segmentBytes: 1000, maxMessageBytes: 900 }
      const partition = await openPartition({ ...FROM_DISK, fileSystem, config })
      const append = (value: string): unknown => partition.append({ value: value.repeat(80) })
      for (let each = 0; each < 20; each += 1) await append('a')
      slow.holdNext()
      const reading = partition[way](0, { maxRecords: 20 })
      await slow.isHeld
      await partition.log.truncateTo(3)
      for (let each = 0; each < 20; each += 1) await append('b')
      slow.letGo()
      const eras = textsOf(await reading)
        .map((text) => text?.[0])
        .join('')
      // Records of the era it began with, or those written after the truncation.
      expect(eras).toMatch(/^(a{4,}|a{0,3}b*)$/)
    },
  )
})

/** Makes one read of a log file wait until it is released. */
class SlowRead {
  isHeld: Promise<void> = Promise.resolve()
  letGo: () => void = () => undefined
  #next: { hold: () => void; until: Promise<void> } | null = null

  constructor(fileSystem: SimulatedFileSystem) {
    const open = fileSystem.open.bind(fileSystem)
    fileSystem.open = async (path, mode) => {
      const file = await open(path, mode)
      const read = file.read.bind(file)
      file.read = async (buffer, position) => {
        const next = path.endsWith('.log') ? this.#next : null
        if (next !== null) {
          this.#next = null
          next.hold()
          await next.until
        }
        return read(buffer, position)
      }
      return file
    }
  }

  holdNext(): void {
    let hold = (): void => undefined
    this.isHeld = new Promise((resolve) => (hold = resolve))
    this.#next = { hold, until: new Promise((resolve) => (this.letGo = resolve)) }
  }
}
