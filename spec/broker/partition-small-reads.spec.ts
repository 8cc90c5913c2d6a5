import { describe, expect, it } from 'vitest'
import { fetchBatches, type FetchResponse } from '../../lib/broker/delayed-fetch.ts'
import type { Partition } from '../../lib/broker/partition.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { openPartition, textsOf } from '../helpers/partitions.ts'

const COUNT = 1200
/** A line of the simulated disk's log for a read, with its size. */
const READ_LINE = / read .*\+(\d+)/
/** Long enough for several batches, each with its index entry. */
const text = (each: number): string => `${each}`.padStart(100, '.')

async function fetchFrom(
  partition: Partition,
  maxBytes: number,
  offset = 0,
): Promise<FetchResponse> {
  const limits = { minBytes: 1, maxBytes, maxWaitMs: 0 }
  const [response] = await fetchBatches(
    new ManualClock(),
    [{ partition, offset, maxBytes }],
    limits,
  )
  if (response === undefined) throw new Error('there is no response')
  return response
}

/** A partition of several batches, which are in memory. */
async function written(fileSystem: SimulatedFileSystem): Promise<Partition> {
  const partition = await openPartition({ fileSystem })
  await partition.append(Array.from({ length: COUNT }, (_, each) => ({ value: text(each) })))
  return partition
}

/** The same partition, reopened, so that it has to read the disk. */
async function reopened(fileSystem = new SimulatedFileSystem()): Promise<Partition> {
  const before = await written(fileSystem)
  await before.log.close()
  return openPartition({ fileSystem })
}

const few = { maxRecords: 3 }
const three = (from: number): string[] => [text(from), text(from + 1), text(from + 2)]

describe('a returned record whose bytes the caller overwrites', () => {
  it.each(['memory', 'the disk'])('does not affect later reads from %s', async (place) => {
    const fileSystem = new SimulatedFileSystem()
    const partition = await (place === 'memory' ? written(fileSystem) : reopened(fileSystem))
    for (let round = 0; round < 4; round += 1) {
      for (const options of [few, {}]) {
        const records = await partition.read(300, options)
        expect(textsOf(records.slice(0, 3))).toEqual(three(300))
        for (const { value } of records) value?.fill(0)
        const fetched = await partition.fetch(300, options)
        for (const { value } of fetched) value?.fill(0)
        for await (const { value } of partition.records({ from: 300, until: 303 })) value?.fill(0)
      }
    }
  })
})

