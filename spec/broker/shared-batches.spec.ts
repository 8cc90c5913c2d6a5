import { afterEach, expect, it, vi } from 'vitest'
import { RecentBatches } from '../../lib/broker/recent-batches.ts'
import { InvalidRecordError, RecordTooLargeError } from '../../lib/errors.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { openPartition, textsOf } from '../helpers/partitions.ts'
import { withoutTurns } from '../helpers/held-turns.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

const TINY_SEGMENT = { segmentBytes: 200, maxMessageBytes: 200 }

/** The base offsets of the batches in the log, found by reading it. */
async function batchesOf(partition: Awaited<ReturnType<typeof openPartition>>): Promise<number[]> {
  const bases: number[] = []
  for (let offset = partition.logStartOffset; offset < partition.highWatermark;) {
    for (const batch of await partition.readBatches(offset, 1)) {
      bases.push(batch.baseOffset)
      offset = batch.nextOffset
    }
  }
  return bases
}

it('puts concurrent appends of single records into one batch, each with its own offset and timestamp', async () => {
  const partition = await openPartition()
  const results = await Promise.all(
    [5, 3, 9].map((timestamp) => partition.append({ value: `v${timestamp}`, timestamp })),
  )
  expect(results).toEqual([
    { baseOffset: 0, lastOffset: 0, timestamp: 5 },
    { baseOffset: 1, lastOffset: 1, timestamp: 3 },
    { baseOffset: 2, lastOffset: 2, timestamp: 9 },
  ])
  expect(await batchesOf(partition)).toEqual([0])
  expect(textsOf(await partition.read(0))).toEqual(['v5', 'v3', 'v9'])
})

it('gives all records of a shared batch the time of the append if the topic uses LogAppendTime', async () => {
  const clock = new ManualClock(70)
  const config = { messageTimestampType: 'LogAppendTime' } as const
  const partition = await openPartition({ clock, config })
  const results = await Promise.all([1, 2].map((timestamp) => partition.append({ timestamp })))
  expect(results.map(({ timestamp }) => timestamp)).toEqual([70, 70])
})

it('keeps arrays and appends with an expectedOffset out of shared batches, in the order of the calls', async () => {
  const partition = await openPartition()
  const results = await Promise.all([
    partition.append({ value: 'a' }),
    partition.append([{ value: 'b' }, { value: 'c' }]),
    partition.append({ value: 'd' }),
    partition.append({ value: 'e' }),
    partition.append({ value: 'f' }, { expectedOffset: 5 }),
    partition.append({ value: 'g' }),
  ])
  expect(results.map(({ baseOffset }) => baseOffset)).toEqual([0, 1, 3, 4, 5, 6])
  expect(await batchesOf(partition)).toEqual([0, 1, 3, 5, 6])
})

it('writes appends that were accepted before the size limits were lowered', async () => {
  const partition = await openPartition()
  const values = ['a', 'b', 'c', 'd'].map((letter) => letter.repeat(80))
  const appended = [
    ...values.map((value) => partition.append({ value })),
    partition.append([{ value: 'a batch' }, { value: 'of its own'.repeat(20) }]),
  ]
  partition.log.config = { ...partition.log.config, ...TINY_SEGMENT }
  expect((await Promise.all(appended)).map(({ baseOffset }) => baseOffset)).toEqual([0, 1, 2, 3, 4])
  await expect(partition.append({ value: 'x'.repeat(200) })).rejects.toThrow(RecordTooLargeError)
  await partition.append({ value: 'fits' })
  expect(textsOf(await partition.read(0)).slice(0, 4)).toEqual(values)
  expect(await batchesOf(partition)).toEqual([0, 4, 6])
  expect(partition.log.segments.map(({ baseOffset }) => baseOffset)).toEqual([0, 4, 6])
})

