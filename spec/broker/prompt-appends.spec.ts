import { describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import type { Partition } from '../../lib/broker/partition.ts'
import { RecordBatchBuilder } from '../../lib/record/record-batch-builder.ts'
import type { AppendResult } from '../../lib/storage/append-record.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { openPartition } from '../helpers/partitions.ts'

function batchOf(value: string): Buffer {
  const builder = new RecordBatchBuilder({})
  builder.append(1_704_067_200_000, null, Buffer.from(value))
  return builder.buildUncompressed()
}

async function valuesOf(partition: Partition): Promise<string[]> {
  return (await partition.read(0)).map(({ value }) => String(value))
}

function bytesIn(fileSystem: SimulatedFileSystem): number {
  return [...fileSystem.snapshot().values()].reduce((sum, content) => sum + content.length, 0)
}

it('keeps its leader epoch and truncates nothing when some disk operations complete later', async () => {
  const fileSystem = new SimulatedFileSystem({ completion: 'random', seed: 3 })
  const partition = await openPartition({ fileSystem })
  const { leaderEpoch } = partition.log
  const before = fileSystem.operations.length
  for (let each = 0; each < 30; each += 1) await partition.append({ value: `v${each}` })
  expect(partition.log.leaderEpoch).toBe(leaderEpoch)
  const later = fileSystem.operations.slice(before)
  expect(later.filter((line) => line.includes(' truncate /data/orders-0/0'))).toEqual([])
})

it('completes a synchronous write that ends early, in the same leader epoch', async () => {
  const fileSystem = new SimulatedFileSystem()
  const partition = await openPartition({ fileSystem })
  await partition.append({ value: 'a' })
  await partition.append({ value: 'b' })
  const { leaderEpoch, size, bytesSinceCheckpoint } = partition.log
  fileSystem.shortWriteAt(1, 20)
  expect(await partition.append({ value: 'c' })).toMatchObject({ baseOffset: 2 })
  // Work that depends on it counts it like any other append.
  expect(partition.log.bytesSinceCheckpoint - bytesSinceCheckpoint).toBe(partition.log.size - size)
  expect(await valuesOf(partition)).toEqual(['a', 'b', 'c'])
  expect(partition.log.leaderEpoch).toBe(leaderEpoch)
})

describe('an append that a full disk writes only in part and that cannot be truncated', () => {
  /** Of two batches after a first one, the disk has space for one and a part of the other. */
  async function fullDisk(): Promise<{ fileSystem: SimulatedFileSystem; partition: Partition }> {
    const fileSystem = new SimulatedFileSystem()
    const partition = await openPartition({ fileSystem })
    await partition.append({ value: 'a' })
    fileSystem.capacityBytes = bytesIn(fileSystem) + batchOf('b').length + 20
    fileSystem.failNext('truncate', 'EIO', { persistent: true })
    const told = new Promise((resolve, reject) => {
      partition.appendBatches([batchOf('b'), batchOf('c')], 'all', { resolve, reject })
    })
    await expect(told).rejects.toMatchObject({
      outcome: 'unknown',
      message: expect.stringMatching(/ENOSPC.* write .*; EIO.* ftruncate /) as string,
    })
    return { fileSystem, partition }
  }

  it('rejects with outcome unknown, and a reopen after a crash may find its first batch', async () => {
    const { fileSystem } = await fullDisk()
    const again = await openPartition({ fileSystem: fileSystem.restart('process') })
    expect(await valuesOf(again)).toEqual(['a', 'b'])
  })

  it('is truncated before the next append is written, and appends are rejected until then', async () => {
    const { fileSystem, partition } = await fullDisk()
    const { leaderEpoch } = partition.log
    await expect(partition.append({ value: 'd' })).rejects.toMatchObject({ outcome: 'not-written' })
    fileSystem.clearFaults()
    fileSystem.capacityBytes = Infinity
    expect(await partition.append({ value: 'e' })).toMatchObject({ baseOffset: 1 })
    expect(await valuesOf(partition)).toEqual(['a', 'e'])
    expect(partition.log.leaderEpoch).toBe(leaderEpoch + 1)
  })
})

describe('an append with acks 1', () => {
  function appendTelling(partition: Partition, told: string[]): void {
    partition.appendBatches([batchOf('v')], 1, {
      resolve: ({ baseOffset }) => told.push(`written at ${baseOffset}`),
      reject: (error) => told.push(String(error)),
    })
  }

  it('is acknowledged once', async () => {
    const partition = await openPartition()
    const told: string[] = []
    appendTelling(partition, told)
    await partition.append({ value: 'behind it' })
    expect(told).toEqual(['written at 0'])
  })

  it('is not affected by a sync that fails after its acknowledgement', async () => {
    const fileSystem = new SimulatedFileSystem()
    const partition = await openPartition({ fileSystem })
    const told: string[] = []
    fileSystem.failNext('datasync', 'EIO')
    appendTelling(partition, told)
    await expect(partition.append({ value: 'with it' })).rejects.toThrow('EIO')
    expect(told).toEqual(['written at 0'])
  })
})

it('an append that must read the active segment first reads it only once, and rejects if that fails', async () => {
  const fileSystem = new SimulatedFileSystem()
  const first = await Broker.open('/data', { fileSystem })
  const topic = await first.createTopic('orders', { indexIntervalBytes: 0 })
  for (const value of ['a', 'b', 'c']) await topic.partition(0).append({ value })
  await first.close()
  const second = await Broker.open('/data', { fileSystem })
  const partition = second.topic('orders').partition(0)
  const before = fileSystem.operations.length
  fileSystem.failNext('read', 'EIO', { persistent: true })
  await expect(partition.append({ value: 'd' })).rejects.toThrow('EIO')
  // Nobody would handle the rejection of another read, so it would end the process.
  const reads = fileSystem.operations.slice(before).filter((line) => line.includes(' read '))
  expect(reads).toHaveLength(1)
  fileSystem.clearFaults()
  expect(await partition.append({ value: 'e' })).toMatchObject({ baseOffset: 3 })
  await second.close()
})

it('accepts an append that a callback makes when it gets the error of a failed write', async () => {
  const fileSystem = new SimulatedFileSystem()
  const partition = await openPartition({ fileSystem })
  await partition.append({ value: 'a' })
  const again: Promise<AppendResult>[] = []
  const group = new Promise((resolve, reject) => {
    partition.appendBatches([batchOf('b')], 'all', {
      resolve,
      reject: (error) => {
        again.push(partition.append({ value: 'd' }))
        reject(error instanceof Error ? error : new Error(String(error)))
      },
    })
  })
  fileSystem.failNext('write', 'ENOSPC')
  const beside = partition.append({ value: 'c' })
  await expect(group).rejects.toThrow('ENOSPC')
  await expect(beside).rejects.toThrow('ENOSPC')
  expect(await Promise.all(again)).toMatchObject([{ baseOffset: 1 }])
})

it('rejects an append with outcome unknown when another caller flushes in between and the sync fails', async () => {
  const fileSystem = new SimulatedFileSystem()
  const partition = await openPartition({ fileSystem })
  await partition.append({ value: 'a' })
  const flushed: Promise<unknown>[] = []
  partition.appendBatches([batchOf('b')], 1, {
    resolve: () => flushed.push(partition.flush().catch(String)),
    reject: () => undefined,
  })
  fileSystem.failNext('datasync', 'EIO')
  const beside = partition.append({ value: 'c' })
  await expect(beside).rejects.toMatchObject({ name: 'StorageError', outcome: 'unknown' })
  expect(await Promise.all(flushed)).toEqual([expect.stringContaining('EIO')])
  expect(partition.highWatermark).toBe(1)
})
