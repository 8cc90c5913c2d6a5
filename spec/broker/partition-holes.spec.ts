import { describe, expect, it, vi } from 'vitest'
import type { Partition } from '../../lib/broker/partition.ts'
import { ClosedError, CorruptRecordError, OffsetOutOfRangeError } from '../../lib/errors.ts'
import type { RecordsOptions } from '../../lib/broker/partition-records.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { openPartition } from '../helpers/partitions.ts'

const CLOSED = new ClosedError('the test is over')
const LOG = /0{20}\.log$/

/**
 * A directory whose first segment held `count` records but has lost those from `keptCount` on,
 * before an empty segment: what a power loss leaves after a roll that did not sync.
 */
async function rolledWithoutSync(
  count: number,
  keptCount: number,
  isOnRecord: boolean,
): Promise<SimulatedFileSystem> {
  const fs = new SimulatedFileSystem({ seed: 1 })
  const partition = await openPartition({ fileSystem: fs })
  let keptBytes = 0
  for (let each = 0; each < count; each += 1) {
    if (each === keptCount) keptBytes = partition.log.size
    await partition.append({ value: `v${each}` })
  }
  await partition.log.roll()
  if (isOnRecord) await partition.log.checkpoint()
  const stopped = fs.restart('process')
  for (const [path, bytes] of stopped.snapshot()) {
    if (LOG.test(path)) stopped.writeFile(path, bytes.subarray(0, keptBytes))
    else if (!isOnRecord && /varve-segments$|checkpoint$/.test(path)) await stopped.unlink(path)
  }
  return stopped
}

async function offsetsOf(partition: Partition, options: RecordsOptions): Promise<number[]> {
  const offsets: number[] = []
  for await (const record of partition.records(options)) offsets.push(record.offset)
  return offsets
}

describe('iteration over a log in which offsets are missing', () => {
  it('ends if the missing offsets are the last, and continues after them with new records', async () => {
    const fileSystem = await rolledWithoutSync(5, 3, false)
    const partition = await openPartition({ fileSystem })
    expect(partition).toMatchObject({ highWatermark: 5 })
    expect(await offsetsOf(partition, { until: 'end' })).toEqual([0, 1, 2])
    expect(await offsetsOf(partition, { from: 4, until: 5 })).toEqual([])
    const later = offsetsOf(partition, { from: 3, until: 6 })
    await partition.append({ value: 'next' })
    expect(await later).toEqual([5])
    await partition.close(CLOSED)
  })

  it('ends if a truncation has removed the only batch, and later reads what is appended', async () => {
    const partition = await openPartition()
    await partition.append([{ value: 'a' }, { value: 'b' }, { value: 'c' }])
    await partition.log.truncateTo(1)
    expect(partition).toMatchObject({ logStartOffset: 0, highWatermark: 1 })
    expect(await offsetsOf(partition, { until: 'end' })).toEqual([])
    await partition.append({ value: 'd' })
    expect(await offsetsOf(partition, { until: 'end' })).toEqual([1])
    await partition.close(CLOSED)
  })

  it('rejects if the missing records are recorded as durable', async () => {
    const fileSystem = await rolledWithoutSync(5, 3, true)
    const partition = await openPartition({ fileSystem })
    await expect(offsetsOf(partition, {})).rejects.toThrow(CorruptRecordError)
    await partition.close(CLOSED)
  })

  it.each<[string, RecordsOptions, number, readonly number[]]>([
    ['all of them', { until: 'end' }, 0, []],
    ['those from its start on', { from: 1, until: 'end' }, 1, []],
    ['those after its first', { from: 1, until: 'end' }, 2, [1]],
  ])('rejects if the records before the end were truncated since: %s', async (...args) => {
    const [, options, cut, offsets] = args
    const clock = new ManualClock()
    const partition = await openPartition({ clock })
    for (const value of ['a', 'b', 'c']) await partition.append({ value })
    const records = partition.records(options)
    await partition.log.truncateTo(cut)
    for (const offset of offsets) expect((await records.next()).value).toMatchObject({ offset })
    const next = expect(records.next()).rejects.toThrow(OffsetOutOfRangeError)
    await clock.advance(1_000)
    await next
    await partition.close(CLOSED)
  })

  it('reads the records that were written in place of truncated ones meanwhile', async () => {
    const partition = await openPartition()
    for (const value of ['a', 'b', 'c']) await partition.append({ value })
    const records = partition.records({ until: 3 })
    expect((await records.next()).value).toMatchObject({ offset: 0 })
    const rest = offsetsOf(partition, { from: 1, until: 3 })
    await partition.log.truncateTo(1)
    await partition.append([{ value: 'x' }, { value: 'y' }])
    expect((await records.next()).value).toMatchObject({ offset: 1 })
    expect(await rest).toEqual([1, 2])
    await partition.close(CLOSED)
  })

  it('skips no record in place of truncated ones that were appended just after it had found nothing', async () => {
    const fileSystem = new SimulatedFileSystem({ completion: 'awaited' })
    const partition = await openPartition({ fileSystem, recentBytes: 0, readCacheBytes: 0 })
    for (const value of ['a', 'b', 'c']) await partition.append({ value })
    const records = partition.records({ from: 1, until: 4 })
    const { reader } = partition.log
    const read = reader.readBatches.bind(reader)
    vi.spyOn(reader, 'readBatches').mockImplementationOnce(async (...args) => {
      await partition.log.truncateTo(1)
      const found = await read(...args)
      await partition.append([{ value: 'x' }, { value: 'y' }, { value: 'z' }])
      return found
    })
    const taken: unknown[] = []
    for await (const { value } of records) taken.push(value?.toString())
    expect(taken).toEqual(['x', 'y', 'z'])
    await partition.close(CLOSED)
  })

  it.each([1, 2])(
    'rejects if records that it has returned were truncated, and skips none in their place: cut at %d',
    async (cut) => {
      const partition = await openPartition()
      for (const value of ['a', 'b', 'c']) await partition.append({ value })
      const records = partition.records({ until: 5 })
      for (const offset of [0, 1, 2]) {
        expect((await records.next()).value).toMatchObject({ offset })
      }
      await partition.log.truncateTo(cut)
      for (const value of ['w', 'x', 'y', 'z']) await partition.append({ value })
      await expect(records.next()).rejects.toThrow(OffsetOutOfRangeError)
      await partition.close(CLOSED)
    },
  )
})
