import { describe, expect, it } from 'vitest'
import type { LogManager } from '../../lib/broker/log-manager.ts'
import {
  InvalidPartitionsError,
  StorageError,
  UnknownTopicOrPartitionError,
} from '../../lib/errors.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { closeLogManager, openLogManager } from '../helpers/log-managers.ts'

interface Opened {
  readonly fileSystem: SimulatedFileSystem
  readonly manager: LogManager
}

/** A topic of one record. */
async function openOrders(): Promise<Opened> {
  const fileSystem = new SimulatedFileSystem()
  const manager = await openLogManager(fileSystem)
  const topic = await manager.create('orders', 1, {})
  await topic.partition(0).append({ value: 'before' })
  return { fileSystem, manager }
}

/** Lets the list of topics be replaced, but makes it uncertain whether that is on the disk. */
function failListing(fileSystem: SimulatedFileSystem): void {
  fileSystem.failNext('syncDirectory', 'EIO', { persistent: true, path: /^\/data$/ })
}

async function valuesOf(manager: LogManager): Promise<string[]> {
  const records = (await manager.get('orders')?.partition(0).read(0)) ?? []
  return records.map((record) => record.value?.toString() ?? '')
}

describe('a topic whose deletion has an unknown outcome', () => {
  it('rejects appends, and is removed when the deletion is called again', async () => {
    const { fileSystem, manager } = await openOrders()
    const partition = manager.get('orders')?.partition(0)
    failListing(fileSystem)
    await expect(manager.delete('orders')).rejects.toMatchObject({ outcome: 'unknown' })
    expect(manager.get('orders')).toBeUndefined()
    await expect(partition?.append({ value: 'after' })).rejects.toThrow(
      UnknownTopicOrPartitionError,
    )
    fileSystem.clearFaults()
    await manager.delete('orders')
    const entries = await fileSystem.list('/data')
    expect(entries.filter(({ kind }) => kind === 'directory')).toEqual([])
    await expect(manager.delete('orders')).rejects.toThrow(UnknownTopicOrPartitionError)
  })

  it('keeps its records for as long as a power loss might bring it back', async () => {
    const { fileSystem, manager } = await openOrders()
    await manager.get('orders')?.partition(0).log.flush()
    failListing(fileSystem)
    // The list that is shown cannot be replaced by the old one.
    fileSystem.observe(({ kind }) => {
      if (kind === 'syncDirectory') fileSystem.failNext('rename', 'EIO', { path: /varve-topics/ })
    })
    await expect(manager.delete('orders')).rejects.toMatchObject({ outcome: 'unknown' })
    const next = fileSystem.restart('process')
    next.capacityBytes = 0
    expect((await openLogManager(next)).get('orders')).toBeUndefined()
    const later = next.restart('power', { unsynced: 'lost' })
    later.capacityBytes = Infinity
    const again = await openLogManager(later)
    expect(again.get('orders')?.partition(0).log.damage).toBeNull()
    expect(await valuesOf(again)).toEqual(['before'])
  })

  it('keeps every record that is acknowledged after its deletion failed, whichever two steps fail', async () => {
    const { fileSystem: start, manager } = await openOrders()
    await closeLogManager(manager)
    const counted = start.fork()
    const counting = await openLogManager(counted)
    const from = counted.operationCount
    await counting.delete('orders')
    const steps = counted.operationCount - from
    let acknowledged = 0
    for (let first = 1; first <= steps; first += 1) {
      for (let second = first + 1; second <= steps + 8; second += 1) {
        const fileSystem = start.fork()
        const opened = await openLogManager(fileSystem)
        const partition = opened.get('orders')?.partition(0)
        for (const step of [first, second]) fileSystem.failAt(step, 'EIO')
        await opened.delete('orders').catch(() => undefined)
        fileSystem.clearFaults()
        const isAcknowledged = await partition?.append({ value: 'after' }).then(
          () => true,
          () => false,
        )
        if (isAcknowledged !== true) continue
        acknowledged += 1
        await closeLogManager(opened)
        const again = await openLogManager(fileSystem)
        const trace = `steps ${first} and ${second} fail`
        expect(await valuesOf(again), trace).toEqual(['before', 'after'])
      }
    }
    expect(acknowledged).toBeGreaterThan(10)
  })
})

