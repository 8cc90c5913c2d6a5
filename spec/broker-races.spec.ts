import { describe, expect, it } from 'vitest'
import { Broker } from '../lib/broker.ts'
import type { Partition } from '../lib/broker/partition.ts'
import {
  CorruptRecordError,
  InvalidPartitionsError,
  LockLostError,
  StorageError,
  UnknownTopicOrPartitionError,
} from '../lib/errors.ts'
import { ManualClock } from '../lib/testing/manual-clock.ts'
import { systemError } from '../lib/platform/system-error.ts'
import { SimulatedFileSystem } from '../lib/testing/simulated-file-system.ts'
import { textsOf } from './helpers/partitions.ts'
import { seenThrough } from './helpers/seen-through.ts'

const TP = { topic: 'a', partition: 0 }
const OFFSETS_LOG = '/data/__consumer_offsets-0/00000000000000000000.log'

function open(fileSystem = new SimulatedFileSystem(), options = {}): Promise<Broker> {
  return Broker.open('/data', { fileSystem, clock: new ManualClock(), ...options })
}

async function commit(broker: Broker, offset: number, topic = 'a'): Promise<void> {
  const consumer = broker.consumer({ groupId: 'g' })
  consumer.assign([{ topic, partition: 0 }])
  await consumer.commit([{ topic, partition: 0, offset }])
}

async function committed(broker: Broker): Promise<number | null> {
  return (await broker.consumer({ groupId: 'g' }).committed(TP))?.offset ?? null
}

describe('an append whose sync fails while the broker closes', () => {
  it('leaves no clean shutdown mark, and keeps the records acknowledged before it', async () => {
    const fileSystem = new SimulatedFileSystem({ completion: 'awaited' })
    const broker = await open(fileSystem)
    const partition = (await broker.createTopic('a')).partition(0)
    for (const value of ['0', '1', '2']) await partition.append({ value })
    fileSystem.failNext('datasync', 'EIO', { path: /a-0.*\.log$/ })
    // The file that would record where the log ended.
    fileSystem.failNext('open', 'ENOSPC', { path: /durable-end/, persistent: true })
    const appended = partition.append({ value: '3' }).catch((error: unknown) => error)
    await broker.close().catch(() => undefined)
    expect(await appended).toMatchObject({ outcome: 'unknown' })
    fileSystem.clearFaults()
    expect([...fileSystem.snapshot().keys()].join()).not.toContain('cleanshutdown')
    const again = await open(fileSystem)
    const texts = textsOf(await again.topic('a').partition(0).read(0))
    expect(texts.slice(0, 3)).toEqual(['0', '1', '2'])
    await again.close()
  })
})

describe('a concurrent topic change', () => {
  it('is rejected if an earlier one has added as many partitions or more', async () => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await open(fileSystem)
    const topic = await broker.createTopic('a')
    const [higher, lower, same] = await Promise.allSettled([
      topic.addPartitions(4),
      topic.addPartitions(2),
      topic.addPartitions(4),
    ])
    expect(higher.status).toBe('fulfilled')
    for (const late of [lower, same]) {
      expect(late).toMatchObject({ reason: expect.any(InvalidPartitionsError) as unknown })
    }
    await topic.partition(3).append({ value: 'x' })
    const again = await open(fileSystem.restart('process'))
    expect(again.topic('a').partitions).toHaveLength(4)
    expect(textsOf(await again.topic('a').partition(3).read(0))).toEqual(['x'])
  })

  it.each([
    ['after', true],
    ['while', false],
  ])(
    'is rejected %s its topic is replaced by a new one of the same name, which stays unchanged',
    async (_, isReplaced) => {
      const fileSystem = new SimulatedFileSystem()
      const broker = await open(fileSystem)
      const old = await broker.createTopic('a')
      const replaced = [broker.deleteTopic('a'), broker.createTopic('a')]
      if (isReplaced) await Promise.all(replaced)
      const changes = [old.alter({ segmentBytes: 500 }), old.addPartitions(2)]
      for (const change of await Promise.allSettled(changes)) {
        expect(change).toMatchObject({
          reason: expect.any(UnknownTopicOrPartitionError) as unknown,
        })
      }
      await Promise.all(replaced)
      const again = await open(fileSystem.restart('process'))
      for (const { config, partitions } of [broker.topic('a'), again.topic('a')]) {
        expect(config.segmentBytes).not.toBe(500)
        expect(partitions).toHaveLength(1)
      }
    },
  )

  it('succeeds beside the first commit, which creates the offsets topic', async () => {
    const broker = await open()
    await broker.createTopic('a')
    await broker.createTopic('b')
    const deleted = broker.deleteTopic('b')
    const first = commit(broker, 0)
    const last = commit(broker, 0, 'b')
    await expect(last).rejects.toThrow(UnknownTopicOrPartitionError)
    await Promise.all([deleted, first])
    expect(await committed(broker)).toBe(0)
    await broker.close()
  })
})

