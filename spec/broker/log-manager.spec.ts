import { describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import type { LogManager } from '../../lib/broker/log-manager.ts'
import {
  ClosedError,
  CorruptRecordError,
  InvalidPartitionsError,
  InvalidTopicError,
  StorageError,
  TopicExistsError,
  UnknownTopicOrPartitionError,
} from '../../lib/errors.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { closeLogManager, openLogManager } from '../helpers/log-managers.ts'

/** The visible state of the topics: names, partition counts, and the contents of the partitions. */
async function contents(manager: LogManager): Promise<Record<string, string[][]>> {
  const found: Record<string, string[][]> = {}
  for (const topic of manager.topics) {
    const partitions: string[][] = []
    for (const partition of topic.partitions) {
      const records = await partition.read(0)
      partitions.push(records.map((record) => record.value?.toString() ?? ''))
    }
    found[topic.name] = partitions
  }
  return found
}

async function operationsOf(
  fileSystem: SimulatedFileSystem,
  call: () => Promise<unknown>,
): Promise<number> {
  const { operationCount } = fileSystem
  await call()
  return fileSystem.operationCount - operationCount
}

/** The partition directories on the disk. */
async function directories(fileSystem: SimulatedFileSystem): Promise<string[]> {
  const entries = await fileSystem.list('/data')
  return entries.filter((entry) => entry.kind === 'directory').map((entry) => entry.name)
}

describe('the topics of a directory', () => {
  it('exist again after a close, with their records and configuration', async () => {
    const fileSystem = new SimulatedFileSystem()
    const manager = await openLogManager(fileSystem)
    const topic = await manager.create('orders', 2, { segmentBytes: 500 })
    await topic.partition(1).append({ value: 'a' })
    await manager.create('a-b.c_d', 1, {})
    expect(await closeLogManager(manager)).toBe(true)
    const again = await openLogManager(fileSystem, { isClean: true })
    expect(await contents(again)).toEqual({ 'a-b.c_d': [[]], orders: [[], ['a']] })
    expect(again.get('orders')?.config.segmentBytes).toBe(500)
    expect(again.get('orders')?.id).toBe(topic.id)
  })

  it('share one list of names until a topic is created or deleted', async () => {
    const manager = await openLogManager(new SimulatedFileSystem())
    const empty = manager.topicNames
    const topic = await manager.create('a', 1, {})
    const one = manager.topicNames
    await topic.addPartitions(2)
    expect(manager.topicNames).toBe(one)
    await manager.create('b', 1, {})
    const two = manager.topicNames
    expect(manager.topicNames).toBe(two)
    await manager.delete('a')
    expect([empty, one, two, manager.topicNames]).toEqual([[], ['a'], ['a', 'b'], ['b']])
    await closeLogManager(manager)
  })

  it('keep their records when partitions are added, and refuse to shrink', async () => {
    const fileSystem = new SimulatedFileSystem()
    let changes = 0
    const manager = await openLogManager(fileSystem, {
      onTopicsChanged: () => {
        changes += 1
      },
    })
    const topic = await manager.create('orders', 1, {})
    await topic.partition(0).append({ value: 'a' })
    await topic.addPartitions(3)
    expect(changes).toBe(2)
    await topic.partition(2).append({ value: 'c' })
    for (const total of [1, 3]) {
      await expect(topic.addPartitions(total)).rejects.toThrow(InvalidPartitionsError)
    }
    await expect(topic.addPartitions(2.5)).rejects.toThrow(RangeError)
    await closeLogManager(manager)
    const again = await openLogManager(fileSystem)
    expect(await contents(again)).toEqual({ orders: [['a'], [], ['c']] })
  })

  it('apply an altered configuration at once, and keep it after a restart', async () => {
    const fileSystem = new SimulatedFileSystem()
    const manager = await openLogManager(fileSystem)
    const topic = await manager.create('orders', 1, { segmentBytes: 10_000 })
    await topic.alter({ segmentBytes: 150, retentionMs: 5 })
    for (let each = 0; each < 4; each += 1) await topic.partition(0).append({ value: 'x' })
    expect(topic.partition(0).log.segments.length).toBeGreaterThan(1)
    await expect(topic.alter({ segmentBytes: 1 })).rejects.toThrow(RangeError)
    await expect(topic.alter({ segmentSize: 1 } as never)).rejects.toThrow(TypeError)
    await closeLogManager(manager)
    const { config } = (await openLogManager(fileSystem)).get('orders') ?? {}
    expect(config).toMatchObject({ segmentBytes: 150, retentionMs: 5 })
  })

  it('are not created under a name that exists or that collides with another', async () => {
    const manager = await openLogManager(new SimulatedFileSystem())
    await manager.create('a.b', 1, {})
    await expect(manager.create('a.b', 1, {})).rejects.toThrow(TopicExistsError)
    await expect(manager.create('a_b', 1, {})).rejects.toThrow(InvalidTopicError)
  })

  it('are deleted with their files, and can be created again as new topics', async () => {
    const fileSystem = new SimulatedFileSystem()
    const manager = await openLogManager(fileSystem)
    const first = await manager.create('orders', 2, {})
    await first.partition(0).append({ value: 'old' })
    await first.partition(0).log.checkpoint()
    const waiting = first.partition(1).fetch(0, { maxWaitMs: 10_000 })
    const gone = expect(waiting).rejects.toThrow(UnknownTopicOrPartitionError)
    await manager.delete('orders')
    await gone
    expect(await directories(fileSystem)).toEqual([])
    await expect(first.partition(0).append({ value: 'x' })).rejects.toThrow(
      UnknownTopicOrPartitionError,
    )
    await expect(manager.delete('orders')).rejects.toThrow(UnknownTopicOrPartitionError)
    const second = await manager.create('orders', 1, {})
    expect(second.id).not.toBe(first.id)
    expect(await contents(manager)).toEqual({ orders: [[]] })
    const again = await openLogManager(fileSystem.restart('process'))
    expect(await contents(again)).toEqual({ orders: [[]] })
  })

  it('are deleted with the temporary files of interrupted replacements', async () => {
    const fileSystem = new SimulatedFileSystem()
    const manager = await openLogManager(fileSystem)
    await manager.create('orders', 1, {})
    const segment = '/data/orders-0/00000000000000000003'
    for (const name of ['log.tmp', 'log.71.torn.tmp', 'snapshot.tmp']) {
      fileSystem.writeFile(`${segment}.${name}`, Buffer.alloc(0))
    }
    await manager.delete('orders')
    expect(await directories(fileSystem)).toEqual([])
  })

  it('ignore checkpoint entries of earlier topics of the same name', async () => {
    const fileSystem = new SimulatedFileSystem()
    await fileSystem.createDirectory('/data')
    // For example, somebody has removed their directories.
    const remembered = Buffer.from('0\n2\norders 0 50\norders 1 70\n')
    fileSystem.writeFile('/data/recovery-point-offset-checkpoint', remembered)
    fileSystem.writeFile('/data/log-start-offset-checkpoint', remembered)
    const manager = await openLogManager(fileSystem)
    const topic = await manager.create('orders', 1, {})
    await topic.addPartitions(2)
    for (const partition of topic.partitions) {
      expect(partition.log).toMatchObject({ damage: null, logStartOffset: 0, logEndOffset: 0 })
      expect(await partition.append({ value: 'new' })).toMatchObject({ baseOffset: 0 })
    }
    const again = await openLogManager(fileSystem.restart('process'))
    expect(await contents(again)).toEqual({ orders: [['new'], ['new']] })
  })

  it('are not created even in part when the disk is full, and can be created later', async () => {
    const fileSystem = new SimulatedFileSystem()
    const manager = await openLogManager(fileSystem)
    fileSystem.failNext('write', 'ENOSPC', { persistent: true, path: /orders-2/ })
    await expect(manager.create('orders', 3, {})).rejects.toThrow(StorageError)
    expect(manager.get('orders')).toBeUndefined()
    expect(await directories(fileSystem)).toEqual([])
    fileSystem.clearFaults()
    await manager.create('orders', 3, {})
    expect(await contents(manager)).toEqual({ orders: [[], [], []] })
  })

  it('are not grown even in part when the disk is full, and can be grown later', async () => {
    const fileSystem = new SimulatedFileSystem()
    const manager = await openLogManager(fileSystem)
    const topic = await manager.create('orders', 1, {})
    fileSystem.failNext('write', 'ENOSPC', { persistent: true, path: /orders-2/ })
    await expect(topic.addPartitions(3)).rejects.toThrow(StorageError)
    expect(topic.partitions).toHaveLength(1)
    expect(await directories(fileSystem)).toEqual(['orders-0'])
    fileSystem.clearFaults()
    await topic.addPartitions(3)
    expect(topic.partitions).toHaveLength(3)
  })

  it('are taken over from a directory that another program has written', async () => {
    const fileSystem = new SimulatedFileSystem()
    const manager = await openLogManager(fileSystem)
    const { id } = await manager.create('orders', 2, {})
    await manager.get('orders')?.partition(1).append({ value: 'theirs' })
    await manager.create('clicks', 1, {})
    await closeLogManager(manager)
    await fileSystem.unlink('/data/varve-topics')
    await fileSystem.createDirectory('/data/not-a-partition')
    await fileSystem.createDirectory('/data/gone-0.0123456789abcdef0123456789abcdef-delete')
    const again = await openLogManager(fileSystem)
    expect(await contents(again)).toEqual({ clicks: [[]], orders: [[], ['theirs']] })
    expect(again.get('orders')?.id).toBe(id)
    expect(await directories(fileSystem)).toEqual([
      'clicks-0',
      'not-a-partition',
      'orders-0',
      'orders-1',
    ])
    const found = await contents(again)
    expect(await contents(await openLogManager(fileSystem.restart('process')))).toEqual(found)
  })

  it('are taken over with all partitions, whatever the order of the directory listing', async () => {
    const fileSystem = new SimulatedFileSystem()
    const manager = await openLogManager(fileSystem)
    await manager.create('orders', 11, {})
    await manager.get('orders')?.partition(10).append({ value: 'theirs' })
    await closeLogManager(manager)
    await fileSystem.unlink('/data/varve-topics')
    const again = await openLogManager(fileSystem)
    expect(again.get('orders')?.partitions).toHaveLength(11)
    expect((await contents(again)).orders?.at(10)).toEqual(['theirs'])
  })

  it('keep the topic id of their partitions, even if the first partition is on another broker', async () => {
    const fileSystem = new SimulatedFileSystem()
    const manager = await openLogManager(fileSystem)
    const { id } = await manager.create('orders', 3, {})
    await manager.get('orders')?.partition(2).append({ value: 'theirs' })
    await closeLogManager(manager)
    for (const name of ['orders-0', 'orders-1']) {
      for (const file of await fileSystem.list(`/data/${name}`)) {
        await fileSystem.unlink(`/data/${name}/${file.name}`)
      }
      await fileSystem.removeDirectory(`/data/${name}`)
    }
    await fileSystem.unlink('/data/varve-topics')
    const reader = await Broker.open('/data', { fileSystem, readOnly: true })
    expect(reader.topic('orders').id).toBe(id)
    expect(await reader.topic('orders').partition(2).readLast(1)).toMatchObject([{ offset: 0 }])
    await reader.close()
    const again = await openLogManager(fileSystem)
    expect(again.get('orders')?.id).toBe(id)
    expect(await again.get('orders')?.partition(2).readLast(1)).toMatchObject([{ offset: 0 }])
    await closeLogManager(again)
    const later = await Broker.open('/data', { fileSystem, readOnly: true })
    expect(await later.topic('orders').partition(2).readLast(1)).toMatchObject([{ offset: 0 }])
  })

  it('leave a partition untouched that is copied behind their last one from another broker', async () => {
    const fileSystem = new SimulatedFileSystem()
    const manager = await openLogManager(fileSystem)
    const topic = await manager.create('orders', 3, {})
    await topic.partition(2).append({ value: 'theirs' })
    await closeLogManager(manager)
    const copy = fileSystem.fork()
    await fileSystem.unlink('/data/varve-topics')
    for (const { name } of await fileSystem.list('/data/orders-2')) {
      await fileSystem.unlink(`/data/orders-2/${name}`)
    }
    await fileSystem.removeDirectory('/data/orders-2')
    const adopted = await openLogManager(fileSystem)
    await closeLogManager(adopted)
    for (const [path, bytes] of copy.snapshot()) {
      if (path.startsWith('/data/orders-2/')) fileSystem.writeFile(path, bytes)
    }
    const again = await openLogManager(fileSystem)
    expect(await contents(again)).toEqual({ orders: [[], []] })
    const log = '/data/orders-2/00000000000000000000.log'
    expect(fileSystem.readFile(log)).toEqual(copy.readFile(log))
    const growing = again.get('orders')?.addPartitions(3)
    await expect(growing).rejects.toThrow(TopicExistsError)
    expect(fileSystem.readFile(log)).toEqual(copy.readFile(log))
    await closeLogManager(again)
  })

  it.each([
    ['all its records have expired', '00000000000000012345.log', 0],
    ['its segment was being replaced', '00000000000000000000.log.swap', 100],
  ])(
    'leave a partition untouched that is copied behind their last one, even if %s',
    async (_why, name, sizeBytes) => {
      const fileSystem = new SimulatedFileSystem()
      const manager = await openLogManager(fileSystem)
      await manager.create('orders', 1, {})
      await closeLogManager(manager)
      const metadata = fileSystem.readFile('/data/orders-0/partition.metadata')
      const log = `/data/orders-1/${name}`
      fileSystem.writeFile('/data/orders-1/partition.metadata', metadata)
      fileSystem.writeFile(log, Buffer.alloc(sizeBytes))
      const again = await openLogManager(fileSystem)
      expect(await contents(again)).toEqual({ orders: [[]] })
      expect(fileSystem.snapshot().has(log)).toBe(true)
      const growing = again.get('orders')?.addPartitions(2)
      await expect(growing).rejects.toThrow(TopicExistsError)
      await closeLogManager(again)
      expect(fileSystem.snapshot().has(log)).toBe(true)
      expect(fileSystem.readFile('/data/orders-1/partition.metadata')).toEqual(metadata)
    },
  )

  it('are not taken over if their list cannot be written', async () => {
    const fileSystem = new SimulatedFileSystem()
    const manager = await openLogManager(fileSystem)
    await manager.create('orders', 1, {})
    await closeLogManager(manager)
    await fileSystem.unlink('/data/varve-topics')
    fileSystem.failNext('rename', 'EIO', { path: /varve-topics/ })
    await expect(openLogManager(fileSystem)).rejects.toMatchObject({ code: 'EIO' })
  })

  it('do not include a directory that only has the name of a partition', async () => {
    const fileSystem = new SimulatedFileSystem()
    await fileSystem.createDirectory('/data/backup-2026')
    fileSystem.writeFile('/data/backup-2026/notes.txt', Buffer.from('of somebody else'))
    const manager = await openLogManager(fileSystem)
    expect(await contents(manager)).toEqual({})
    expect(await directories(fileSystem)).toEqual(['backup-2026'])
  })

  it('are on disk as they are shown, even after a failed sync and the death of the process', async () => {
    const fileSystem = new SimulatedFileSystem()
    const manager = await openLogManager(fileSystem)
    const count = await operationsOf(fileSystem, () => manager.create('dry', 1, {}))
    for (let n = 1; n <= count; n += 1) {
      const disk = fileSystem.fork({ seed: n })
      const creating = await openLogManager(disk)
      disk.failAt(n, 'EIO', { persistent: true })
      await creating.create('orders', 1, {}).catch(() => undefined)
      const next = disk.restart('process')
      const shown = await contents(await openLogManager(next))
      const later = await openLogManager(next.restart('power', { unsynced: 'lost' }))
      expect(await contents(later), `operation ${n}`).toEqual(shown)
    }
  })

  it('exist after an unclean stop on a full disk, and accept changes once there is room', async () => {
    const fileSystem = new SimulatedFileSystem()
    await (await openLogManager(fileSystem)).create('orders', 1, {})
    const next = fileSystem.restart('process')
    next.capacityBytes = 0
    const manager = await openLogManager(next)
    expect(await contents(manager)).toEqual({ orders: [[]] })
    await expect(manager.create('more', 1, {})).rejects.toMatchObject({ outcome: 'not-written' })
    next.capacityBytes = Infinity
    await manager.create('more', 1, {})
    expect(await contents(manager)).toEqual({ more: [[]], orders: [[]] })
  })

  it.each(['an unclean stop', 'a clean close'])(
    'exist after %s on a full disk, beside a creation that was interrupted',
    async (stop) => {
      const fileSystem = new SimulatedFileSystem()
      const manager = await openLogManager(fileSystem)
      await manager.create('orders', 1, {})
      fileSystem.failNext('createDirectory', 'EIO', { path: '/data/more-1' })
      fileSystem.failNext('removeDirectory', 'EIO', { path: '/data/more-0' })
      await expect(manager.create('more', 2, {})).rejects.toThrow(StorageError)
      expect(await directories(fileSystem)).toEqual(['more-0', 'orders-0'])
      const isClean = stop === 'a clean close'
      if (isClean) await closeLogManager(manager)
      const next = isClean ? fileSystem : fileSystem.restart('process')
      next.capacityBytes = 0
      const again = await openLogManager(next, { isClean })
      expect(await contents(again)).toEqual({ orders: [[]] })
      await expect(again.create('more', 1, {})).rejects.toMatchObject({ outcome: 'not-written' })
      next.capacityBytes = Infinity
      await again.create('more', 1, {})
      expect(await contents(again)).toEqual({ more: [[]], orders: [[]] })
    },
  )

  it.each([
    ['removeDirectory', 'EBUSY', '/data/gone-0'],
    ['unlink', 'EPERM', /gone-0\/0+\.log$/],
    ['stat', 'EIO', '/data/gone-0'],
    ['list', 'EACCES', '/data/gone-0'],
  ] as const)(
    'are opened beside a deleted topic that cannot be removed: %s %s',
    async (kind, code, path) => {
      const fileSystem = new SimulatedFileSystem()
      const manager = await openLogManager(fileSystem)
      await manager.create('orders', 1, {})
      await (await manager.create('gone', 1, {})).partition(0).append({ value: 'x' })
      fileSystem.failNext(kind, code, { path, persistent: true })
      const isDeleted = /topic 'gone' is deleted, but not completely removed yet: /
      for (let attempt = 0; attempt < 2; attempt += 1) {
        await expect(manager.delete('gone')).rejects.toMatchObject({
          outcome: 'unknown',
          message: isDeleted,
          cause: { code },
        })
        expect(await contents(manager)).toEqual({ orders: [[]] })
      }
      await closeLogManager(manager)
      const again = await openLogManager(fileSystem)
      expect(await contents(again)).toEqual({ orders: [[]] })
      await expect(again.create('gone', 1, {})).rejects.toMatchObject({ outcome: 'not-written' })
      await again.create('other', 1, {})
      await again.delete('other')
      fileSystem.clearFaults()
      await again.create('gone', 1, {})
      expect(await contents(again)).toEqual({ gone: [[]], orders: [[]] })
    },
  )

  it('are not opened if the sync after the removal of a deleted topic fails', async () => {
    const fileSystem = new SimulatedFileSystem()
    const manager = await openLogManager(fileSystem)
    await manager.create('gone', 1, {})
    fileSystem.failNext('removeDirectory', 'EBUSY', { path: '/data/gone-0' })
    await expect(manager.delete('gone')).rejects.toMatchObject({ outcome: 'unknown' })
    await closeLogManager(manager)
    fileSystem.failNext('syncDirectory', 'EIO', { path: '/data' })
    await expect(openLogManager(fileSystem, { isClean: true })).rejects.toMatchObject({
      code: 'EIO',
    })
  })

  it('are opened beside a deletion of a Kafka broker that cannot be finished until a later open', async () => {
    const fileSystem = new SimulatedFileSystem()
    const manager = await openLogManager(fileSystem)
    await manager.create('orders', 1, {})
    await closeLogManager(manager)
    const renamed = `old-0.${'a'.repeat(32)}-delete`
    await fileSystem.createDirectory(`/data/${renamed}`)
    fileSystem.failNext('removeDirectory', 'EBUSY', { path: `/data/${renamed}` })
    const again = await openLogManager(fileSystem)
    expect(await contents(again)).toEqual({ orders: [[]] })
    await closeLogManager(again)
    await openLogManager(fileSystem)
    expect(await fileSystem.stat(`/data/${renamed}`)).toBeNull()
  })

  it('are not created under a name that is too long for the file system, and leave no trace', async () => {
    const fileSystem = new SimulatedFileSystem()
    const manager = await openLogManager(fileSystem)
    await manager.create('orders', 1, {})
    for (const kind of ['stat', 'list', 'createDirectory', 'removeDirectory', 'open'] as const) {
      fileSystem.failNext(kind, 'ENAMETOOLONG', { path: /^\/data\/long-0/, persistent: true })
    }
    await expect(manager.create('long', 1, {})).rejects.toMatchObject({
      outcome: 'not-written',
      message: /ENAMETOOLONG.*long-0/,
    })
    expect(fileSystem.readFile('/data/varve-topics').toString()).not.toContain('long')
    await closeLogManager(manager)
    expect(await contents(await openLogManager(fileSystem))).toEqual({ orders: [[]] })
  })

  it('are not opened after an unclean stop if their list cannot be written', async () => {
    const fileSystem = new SimulatedFileSystem()
    await (await openLogManager(fileSystem)).create('orders', 1, {})
    const next = fileSystem.restart('process')
    next.failNext('rename', 'EIO', { path: /varve-topics/ })
    await expect(openLogManager(next)).rejects.toMatchObject({ code: 'EIO' })
  })

  it('are not created over a directory that holds another log', async () => {
    const fileSystem = new SimulatedFileSystem()
    const manager = await openLogManager(fileSystem)
    await manager.create('known', 1, {})
    await fileSystem.createDirectory('/data/orders-0')
    fileSystem.writeFile('/data/orders-0/00000000000000000000.log', Buffer.from('precious'))
    await expect(manager.create('orders', 1, {})).rejects.toThrow(TopicExistsError)
    expect(fileSystem.readFile('/data/orders-0/00000000000000000000.log').toString()).toBe(
      'precious',
    )
  })

  it.each([
    [
      'a flipped bit',
      (content: Buffer) => Buffer.from(content.toString().replace('orders', 'nrders')),
    ],
    ['only a part of it', (content: Buffer) => content.subarray(0, 30)],
    ['another version', () => Buffer.from('varve-topics 9 00000000\n{"topics":[]}\n')],
    ['no first line', () => Buffer.from('{"topics":[]}')],
    ['nothing', () => Buffer.alloc(0)],
  ])('are not opened if their list holds %s', async (_, corrupt) => {
    const fileSystem = new SimulatedFileSystem()
    const manager = await openLogManager(fileSystem)
    await manager.create('orders', 1, {})
    await closeLogManager(manager)
    fileSystem.writeFile('/data/varve-topics', corrupt(fileSystem.readFile('/data/varve-topics')))
    await expect(openLogManager(fileSystem)).rejects.toThrow(CorruptRecordError)
  })

  it('are opened if a partition directory is missing, which is reported as damage', async () => {
    const fileSystem = new SimulatedFileSystem()
    const manager = await openLogManager(fileSystem)
    const orders = await manager.create('orders', 2, {})
    for (const { log } of orders.partitions) await log.append([{ value: 'a' }])
    await closeLogManager(manager)
    for (const { name } of await fileSystem.list('/data/orders-1')) {
      await fileSystem.unlink(`/data/orders-1/${name}`)
    }
    await fileSystem.removeDirectory('/data/orders-1')
    const again = await openLogManager(fileSystem)
    const [sound, lost] = again.get('orders')?.partitions ?? []
    expect((await sound?.read(0))?.length).toBe(1)
    expect((await sound?.append({ value: 'b' }))?.baseOffset).toBe(1)
    expect(lost?.log.damage).toMatchObject({
      path: '/data/orders-1',
      firstOffset: 0,
      lastOffset: 0,
    })
    await expect(lost?.read(0)).rejects.toThrow(/orders-1.*the directory is missing/)
    await expect(lost?.append({ value: 'b' })).rejects.toThrow(CorruptRecordError)
    expect(await closeLogManager(again)).toBe(false)
    expect(await directories(fileSystem)).toEqual(['orders-0'])
  })

  it('reject every change once they are closed', async () => {
    const manager = await openLogManager(new SimulatedFileSystem())
    const topic = await manager.create('orders', 1, {})
    await closeLogManager(manager)
    await expect(manager.create('other', 1, {})).rejects.toThrow(ClosedError)
    await expect(manager.delete('orders')).rejects.toThrow(ClosedError)
    await expect(topic.addPartitions(2)).rejects.toThrow(ClosedError)
    await expect(topic.alter({ retentionMs: 1 })).rejects.toThrow(ClosedError)
    await expect(topic.partition(0).append({ value: 'x' })).rejects.toThrow(ClosedError)
  })
})

describe('a crash during a topic change', () => {
  type Change = (manager: LogManager) => Promise<unknown>
  const changes: [string, Change, unknown, unknown][] = [
    [
      'create',
      (manager) => manager.create('new', 2, {}),
      { orders: [['a'], []] },
      { new: [[], []], orders: [['a'], []] },
    ],
    ['delete', (manager) => manager.delete('orders'), { orders: [['a'], []] }, {}],
    [
      'addPartitions',
      (manager) => manager.get('orders')?.addPartitions(3) ?? Promise.reject(new Error('gone')),
      { orders: [['a'], []] },
      { orders: [['a'], [], []] },
    ],
  ]

  async function prepared(): Promise<SimulatedFileSystem> {
    const fileSystem = new SimulatedFileSystem()
    const manager = await openLogManager(fileSystem)
    await (await manager.create('orders', 2, {})).partition(0).append({ value: 'a' })
    await closeLogManager(manager)
    return fileSystem
  }

  it.each(changes)(
    'leaves %s either done or not done, at whatever operation it happens',
    async (_, change, before, after) => {
      const start = await prepared()
      let crashes = 0
      for (let at = 1; ; at += 1) {
        for (const when of ['before', 'after', 'torn'] as const) {
          const fileSystem = start.fork({ seed: at })
          const manager = await openLogManager(fileSystem, { isClean: true })
          fileSystem.crashAt(at, { when })
          let isDone = false
          try {
            await change(manager)
            isDone = true
          } catch (error) {
            if (!fileSystem.crashed) throw error
          }
          if (!fileSystem.crashed) {
            expect(crashes).toBeGreaterThan(20)
            return
          }
          crashes += 1
          for (const [kind, unsynced] of [
            ['process', 'kept'],
            ['power', 'lost'],
            ['power', 'random'],
          ] as const) {
            const restarted = fileSystem.restart(kind, { unsynced, seed: at })
            const again = await openLogManager(restarted, { seed: 2 })
            const found = await contents(again)
            const trace = `crash ${when} operation ${at}, ${kind} ${unsynced}`
            expect([before, after], trace).toContainEqual(found)
            if (isDone) expect(found, trace).toEqual(after)
            const names = await directories(restarted)
            const expected = Object.entries(found).flatMap(([name, partitions]) =>
              partitions.map((_each, index) => `${name}-${index}`),
            )
            expect(names, trace).toEqual(expected.sort())
          }
        }
      }
    },
  )
})