describe('a read of a few records', () => {
  it('returns them at every offset, even across the border of two batches', async () => {
    const partition = await reopened()
    for (let round = 0; round < 3; round += 1) {
      for (let from = 0; from < COUNT; from += 1) {
        const found = textsOf(await partition.read(from, few))
        expect(found).toEqual(three(from).slice(0, COUNT - from))
      }
    }
  })

  it('reads no more than 4 KiB of a batch that it has read before', async () => {
    const fileSystem = new SimulatedFileSystem()
    const partition = await reopened(fileSystem)
    await partition.read(900, few)
    const before = fileSystem.operationCount
    expect(textsOf(await partition.read(910, few))).toEqual(three(910))
    expect(fileSystem.operationCount).toBe(before + 1)
    const sizeBytes = Number(fileSystem.operations.at(-1)?.split('+').at(-1))
    expect(sizeBytes).toBeLessThanOrEqual(4096)
  })

  it('reads hardly more bytes than it returns if maxBytes ends it before maxRecords', async () => {
    const fileSystem = new SimulatedFileSystem()
    const partition = await openPartition({ fileSystem, recentBytes: 0 })
    const texts = Array.from({ length: 5 * COUNT }, (_, each) => text(each))
    await partition.append(texts.map((value) => ({ value })))
    for (let round = 0; round < 2; round += 1) {
      const before = fileSystem.operations.length
      const found = await partition.read(0, { maxRecords: texts.length, maxBytes: 200_000 })
      expect(textsOf(found)).toEqual(texts.slice(0, found.length))
      expect(found.length).toBeGreaterThan(1500)
      const reads = fileSystem.operations.slice(before).map((line) => READ_LINE.exec(line)?.[1])
      const sizeBytes = reads.reduce((sum, size) => sum + Number(size ?? 0), 0)
      expect(sizeBytes).toBeLessThan(300_000)
    }
  })

  it('returns the records that were appended in place of truncated ones', async () => {
    const partition = await reopened()
    for (let round = 0; round < 3; round += 1) await partition.read(300, few)
    await partition.log.truncateTo(300)
    expect(await partition.read(300, few)).toEqual([])
    await partition.append([{ value: 'new' }])
    expect(textsOf(await partition.read(300, few))).toEqual(['new'])
  })

  it('rejects with OFFSET_OUT_OF_RANGE at an offset that was deleted meanwhile', async () => {
    const partition = await reopened()
    for (let round = 0; round < 3; round += 1) await partition.read(300, few)
    await partition.deleteRecords(302)
    await expect(partition.read(300, few)).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' })
    expect(textsOf(await partition.read(302, few))).toEqual(three(302))
  })

  it('rejects when the disk fails, and the next read works', async () => {
    const fileSystem = new SimulatedFileSystem()
    const partition = await reopened(fileSystem)
    await partition.read(300, few)
    fileSystem.failNext('read', 'EIO')
    await expect(partition.read(100, few)).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    expect(textsOf(await partition.read(100, few))).toEqual(three(100))
  })

  it('returns the records before a place where the disk fails, and a read from there rejects', async () => {
    const fileSystem = new SimulatedFileSystem()
    const partition = await openPartition({ fileSystem, recentBytes: 0 })
    await partition.append(Array.from({ length: 5 * COUNT }, (_, each) => ({ value: text(each) })))
    const reads: [string, () => Promise<number | undefined>][] = [
      ['read', async () => (await partition.read(0)).at(-1)?.offset],
      ['read of a few', async () => (await partition.read(0, { maxRecords: 2900 })).at(-1)?.offset],
      ['fetch', async () => (await fetchFrom(partition, 1_000_000)).batches.at(-1)?.lastOffset],
    ]
    for (const [name, read] of reads) {
      // The third piece, and the retries.
      for (const n of [3, 4, 5]) fileSystem.failAt(n, 'EIO')
      const lastOffset = await read()
      expect(lastOffset, name).toBeGreaterThan(500)
      expect(lastOffset, name).toBeLessThan(2800)
      fileSystem.failNext('read', 'EIO')
      await expect(partition.read((lastOffset ?? 0) + 1), name).rejects.toThrow('EIO')
      fileSystem.clearFaults()
    }
  })

  it('rejects once the log is closed', async () => {
    const partition = await reopened()
    for (let round = 0; round < 3; round += 1) await partition.read(300, few)
    await partition.log.close()
    await expect(partition.read(300, few)).rejects.toMatchObject({ code: 'CLOSED' })
  })

  it('reads a compressed batch with at most two reads of the disk', async () => {
    const fileSystem = new SimulatedFileSystem()
    const config = { compressionType: 'gzip' } as const
    const partition = await openPartition({ fileSystem, config, recentBytes: 0 })
    await partition.append(Array.from({ length: COUNT }, (_, each) => ({ value: text(each) })))
    for (let round = 0; round < 3; round += 1) {
      const before = fileSystem.operations.length
      expect(textsOf(await partition.read(300, few))).toEqual(three(300))
      const lines = fileSystem.operations.slice(before)
      const reads = lines.filter((line) => line.includes(' read '))
      expect(reads.length).toBeLessThanOrEqual(2)
    }
  })
})