describe('a topic whose creation has an unknown outcome', () => {
  it.each([
    ['kept', true],
    ['lost', false],
  ] as const)(
    'is not there, and after a power loss is whole or not there: %s',
    async (unsynced, isThere) => {
      const fileSystem = new SimulatedFileSystem()
      const manager = await openLogManager(fileSystem)
      let renames = 0
      fileSystem.observe(({ kind, path }) => {
        if (kind !== 'rename' || !path.includes('varve-topics')) return
        renames += 1
        // The list with the finished topic. It cannot be replaced by the one before.
        if (renames !== 2) return
        failListing(fileSystem)
        fileSystem.failNext('open', 'EIO', { persistent: true, path: /varve-topics/ })
      })
      await expect(manager.create('orders', 1, {})).rejects.toMatchObject({ outcome: 'unknown' })
      expect(manager.get('orders')).toBeUndefined()
      const next = await openLogManager(fileSystem.restart('power', { unsynced }))
      expect(next.get('orders')?.partitions.length).toBe(isThere ? 1 : undefined)
      expect(next.get('orders')?.partition(0).log.damage ?? null).toBeNull()
    },
  )
})

describe('a list of topics whose write has an unknown outcome', () => {
  it('is written again by the close, which is not clean if that fails', async () => {
    for (const isMended of [true, false]) {
      const { fileSystem, manager } = await openOrders()
      failListing(fileSystem)
      const altering = manager.get('orders')?.alter({ retentionMs: 5 })
      await expect(altering).rejects.toMatchObject({ outcome: 'unknown' })
      fileSystem.clearFaults()
      if (!isMended) fileSystem.failNext('rename', 'EIO', { path: /varve-topics/ })
      expect(await closeLogManager(manager)).toBe(isMended)
      if (!isMended) continue
      const restarted = fileSystem.restart('power', { unsynced: 'lost' })
      const again = await openLogManager(restarted, { isClean: true })
      expect(again.get('orders')?.config.retentionMs).toBe(604_800_000)
    }
  })

  it('makes the open reject when the sync after rewriting it fails with ENOSPC', async () => {
    const { fileSystem } = await openOrders()
    const next = fileSystem.restart('process')
    next.failNext('syncDirectory', 'ENOSPC', { path: /^\/data$/ })
    await expect(openLogManager(next)).rejects.toMatchObject({ code: 'ENOSPC' })
  })
})

describe('partitions of a failed addPartitions', () => {
  it('are added by the next call, even if those of the failed one could not be removed', async () => {
    const { fileSystem, manager } = await openOrders()
    const topic = manager.get('orders')
    fileSystem.failNext('write', 'ENOSPC', { persistent: true, path: /varve-topics/ })
    fileSystem.failNext('unlink', 'EIO', { persistent: true, path: /orders-1/ })
    await expect(topic?.addPartitions(2)).rejects.toThrow(StorageError)
    fileSystem.clearFaults()
    await topic?.addPartitions(2)
    expect(await topic?.partition(1).append({ value: 'new' })).toMatchObject({ baseOffset: 0 })
    expect(await valuesOf(manager)).toEqual(['before'])
  })

  it.each(['at once', 'by the next open'])(
    'are removed with their topic, %s, if those of the failed one could not be removed',
    async (when) => {
      const { fileSystem, manager } = await openOrders()
      const topic = manager.get('orders')
      fileSystem.failNext('write', 'ENOSPC', { persistent: true, path: /varve-topics/ })
      fileSystem.failNext('unlink', 'EIO', { persistent: true, path: /orders-[12]/ })
      await expect(topic?.addPartitions(3)).rejects.toThrow(StorageError)
      fileSystem.clearFaults()
      let owner = manager
      if (when === 'at once') await manager.delete('orders')
      else {
        fileSystem.failNext('unlink', 'EIO', { persistent: true, path: /orders-/ })
        await expect(manager.delete('orders')).rejects.toMatchObject({ outcome: 'unknown' })
        const next = fileSystem.restart('process')
        owner = await openLogManager(next)
        expect(await next.list('/data')).not.toContainEqual(
          expect.objectContaining({ kind: 'directory' }),
        )
      }
      await owner.create('orders', 1, {})
      await owner.get('orders')?.addPartitions(3)
      expect(owner.get('orders')?.partitions).toHaveLength(3)
    },
  )
})

describe('partitions beyond the limit of a directory', () => {
  it('are rejected before the first of them is created', async () => {
    const { fileSystem, manager } = await openOrders()
    for (const [name, count] of [
      ['large', 100_000],
      ['larger', 99_990],
    ] as const) {
      // What such an attempt leaves counts, but changes nothing here.
      const path = new RegExp(`${name}-0`)
      fileSystem.failNext('createDirectory', 'EIO', { persistent: true, path })
      fileSystem.failNext('stat', 'EIO', { persistent: true, path })
      await expect(manager.create(name, count, {})).rejects.toMatchObject({
        outcome: 'not-written',
      })
    }
    const { operationCount } = fileSystem
    const growing = manager.get('orders')?.addPartitions(11)
    await expect(growing).rejects.toThrow(InvalidPartitionsError)
    expect(fileSystem.operationCount).toBe(operationCount)
  })
})