describe('the committed offset of a group', () => {
  it('does not return with a new topic of the same name after a failed deletion', async () => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await open(fileSystem)
    await broker.createTopic('a')
    await commit(broker, 0)
    fileSystem.failNext('write', 'ENOSPC', { path: OFFSETS_LOG })
    await expect(broker.deleteTopic('a')).rejects.toThrow(StorageError)
    expect(() => broker.topic('a')).toThrow(UnknownTopicOrPartitionError)
    await broker.createTopic('a')
    expect(await committed(broker)).toBeNull()
    expect(await committed(await open(fileSystem.restart('process')))).toBeNull()
  })

  it('is removed when a failed deletion is repeated', async () => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await open(fileSystem)
    await broker.createTopic('a')
    await commit(broker, 0)
    fileSystem.failNext('write', 'ENOSPC', { path: OFFSETS_LOG })
    await expect(broker.deleteTopic('a')).rejects.toThrow(StorageError)
    await broker.deleteTopic('a')
    expect(await committed(broker)).toBeNull()
    expect(await fileSystem.stat('/data/a-0')).toBeNull()
    await expect(broker.deleteTopic('a')).rejects.toThrow(UnknownTopicOrPartitionError)
  })

  it('rejects as damaged instead of falling back to an older commit', async () => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await open(fileSystem)
    await broker.createTopic('a')
    for (const offset of [0, 0, 0]) await commit(broker, offset)
    await broker.close()
    const size = fileSystem.readFile(OFFSETS_LOG).length
    fileSystem.flipBit(OFFSETS_LOG, size - 1, 0)
    await fileSystem.unlink('/data/.kafka_cleanshutdown')
    const damaged = await open(fileSystem)
    await expect(committed(damaged)).rejects.toThrow(CorruptRecordError)
  })
})

describe('a broker that has lost its lock', () => {
  it('rejects every change of topics, records and commits, and writes nothing when it is closed', async () => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await open(fileSystem)
    const topic = await broker.createTopic('a')
    await topic.partition(0).append([{ value: 'x' }, { value: 'y' }])
    await commit(broker, 1)
    fileSystem.loseLock('/data')
    const before = fileSystem.snapshot()
    for (const change of [
      broker.createTopic('b'),
      broker.deleteTopic('a'),
      topic.alter({ segmentBytes: 500 }),
      topic.addPartitions(2),
      topic.partition(0).deleteRecords(1),
      commit(broker, 2),
    ]) {
      await expect(change).rejects.toThrow(LockLostError)
    }
    await broker.close().catch(() => undefined)
    expect(fileSystem.snapshot()).toEqual(before)
  })
})

describe('a log that can still be read but no longer written', () => {
  /** A topic of several segments, none of whose files is open yet. */
  async function reopened(): Promise<{ fileSystem: SimulatedFileSystem; partition: Partition }> {
    const fileSystem = new SimulatedFileSystem()
    const before = await open(fileSystem)
    const topic = await before.createTopic('a', { segmentBytes: 200 })
    for (const value of VALUES) await topic.partition(0).append({ value, timestamp: 1 })
    expect(topic.partition(0).log.segments.length).toBeGreaterThan(2)
    await before.close()
    const broker = await open(fileSystem)
    return { fileSystem, partition: broker.topic('a').partition(0) }
  }

  async function expectRead(partition: Partition): Promise<void> {
    const records: string[] = []
    for await (const { value } of partition.records({ until: 'end' })) records.push(String(value))
    expect(records).toEqual(VALUES)
    expect(textsOf(await partition.readLast(VALUES.length))).toEqual(VALUES)
    expect(textsOf(await partition.read(3, { maxRecords: 1 }))).toEqual(['3'])
    expect(await partition.offsetForTimestamp(1)).toBe(0)
  }

  const VALUES = ['0', '1', '2', '3', '4', '5', '6']

  it('is read in full after the lock is lost', async () => {
    const { fileSystem, partition } = await reopened()
    fileSystem.loseLock('/data')
    await expectRead(partition)
    await expect(partition.append({ value: 'x' })).rejects.toThrow(LockLostError)
  })

  it('is not read after the next owner has replaced its files', async () => {
    const { fileSystem, partition } = await reopened()
    fileSystem.loseLock('/data')
    const next = await open(fileSystem)
    await next.deleteTopic('a')
    const topic = await next.createTopic('a', { segmentBytes: 200 })
    for (const value of VALUES) await topic.partition(0).append({ value: `new ${value}` })
    await expect(partition.read(0)).rejects.toThrow(LockLostError)
    await expect(partition.offsetForTimestamp(1)).rejects.toThrow(LockLostError)
    await next.close()
  })

  it('is read in full after a failed disk becomes read-only', async () => {
    const { fileSystem, partition } = await reopened()
    fileSystem.failNext('datasync', 'EIO')
    await expect(partition.append({ value: 'x' })).rejects.toThrow(StorageError)
    const openFile = fileSystem.open.bind(fileSystem)
    fileSystem.open = (path, mode) => {
      if (mode === 'read') return openFile(path, mode)
      return Promise.reject(systemError('EROFS', 'open', path, 'read-only file system'))
    }
    await expectRead(partition)
  })
})