it('rejects an invalid or too large record, and accepts the others of its shared batch', async () => {
  const partition = await openPartition({ config: TINY_SEGMENT })
  const before = partition.append({ value: 'before' })
  // @ts-expect-error a value must be bytes or text
  const wrong = partition.append({ value: 7 })
  const large = partition.append({ value: Buffer.alloc(300) })
  const after = partition.append({ value: 'after' })
  await expect(wrong).rejects.toThrow(TypeError)
  await expect(large).rejects.toThrow(RecordTooLargeError)
  expect((await before).baseOffset).toBe(0)
  expect((await after).baseOffset).toBe(1)
  expect(await batchesOf(partition)).toEqual([0])
})

it('rejects a record without a key in a compacted topic even with acks 0', async () => {
  const partition = await openPartition({ config: { cleanupPolicy: 'compact' } })
  await expect(partition.append({ value: 'no key' }, { acks: 0 })).rejects.toThrow(
    InvalidRecordError,
  )
})

it('begins another batch when the next record would exceed the size limit of the topic', async () => {
  const partition = await openPartition({ config: TINY_SEGMENT })
  const value = Buffer.alloc(40)
  await Promise.all(Array.from({ length: 7 }, () => partition.append({ value })))
  expect(await batchesOf(partition)).toEqual([0, 2, 4, 6])
})

it('acknowledges each record of a shared batch at its own acks level', async () => {
  withoutTurns()
  const fileSystem = new SimulatedFileSystem({ completion: 'awaited' })
  const partition = await openPartition({ fileSystem })
  const told: string[] = []
  await Promise.all(
    (['all', 1, 0] as const).map(async (acks) => {
      await partition.append({ value: String(acks) }, { acks })
      told.push(String(acks))
    }),
  )
  expect(told).toEqual(['0', '1', 'all'])
  expect(await batchesOf(partition)).toEqual([0])
})

it('rejects all appends of a shared batch when its write fails', async () => {
  const fileSystem = new SimulatedFileSystem()
  const partition = await openPartition({ fileSystem })
  await partition.append({ value: 'there' })
  fileSystem.failNext('write', 'ENOSPC')
  const settled = await Promise.allSettled(['a', 'b'].map((value) => partition.append({ value })))
  expect(settled.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  expect((await partition.append({ value: 'again' })).baseOffset).toBe(1)
})

it('does not keep the memory of a large record for a small one after it', async () => {
  const kept = vi.spyOn(RecentBatches.prototype, 'add')
  const partition = await openPartition()
  await partition.append({ value: Buffer.alloc(500_000) })
  await partition.append({ value: 'small' })
  const [batch] = kept.mock.lastCall?.[0] ?? []
  expect(batch?.baseOffset).toBe(1)
  expect(batch?.buffer.buffer.byteLength).toBeLessThan(200_000)
  kept.mockRestore()
})

it('accepts appends made while the headers of other records are read, and never blocks later ones', async () => {
  const partition = await openPartition()
  for (let round = 0; round < 3; round += 1) {
    const headers = new (class extends Map<string, string> {
      override [Symbol.iterator](): MapIterator<[string, string]> {
        void partition.append({ value: Buffer.alloc(4_000) })
        return super[Symbol.iterator]()
      }
    })()
    const sent = [{ value: 'first' }, ...Array.from({ length: 700 }, () => ({ headers }))]
    await Promise.all(sent.map((record) => partition.append(record)))
  }
  // It would wait forever.
  const taken = await partition.append({ value: 'last' }, { acks: 0 })
  expect(taken.baseOffset).toBe(-1)
})

it('reads the fields of a record only once, even if the record begins another batch', async () => {
  const partition = await openPartition()
  const values = Array.from({ length: 400 }, (_, n) => String(n).padEnd(200))
  let looks = 0
  const appended = values.map((value) => {
    // These can be iterated only once.
    const headers = new Map([['of', value]]).entries()
    const record = {
      get value(): string {
        looks += 1
        return value
      },
      headers,
    }
    return partition.append(record)
  })
  await Promise.all(appended)
  expect((await batchesOf(partition)).length).toBeGreaterThan(1)
  const records = await partition.read(0, { maxBytes: 1_000_000 })
  expect(records.map(({ headers }) => headers.map((each) => String(each.value)))).toEqual(
    values.map((value) => [value]),
  )
  expect(looks).toBe(values.length)
})