describe('a read of many records', () => {
  it('returns all records of many segments, or no more than maxBytes', async () => {
    const fileSystem = new SimulatedFileSystem({ completion: 'random' })
    const partition = await openPartition({ fileSystem, config: { segmentBytes: 40_000 } })
    for (let round = 0; round < 4; round += 1) {
      await partition.append(Array.from({ length: COUNT }, (_, each) => ({ value: text(each) })))
    }
    await partition.log.close()
    const again = await openPartition({ fileSystem, config: { segmentBytes: 40_000 } })
    expect(await again.read(0, { maxBytes: 1_000_000 })).toHaveLength(4 * COUNT)
    const some = await again.read(0, { maxBytes: 100_000 })
    expect(some.length).toBeGreaterThan(0)
    expect(some.length * 105).toBeLessThan(100_000)
  })

  it('returns 256 KiB by default, and up to 1 MiB if maxRecords or minBytes is given', async () => {
    const partition = await openPartition()
    for (let round = 0; round < 12; round += 1) {
      await partition.append(Array.from({ length: COUNT }, (_, each) => ({ value: text(each) })))
    }
    const counts = [
      await partition.read(0),
      await partition.fetch(0),
      await partition.log.read(0),
      await partition.read(0, { maxRecords: 100_000 }),
      await partition.fetch(0, { maxRecords: 100_000 }),
      await partition.fetch(0, { minBytes: 2_000_000 }),
    ].map(({ length }) => Math.round((length * 110) / (64 * 1024)))
    expect(counts).toEqual([4, 4, 4, 16, 16, 16])
  })

  it.each([
    ['read', (partition: Partition) => partition.read(600, { maxBytes: 40_000 })],
    ['fetch', (partition: Partition) => partition.fetch(600, { maxBytes: 40_000 })],
    ['fetch of a consumer', (partition: Partition) => fetchFrom(partition, 40_000, 600)],
  ])('reads no further batch that would exceed maxBytes: %s', async (_name, read) => {
    const fileSystem = new SimulatedFileSystem()
    const partition = await reopened(fileSystem)
    await partition.read(0, few)
    const before = fileSystem.operations.length
    await read(partition)
    const sizes = fileSystem.operations
      .slice(before)
      .map((line) => Number(READ_LINE.exec(line)?.[1] ?? 0))
    // As much as may be returned, and the header of the next batch.
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThan(41_000)
  })

  it.each([
    ['memory', written],
    ['the disk', reopened],
  ])('of a consumer returns every batch of all its pieces once, from %s', async (_place, open) => {
    const partition = await open(new SimulatedFileSystem())
    const { batches } = await fetchFrom(partition, 1_000_000)
    const lengths = batches.map(({ lastOffset, baseOffset }) => lastOffset + 1 - baseOffset)
    let next = 0
    for (const [slot, { baseOffset }] of batches.entries()) {
      expect(baseOffset).toBe(next)
      next += lengths[slot] ?? 0
    }
    expect(batches.length).toBeGreaterThan(2)
    expect(next).toBe(COUNT)
  })

  it('returns no more batches from memory than fit into maxBytes', async () => {
    const partition = await written(new SimulatedFileSystem())
    const records = await partition.read(0, { maxBytes: 40_000 })
    const behind = await partition.read(records.length, { maxBytes: 1 })
    expect(textsOf([...records, ...behind])).toEqual(
      Array.from({ length: records.length + behind.length }, (_, each) => text(each)),
    )
    expect(records.length).toBeLessThanOrEqual(behind.length)
  })

  it('returns a prefix of the records when the log is truncated meanwhile', async () => {
    const partition = await reopened(new SimulatedFileSystem({ completion: 'random', seed: 3 }))
    const reading = partition.read(0)
    const cutting = partition.log.truncateTo(100)
    const records = await reading
    await cutting
    expect(textsOf(records)).toEqual(
      Array.from({ length: records.length }, (_, each) => text(each)),
    )
  })
})

it.each([
  ['read', (partition: Partition) => partition.read(0)],
  ['read of a few', (partition: Partition) => partition.read(0, { maxRecords: 1 })],
  ['fetch of a few', (partition: Partition) => partition.fetch(0, { maxRecords: 1 })],
  ['fetch of enough', (partition: Partition) => partition.fetch(0, { minBytes: 2 })],
])('a loop of reads from memory lets the event loop turn: %s', async (_name, read) => {
  const partition = await openPartition()
  await partition.append(Array.from({ length: 100 }, () => ({ value: 'in memory' })))
  const turns: number[] = []
  setImmediate(() => {
    turns.push(1)
  })
  for (let reads = 0; turns.length === 0 && reads < 50_000; reads += 1) await read(partition)
  expect(turns).toEqual([1])
})