describe('a read-only broker', () => {
  it('leaves no file open if its open fails while it checks whether a damaged topic is deleted', async () => {
    const fileSystem = new SimulatedFileSystem()
    const owner = await open(fileSystem)
    const topic = await owner.createTopic('a', { partitions: 2, segmentBytes: 200 })
    for (const { index } of topic.partitions) {
      for (let each = 0; each < 8; each += 1) await topic.partition(index).append({ value: 'x' })
    }
    const [, second] = topic.partition(0).log.segments
    await owner.close()
    await fileSystem.unlink(second?.path ?? expect.fail('it has too few segments'))
    let reads = 0
    const openPaths: string[] = []
    const beside = seenThrough(fileSystem, {
      open: async (path, mode) => {
        if (path.endsWith('varve-topics') && ++reads > 1) {
          throw systemError('EMFILE', 'open', path, 'too many open files')
        }
        const file = await fileSystem.open(path, mode)
        const close = file.close.bind(file)
        file.close = () => {
          openPaths.splice(openPaths.indexOf(path), 1)
          return close()
        }
        openPaths.push(path)
        return file
      },
    })
    await expect(open(fileSystem, { fileSystem: beside, readOnly: true })).rejects.toThrow('EMFILE')
    expect([reads > 1, openPaths]).toEqual([true, []])
  })

  it('finds new topics and commits even if another new topic cannot be opened', async () => {
    const fileSystem = new SimulatedFileSystem()
    const clock = new ManualClock()
    const owner = await open(fileSystem)
    await owner.createTopic('a')
    const beside = seenThrough(fileSystem, {
      list: async (path) => {
        if (path === '/data/b-0') throw systemError('EACCES', 'scandir', path, 'it is not yours')
        return fileSystem.list(path)
      },
    })
    const reader = await open(fileSystem, { fileSystem: beside, readOnly: true, clock })
    await owner.createTopic('b')
    await owner.createTopic('c')
    await commit(owner, 0)
    await clock.advance(1_000)
    expect(reader.topics().map(({ name }) => name)).toEqual(['a', 'c'])
    expect(await committed(reader)).toBe(0)
    await reader.close()
  })
})

describe('a fetch at the end of a log in a read-only broker', () => {
  it('rejects with damage that is found while it waits, and is not woken by it again', async () => {
    const fileSystem = new SimulatedFileSystem()
    const owner = await open(fileSystem)
    const topic = await owner.createTopic('a', { segmentBytes: 200 })
    const value = 'x'.repeat(99)
    for (let each = 0; each < 6; each += 1) await topic.partition(0).append({ value })
    const clock = new ManualClock()
    const reader = await open(fileSystem, { clock, readOnly: true })
    const partition = reader.topic('a').partition(0)
    const waiting = partition.fetch(6, { maxWaitMs: 3_600_000 })
    const outcome = waiting.catch((error: unknown) => error)
    await fileSystem.unlink('/data/a-0/00000000000000000001.log')
    const looks = async (): Promise<void> => {
      for (let look = 0; look < 10; look += 1) {
        await clock.advance(50)
      }
    }
    await looks()
    expect(partition.logEndOffset).toBe(1)
    expect(await outcome).toBeInstanceOf(CorruptRecordError)

    let wakings = 0
    const stop = partition.onChange(() => {
      wakings += 1
    })
    await looks()
    stop()
    expect(wakings, 'of the same damage nobody hears again').toBe(0)
    await reader.close()
  })
})
