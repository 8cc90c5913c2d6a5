import { describe, expect, it } from 'vitest'
import { Broker } from '../lib/broker.ts'
import type { Consumer } from '../lib/client/consumer.ts'
import {
  ClosedError,
  InvalidTopicError,
  LockedError,
  OffsetOutOfRangeError,
  ReadOnlyError,
  StorageError,
  TopicExistsError,
  UnknownTopicOrPartitionError,
} from '../lib/errors.ts'
import { ManualClock } from '../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../lib/testing/simulated-file-system.ts'
import { tempBroker } from '../lib/testing/temp-broker.ts'
import { textsOf } from './helpers/partitions.ts'

const A0 = { topic: 'a', partition: 0 }

function open(fileSystem = new SimulatedFileSystem(), options = {}): Promise<Broker> {
  return Broker.open('/data', { fileSystem, clock: new ManualClock(), ...options })
}

describe('opening a broker', () => {
  it('creates the directory, with the files of a Kafka broker', async () => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await open(fileSystem)
    await broker.createTopic('orders', { partitions: 2 })
    await broker.topic('orders').partition(0).append({ value: 'a' })
    await broker.close()
    const paths = [...fileSystem.snapshot().keys()].map((path) => path.replace('/data/', ''))
    expect(paths.sort()).toEqual([
      '.kafka_cleanshutdown',
      'log-start-offset-checkpoint',
      'meta.properties',
      'orders-0/00000000000000000000.index',
      'orders-0/00000000000000000000.log',
      'orders-0/00000000000000000000.timeindex',
      'orders-0/00000000000000000001.snapshot',
      'orders-0/leader-epoch-checkpoint',
      'orders-0/partition.metadata',
      'orders-0/varve-segments',
      'orders-1/00000000000000000000.index',
      'orders-1/00000000000000000000.log',
      'orders-1/00000000000000000000.snapshot',
      'orders-1/00000000000000000000.timeindex',
      'orders-1/leader-epoch-checkpoint',
      'orders-1/partition.metadata',
      'orders-1/varve-segments',
      'recovery-point-offset-checkpoint',
      'varve-topics',
    ])
    const text = (path: string): string => fileSystem.readFile(`/data/${path}`).toString()
    expect(text('recovery-point-offset-checkpoint')).toBe('0\n2\norders 0 1\norders 1 0\n')
    expect(text('orders-0/leader-epoch-checkpoint')).toBe('0\n1\n0 0\n')
    expect(text('orders-0/partition.metadata')).toMatch(/^version: 0\ntopic_id: [\w-]{22}$/)
  })

  it('reports whether the shutdown was clean, and which torn bytes were truncated', async () => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await open(fileSystem)
    expect(broker.recovery).toMatchObject({ cleanShutdown: true, truncations: [], damaged: [] })
    await broker.createTopic('orders')
    await broker.topic('orders').partition(0).append({ value: 'a' })
    const crashed = fileSystem.restart('process')
    const path = '/data/orders-0/00000000000000000000.log'
    crashed.writeFile(path, Buffer.concat([crashed.readFile(path), Buffer.from('torn')]))
    const again = await open(crashed)
    expect(again.recovery).toMatchObject({
      cleanShutdown: false,
      truncations: [
        { topic: 'orders', partition: 0, path, sizeBytes: 4, keptIn: `${path}.69.torn` },
      ],
    })
    expect(crashed.readFile(`${path}.69.torn`).toString()).toBe('torn')
    await again.close()
    expect((await open(crashed)).recovery.cleanShutdown).toBe(true)
  })

  it('removes the clean shutdown mark durably before it changes any other file', async () => {
    const fileSystem = new SimulatedFileSystem()
    const first = await open(fileSystem)
    await first.createTopic('a')
    await first.close()
    const before = fileSystem.operations.length
    await open(fileSystem)
    const made = fileSystem.operations.slice(before).map((line) => line.replace(/^#\d+ /, ''))
    const mark = '/data/.kafka_cleanshutdown'
    const untilSynced = made.slice(0, made.indexOf('syncDirectory /data'))
    expect(untilSynced.filter((line) => line.includes(' /data/'))).toEqual([
      `stat ${mark}`,
      `unlink ${mark}`,
    ])
    const crashed = fileSystem.restart('power', { unsynced: 'lost' })
    expect((await open(crashed)).recovery.cleanShutdown).toBe(false)
  })

  it('is left by a disposed tempBroker in a file system that was given to it, for the next one to open', async () => {
    const fileSystem = new SimulatedFileSystem()
    const first = await tempBroker({ fileSystem })
    await first.createTopic('orders')
    await first[Symbol.asyncDispose]()
    await using second = await tempBroker({ fileSystem })
    expect([first.dir, second.dir]).toEqual(['/varve', '/varve'])
    expect(second.topics().map(({ name }) => name)).toEqual(['orders'])
  })

  it('refuses a directory that is already open, and reports the process id of its owner', async () => {
    await using broker = await tempBroker()
    const second = Broker.open(broker.dir)
    await expect(second).rejects.toThrow(LockedError)
    await expect(second).rejects.toMatchObject({ code: 'LOCKED', pid: process.pid })
  })

  it('opens a damaged partition for reads up to the damage, and the others for reads and appends', async () => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await open(fileSystem)
    const topic = await broker.createTopic('orders', { partitions: 2 })
    for (const value of ['a', 'b', 'c']) await topic.partition(0).append({ value })
    await topic.partition(1).append({ value: 'sound' })
    const crashed = fileSystem.restart('process')
    crashed.flipBit('/data/orders-0/00000000000000000000.log', 69 + 40, 3)
    const again = await open(crashed)
    const damaged = again.topic('orders').partition(0)
    expect(again.recovery.damaged).toMatchObject([
      {
        topic: 'orders',
        partition: 0,
        error: { code: 'CORRUPT_MESSAGE', position: 69, firstOffset: 1 },
      },
    ])
    expect(textsOf(await damaged.read(0))).toEqual(['a'])
    await expect(damaged.read(1)).rejects.toMatchObject({ code: 'CORRUPT_MESSAGE' })
    await expect(damaged.append({ value: 'x' })).rejects.toMatchObject({ code: 'CORRUPT_MESSAGE' })
    expect(again.describe().topics[0]?.partitions.map((each) => each.leader.alive)).toEqual([
      false,
      true,
    ])
    await again.topic('orders').partition(1).append({ value: 'still works' })
    await again.close()
    expect((await open(crashed)).recovery.damaged).toHaveLength(1)
  })

  it.each([
    ['', {}, TypeError],
    [5, {}, TypeError],
    ['/data', { readonly: true }, TypeError],
    ['/data', { defaults: { segmentBytes: 1 } }, RangeError],
    ['/data', 5, TypeError],
  ])('rejects the directory %j with the options %j', async (dir, options, error) => {
    await expect(Broker.open(dir as never, options as never)).rejects.toThrow(error)
  })

  it('rejects with STORAGE_ERROR when the disk is full, and succeeds later', async () => {
    const fileSystem = new SimulatedFileSystem()
    fileSystem.failNext('write', 'ENOSPC', { persistent: true })
    await expect(open(fileSystem)).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    fileSystem.clearFaults()
    await (await open(fileSystem)).close()
  })

  it('rejects with the cause even if releasing the lock fails, and succeeds later', async () => {
    const fileSystem = new SimulatedFileSystem()
    await (await Broker.open('/data', { fileSystem })).close()
    fileSystem.failNext('syncDirectory', 'EIO', { persistent: true })
    fileSystem.failNext('release', 'EROFS')
    const opened = Broker.open('/data', { fileSystem })
    await expect(opened).rejects.toMatchObject({ cause: { code: 'EIO' } })
    fileSystem.clearFaults()
    await (await Broker.open('/data', { fileSystem })).close()
  })
})

describe('the topics of a broker', () => {
  it('are created, found, listed and deleted', async () => {
    const broker = await open()
    const topic = await broker.createTopic('b', { partitions: 3, retentionMs: 5 })
    await broker.createTopic('a')
    expect(broker.topic('b')).toBe(topic)
    expect(broker.topics().map((each) => each.name)).toEqual(['a', 'b'])
    expect(topic.config.retentionMs).toBe(5)
    await broker.deleteTopic('b')
    expect(() => broker.topic('b')).toThrow(UnknownTopicOrPartitionError)
  })

  it('cannot be created twice, unless ifNotExists is set', async () => {
    const broker = await open()
    const both = await Promise.all([
      broker.createTopic('a', { ifNotExists: true }),
      broker.createTopic('a', { ifNotExists: true, partitions: 7 }),
    ])
    expect(both[0]).toBe(both[1])
    await expect(broker.createTopic('a')).rejects.toThrow(TopicExistsError)
    await expect(broker.createTopic('a', { ifNotExists: false })).rejects.toThrow(TopicExistsError)
  })

  it.each([
    ['', InvalidTopicError],
    ['..', InvalidTopicError],
    ['a b', InvalidTopicError],
    ['a/b', InvalidTopicError],
    ['x'.repeat(250), InvalidTopicError],
    ['__consumer_offsets', InvalidTopicError],
    [5, TypeError],
  ])('are not created under the name %j', async (name, error) => {
    const broker = await open()
    await expect(broker.createTopic(name as never)).rejects.toThrow(error)
    expect(broker.topics()).toEqual([])
  })

  it.each([
    [{ partitions: 0 }, RangeError],
    [{ partitions: 1.5 }, RangeError],
    [{ partitions: '3' }, TypeError],
    [{ partition: 3 }, TypeError],
    [{ segmentBytes: -1 }, RangeError],
  ])('are not created with the options %j', async (options, error) => {
    const broker = await open()
    await expect(broker.createTopic('a', options as never)).rejects.toThrow(error)
    expect(broker.topics()).toEqual([])
  })

  it('have a frozen list of partitions, also after partitions are added', async () => {
    const topic = await (await open()).createTopic('a', { partitions: 2 })
    expect(Object.isFrozen(topic.partitions)).toBe(true)
    await topic.addPartitions(3)
    expect(Object.isFrozen(topic.partitions)).toBe(true)
    expect(topic.partitions.map(({ index }) => index)).toEqual([0, 1, 2])
  })

  it('return their partitions by index, and throw for any other index', async () => {
    const topic = await (await open()).createTopic('a', { partitions: 2 })
    expect(topic.partition(1).index).toBe(1)
    for (const index of [2, -1, 0.5]) {
      expect(() => topic.partition(index)).toThrow(UnknownTopicOrPartitionError)
    }
    expect(() => topic.partition('0' as never)).toThrow(TypeError)
  })

  it('use the defaults of the broker unless their own options override them', async () => {
    const broker = await open(new SimulatedFileSystem(), { defaults: { segmentBytes: 777 } })
    expect((await broker.createTopic('a')).config.segmentBytes).toBe(777)
    expect((await broker.createTopic('b', { segmentBytes: 888 })).config.segmentBytes).toBe(888)
  })

  it('are created by the first record only if autoCreateTopics is set', async () => {
    const strict = await open()
    await expect(strict.producer().send({ topic: 'new', value: 'x' })).rejects.toThrow(
      UnknownTopicOrPartitionError,
    )
    const broker = await open(new SimulatedFileSystem(), { autoCreateTopics: true })
    await broker.producer().send({ topic: 'new', value: 'x' })
    expect(broker.topics().map((topic) => topic.name)).toEqual(['new'])
  })

  it('are described with the leader and the offsets of each partition', async () => {
    const broker = await open()
    const topic = await broker.createTopic('a', { partitions: 2 })
    await topic.partition(1).append([{ value: 'x' }, { value: 'y' }])
    const consumer = broker.consumer({ groupId: 'g' })
    consumer.assign([{ topic: 'a', partition: 1 }])
    await consumer.commit([{ topic: 'a', partition: 1, offset: 1 }])
    const description = broker.describe()
    expect(description.topics.map((each) => [each.name, each.internal])).toEqual([
      ['__consumer_offsets', true],
      ['a', false],
    ])
    expect(description.topics[1]?.partitions[1]).toMatchObject({
      partition: 1,
      leader: { pid: process.pid, epoch: 0, alive: true },
      logStartOffset: 0,
      highWatermark: 2,
      logEndOffset: 2,
      segmentCount: 1,
    })
    expect(description.groups).toMatchObject([{ groupId: 'g' }])
  })

  it("are described by a copy, so the caller's changes have no effect", async () => {
    const broker = await open()
    Object.assign(broker.describe().compaction, { passes: 5 })
    expect(broker.describe().compaction.passes).toBe(0)
  })

  it('keep commits durable even if the broker defaults to relaxed flushing', async () => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await open(fileSystem, { defaults: { flushMessages: 1000 } })
    await (await broker.createTopic('a')).partition(0).append({ value: 'x' })
    const consumer = broker.consumer({ groupId: 'g' })
    const tp = { topic: 'a', partition: 0 }
    consumer.assign([tp])
    await consumer.commit([{ ...tp, offset: 1 }])
    const again = await open(fileSystem.restart('power', { unsynced: 'lost' }))
    expect(await again.consumer({ groupId: 'g' }).committed(tp)).toMatchObject({ offset: 1 })
    expect(textsOf(await again.topic('a').partition(0).read(0))).toEqual(['x'])
  })

  it('lose their committed offsets when they are deleted', async () => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await open(fileSystem)
    await (await broker.createTopic('a')).partition(0).append({ value: 'x' })
    const consumer = broker.consumer({ groupId: 'g' })
    consumer.assign([{ topic: 'a', partition: 0 }])
    await consumer.commit([{ topic: 'a', partition: 0, offset: 1 }])
    await consumer.close()
    await broker.deleteTopic('a')
    await broker.createTopic('a')
    const tp = { topic: 'a', partition: 0 }
    expect(await broker.consumer({ groupId: 'g' }).committed(tp)).toBeNull()
    const again = await open(fileSystem.restart('process'))
    expect(await again.consumer({ groupId: 'g' }).committed(tp)).toBeNull()
  })
})

describe('closing a broker', () => {
  it('drains producers, ends waits, and rejects later calls with ClosedError', async () => {
    const broker = await open()
    const topic = await broker.createTopic('a')
    const producer = broker.producer({ lingerMs: 60_000 })
    const sent = producer.send({ topic: 'a', value: 'x' })
    const waiting = expect(
      topic.partition(0).fetch(0, { maxWaitMs: 60_000, minBytes: 1000 }),
    ).rejects.toThrow(ClosedError)
    const consumer = broker.consumer({ groupId: 'g' })
    consumer.subscribe(['a'])
    await consumer.poll({ maxWaitMs: 0 })
    await broker.close()
    expect(await sent).toMatchObject({ offset: 0 })
    await waiting
    await broker.close()
    expect(() => broker.topics()).toThrow(ClosedError)
    expect(() => broker.topic('a')).toThrow(ClosedError)
    expect(() => broker.producer()).toThrow(ClosedError)
    expect(() => broker.consumer()).toThrow(ClosedError)
    expect(() => broker.describe()).toThrow(ClosedError)
    await expect(broker.createTopic('b')).rejects.toThrow(ClosedError)
    await expect(broker.deleteTopic('a')).rejects.toThrow(ClosedError)
    await expect(producer.send({ topic: 'a', value: 'x' })).rejects.toThrow(ClosedError)
    await expect(consumer.poll()).rejects.toThrow(ClosedError)
  })

  it('leaves no timer pending', async () => {
    const clock = new ManualClock()
    const broker = await open(new SimulatedFileSystem(), { clock })
    await broker.createTopic('a', { flushMessages: 100, flushMs: 1000 })
    await broker.topic('a').partition(0).append({ value: 'x' })
    const consumer = broker.consumer({ groupId: 'g' })
    consumer.subscribe(['a'])
    await consumer.poll({ maxWaitMs: 0 })
    await broker.close()
    expect(clock.pendingTimers).toBe(0)
  })

  it('rejects if the last records cannot be synced, and leaves no clean shutdown mark', async () => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await open(fileSystem)
    const topic = await broker.createTopic('a', { flushMessages: 100 })
    await topic.partition(0).append({ value: 'x' })
    fileSystem.failNext('datasync', 'EIO')
    await expect(broker.close()).rejects.toThrow(StorageError)
    const again = await open(fileSystem)
    expect(again.recovery.cleanShutdown).toBe(false)
  })

  it('rejects an invalid timeoutMs and unknown options, and leaves the broker open', async () => {
    const broker = await open()
    await expect(broker.close({ timeoutMs: -1 })).rejects.toThrow(RangeError)
    await expect(broker.close({ timeout: 5 } as never)).rejects.toThrow(TypeError)
    expect(broker.topics()).toEqual([])
    await broker.close({ timeoutMs: 0 })
  })

  it('is not needed to save recovery points, which are saved every minute', async () => {
    const clock = new ManualClock()
    const fileSystem = new SimulatedFileSystem()
    const broker = await open(fileSystem, { clock })
    await (await broker.createTopic('a')).partition(0).append({ value: 'x' })
    const read = (): string =>
      fileSystem.readFile('/data/recovery-point-offset-checkpoint').toString()
    await clock.advance(60_000)
    expect(read()).toBe('0\n1\na 0 1\n')
    await broker.topic('a').partition(0).append({ value: 'y' })
    await clock.advance(60_000)
    expect(read()).toBe('0\n1\na 0 2\n')
  })
})

describe('a read-only broker', () => {
  it('follows the owner, and rejects every change', async () => {
    const fileSystem = new SimulatedFileSystem()
    const clock = new ManualClock()
    const writer = await open(fileSystem, { clock })
    const topic = await writer.createTopic('a', { segmentBytes: 200 })
    await topic.partition(0).append({ value: 'first' })
    const before = fileSystem.snapshot()
    const reader = await open(fileSystem, { clock, readOnly: true })
    const partition = reader.topic('a').partition(0)
    expect(textsOf(await partition.read(0))).toEqual(['first'])
    expect(fileSystem.snapshot()).toEqual(before)
    const waiting = partition.fetch(1, { maxWaitMs: 60_000 })
    for (const value of ['b', 'c', 'd', 'e', 'f']) await topic.partition(0).append({ value })
    await clock.advance(200)
    expect(textsOf(await waiting)).toContain('b')
    await expect(partition.append({ value: 'x' })).rejects.toThrow(ReadOnlyError)
    await expect(partition.deleteRecords(1)).rejects.toThrow(ReadOnlyError)
    await expect(reader.createTopic('b')).rejects.toThrow(ReadOnlyError)
    await expect(reader.deleteTopic('a')).rejects.toThrow(ReadOnlyError)
    await expect(reader.topic('a').alter({ flushMessages: 2 })).rejects.toThrow(ReadOnlyError)
    expect(() => reader.producer()).toThrow(ReadOnlyError)
    await expect(partition.read(99)).rejects.toThrow(OffsetOutOfRangeError)
    await reader.close()
    await writer.close()
  })

  it('checks a log once per read at its end, however much the owner appends meanwhile', async () => {
    const fileSystem = new SimulatedFileSystem()
    const clock = new ManualClock()
    const writer = await open(fileSystem, { clock })
    const topic = await writer.createTopic('a', { partitions: 20 })
    for (const partition of topic.partitions) await partition.append({ value: '0' })
    const reader = await open(fileSystem, { clock, readOnly: true })
    const [first] = reader.topic('a').partitions
    let looks = 0
    const appends: Promise<unknown>[] = []
    fileSystem.observe(({ kind, path }) => {
      if (kind !== 'stat' || !path.endsWith('/varve-segments')) return
      if (path.includes('a-0') && looks < 50) {
        appends.push(topic.partition(0).append({ value: `${looks}` }))
      }
      looks += 1
    })
    await first?.read(1)
    expect(looks).toBe(1)
    await first?.read(0)
    await first?.fetch(0, { maxWaitMs: 60_000 })
    expect(looks).toBe(1)
    const consumer = reader.consumer()
    consumer.assign(
      reader.topic('a').partitions.map(({ index }) => ({ topic: 'a', partition: index })),
    )
    expect((await consumer.poll({ maxWaitMs: 0 })).length).toBeGreaterThanOrEqual(20)
    expect(looks).toBe(1)
    await Promise.all(appends)
    await topic.partition(7).append({ value: 'x' })
    expect(textsOf(await consumer.poll({ maxWaitMs: 0 }))).toContain('x')
    expect(looks).toBe(21)
    fileSystem.observe(null)
    await reader.close()
    await writer.close()
  })

  it('sees new records of the owner also in calls that do not wait', async () => {
    const fileSystem = new SimulatedFileSystem()
    const clock = new ManualClock()
    const writer = await open(fileSystem, { clock })
    const topic = await writer.createTopic('a', { partitions: 2 })
    const [first, second] = topic.partitions
    const reader = await open(fileSystem, { clock, readOnly: true })
    const partition = reader.topic('a').partition(0)
    await first?.append({ value: '0' })
    expect(textsOf(await partition.read(0))).toEqual(['0'])
    await first?.append([{ value: '1' }, { value: '2' }])
    expect(textsOf(await partition.read(1, { maxRecords: 1 }))).toEqual(['1'])
    const consumer = reader.consumer()
    const all = [0, 1].map((index) => ({ topic: 'a', partition: index }))
    consumer.assign(all)
    expect(textsOf(await consumer.poll({ maxWaitMs: 0 }))).toEqual(['0', '1', '2'])
    await first?.append({ value: '3' })
    await second?.append({ value: '4' })
    expect(textsOf(await consumer.poll({ maxWaitMs: 0 })).toSorted()).toEqual(['3', '4'])
    // A call that returns at once has refreshed a moment before.
    await second?.append({ value: '5' })
    await consumer.endOffsets(all)
    reader.describe()
    await clock.advance(100)
    expect((await consumer.endOffsets(all)).map(({ offset }) => offset)).toEqual([4, 2])
    expect((await consumer.lag()).map(({ lag }) => lag)).toEqual([0, 1])
    await reader.close()
    await writer.close()
    expect(clock.pendingTimers).toBe(0)
  })

  it('sees topics that the owner creates, grows, alters or deletes', async () => {
    const fileSystem = new SimulatedFileSystem()
    const clock = new ManualClock()
    const writer = await open(fileSystem, { clock })
    const first = await writer.createTopic('a')
    const reader = await open(fileSystem, { clock, readOnly: true })
    const seen = reader.topic('a').partition(0)
    await writer.createTopic('b', { partitions: 2 })
    await first.addPartitions(3)
    await first.alter({ segmentBytes: 4242 })
    await clock.advance(1_000)
    expect(reader.topics().map(({ name, partitions }) => [name, partitions.length])).toEqual([
      ['a', 3],
      ['b', 2],
    ])
    expect(reader.topic('a').config.segmentBytes).toBe(4242)
    expect(reader.topic('a').partition(0)).toBe(seen)
    const waiting = seen.fetch(0, { maxWaitMs: 60_000 })
    await writer.deleteTopic('a')
    const again = await writer.createTopic('a')
    await again.partition(0).append({ value: 'of the second topic' })
    const outcome = expect(waiting).rejects.toThrow(UnknownTopicOrPartitionError)
    await clock.advance(1_000)
    await outcome
    await expect(seen.read(0)).rejects.toThrow(UnknownTopicOrPartitionError)
    const texts = textsOf(await reader.topic('a').partition(0).read(0))
    expect(texts).toEqual(['of the second topic'])
    await reader.close()
    await writer.close()
  })

  it('sees new topics even if the committed offsets cannot be read', async () => {
    const fileSystem = new SimulatedFileSystem()
    const clock = new ManualClock()
    const writer = await open(fileSystem, { clock })
    const first = await writer.createTopic('a')
    await first.partition(0).append({ value: 'v' })
    const commit = (): Promise<void> =>
      writer.consumer({ groupId: 'g' }).commit([{ topic: 'a', partition: 0, offset: 1 }])
    await commit()
    const reader = await open(fileSystem, { clock, readOnly: true })
    await commit()
    fileSystem.failNext('read', 'EIO', { path: /__consumer_offsets/, persistent: true })
    await writer.createTopic('b')
    await clock.advance(1_000)
    expect(reader.topics().map(({ name }) => name)).toEqual(['a', 'b'])
    fileSystem.clearFaults()
    await reader.close()
    await writer.close()
  })

  it('wakes a fetch at the end of a truncated log when it sees a new record there', async () => {
    const fileSystem = new SimulatedFileSystem()
    const clock = new ManualClock()
    const writer = await open(fileSystem, { clock })
    const owned = (await writer.createTopic('a')).partition(0)
    for (const value of ['0', '1', '2', '3']) await owned.append({ value })
    const reader = await open(fileSystem, { clock, readOnly: true })
    const partition = reader.topic('a').partition(0)
    expect(partition.highWatermark).toBe(4)
    await owned.log.truncateTo(2)
    await clock.advance(100)
    expect(partition.highWatermark).toBe(2)
    const waiting = partition.fetch(2, { maxWaitMs: 60_000 })
    const beyond = partition.fetch(4, { maxWaitMs: 60_000 })
    await expect(beyond).rejects.toThrow(OffsetOutOfRangeError)
    await clock.advance(100)
    await owned.append({ value: 'new' })
    await clock.advance(100)
    expect(textsOf(await waiting)).toEqual(['new'])
    await reader.close()
    await writer.close()
  })

  it('checks for new records before a search by timestamp and before an iteration', async () => {
    const fileSystem = new SimulatedFileSystem()
    const clock = new ManualClock()
    const writer = await open(fileSystem, { clock })
    const owned = (await writer.createTopic('a')).partition(0)
    await owned.append({ value: '0', timestamp: 1000 })
    const asked: (() => Promise<unknown>)[] = []
    const ask = async (question: (reader: Broker) => Promise<unknown>): Promise<void> => {
      const reader = await open(fileSystem, { clock, readOnly: true })
      asked.push(async () => {
        const answer = await question(reader)
        await reader.close()
        return answer
      })
    }
    const partitionOf = (reader: Broker) => reader.topic('a').partition(0)
    const valuesOf = async (
      records: AsyncIterable<{ value: Buffer | null }>,
    ): Promise<string[]> => {
      const values: string[] = []
      for await (const { value } of records) values.push(String(value))
      return values
    }
    await ask((reader) => partitionOf(reader).offsetForTimestamp(1001))
    await ask((reader) => {
      const query = { topic: 'a', partition: 0, timestamp: 1001 }
      return reader.consumer().offsetsForTimes([query])
    })
    await ask(async (reader) => {
      const consumer = reader.consumer()
      consumer.assign([{ topic: 'a', partition: 0 }])
      await consumer.seekToTimestamp([{ topic: 'a', partition: 0 }], 1002)
      return consumer.position({ topic: 'a', partition: 0 })
    })
    await ask((reader) => valuesOf(partitionOf(reader).records({ until: 'end' })))
    await ask((reader) => valuesOf(partitionOf(reader).records({ from: 2, until: 3 })))
    await ask((reader) => valuesOf(partitionOf(reader).records({ from: 'latest', until: 'end' })))
    await ask((reader) => valuesOf(partitionOf(reader).records({ reverse: true })))
    await ask((reader) => valuesOf(partitionOf(reader).records({ reverse: true, from: 2 })))
    await owned.append([
      { value: '1', timestamp: 1001 },
      { value: '2', timestamp: 1002 },
    ])
    const answers: unknown[] = []
    for (const each of asked) answers.push(await each())
    expect(answers).toEqual([
      1,
      [{ topic: 'a', partition: 0, offset: 1, timestamp: 1001 }],
      2,
      ['0', '1', '2'],
      ['2'],
      [],
      ['2', '1', '0'],
      ['2'],
    ])
    await writer.close()
  })

  it.each([
    ['seekToTimestamp', (consumer: Consumer) => consumer.seekToTimestamp([A0], 1)],
    [
      'offsetsForTimes',
      (consumer: Consumer) => consumer.offsetsForTimes([{ ...A0, timestamp: 1 }]),
    ],
  ])('checks for new records only once in %s', async (_, search) => {
    const fileSystem = new SimulatedFileSystem()
    const clock = new ManualClock()
    const writer = await open(fileSystem, { clock })
    await (await writer.createTopic('a')).partition(0).append({ value: '0', timestamp: 0 })
    const reader = await open(fileSystem, { clock, readOnly: true })
    const consumer = reader.consumer()
    consumer.assign([A0])
    const operationsOf = async (task: Promise<unknown>): Promise<number> => {
      const before = fileSystem.operationCount
      await task
      return fileSystem.operationCount - before
    }
    const partition = reader.topic('a').partition(0)
    // The first search reads more than the next ones.
    await partition.offsetForTimestamp(1)
    const expected = await operationsOf(partition.offsetForTimestamp(1))
    expect(await operationsOf(search(consumer))).toBe(expected)
    await reader.close()
    await writer.close()
  })

  it('rejects reads of a deleted topic as unknown, and continues to poll the other topics', async () => {
    const fileSystem = new SimulatedFileSystem()
    const clock = new ManualClock()
    const writer = await open(fileSystem, { clock })
    const topic = await writer.createTopic('a', { segmentBytes: 200 })
    const other = await writer.createTopic('b')
    for (let each = 0; each < 10; each += 1)
      await topic.partition(0).append({ value: 'x'.repeat(99) })
    const reader = await open(fileSystem, { clock, readOnly: true })
    const consumer = reader.consumer({ groupId: 'g', enableAutoCommit: false, maxPollRecords: 1 })
    consumer.subscribe(['a', 'b'])
    expect(await consumer.poll({ maxWaitMs: 0 })).toHaveLength(1)
    consumer.seek({ topic: 'a', partition: 0 }, 5)
    const partition = reader.topic('a').partition(0)
    await writer.deleteTopic('a')
    expect(await consumer.poll({ maxWaitMs: 0 })).toEqual([])
    await expect(partition.read(5)).rejects.toThrow(UnknownTopicOrPartitionError)
    expect(reader.topics().map(({ name }) => name)).toEqual(['b'])
    await other.partition(0).append({ value: 'of the other' })
    expect(textsOf(await consumer.poll({ maxWaitMs: 0 }))).toEqual(['of the other'])
    await reader.close()
    await writer.close()
  })

  it('reports a missing partition directory as a storage error if the topic still exists', async () => {
    const fileSystem = new SimulatedFileSystem()
    const writer = await open(fileSystem)
    const topic = await writer.createTopic('a', { segmentBytes: 200 })
    for (let each = 0; each < 3; each += 1)
      await topic.partition(0).append({ value: 'x'.repeat(99) })
    const reader = await open(fileSystem, { readOnly: true })
    for (const { name } of await fileSystem.list('/data/a-0')) {
      await fileSystem.unlink(`/data/a-0/${name}`)
    }
    await fileSystem.removeDirectory('/data/a-0')
    const reading = reader.topic('a').partition(0).read(0)
    await expect(reading).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    await reader.close()
  })

  it('does not apply the committed offsets of a deleted topic to a new one of the same name', async () => {
    const fileSystem = new SimulatedFileSystem()
    const clock = new ManualClock()
    const writer = await open(fileSystem, { clock })
    const append = async (values: string[]): Promise<void> => {
      const topic = await writer.createTopic('a')
      await topic.partition(0).append(values.map((value) => ({ value })))
    }
    await append(['old 0', 'old 1'])
    await writer.consumer({ groupId: 'g' }).commit([{ topic: 'a', partition: 0, offset: 2 }])
    const reader = await open(fileSystem, { clock, readOnly: true })
    const consumer = reader.consumer({ groupId: 'g', enableAutoCommit: false })
    consumer.assign([{ topic: 'a', partition: 0 }])
    expect(await consumer.poll({ maxWaitMs: 0 })).toEqual([])
    await writer.deleteTopic('a')
    await append(['new 0', 'new 1', 'new 2'])
    let polls: Promise<unknown[]> = Promise.resolve([])
    // It polls as soon as it can see the topic, even if other topics are still being read.
    fileSystem.observe(() => {
      const found = reader.topics().find(({ name }) => name === 'a')
      if (found === undefined || found.partition(0).logEndOffset !== 3) return
      fileSystem.observe(null)
      polls = consumer.poll({ maxWaitMs: 0 }).then(textsOf)
    })
    await clock.advance(1_000)
    fileSystem.observe(null)
    const seen = await polls
    const all = [...seen, ...textsOf(await consumer.poll({ maxWaitMs: 0 }))]
    expect(all).toEqual(['new 0', 'new 1', 'new 2'])
    await reader.close()
    await writer.close()
  })

  it('does not treat a topic created after its open as cleanly closed while the owner is running', async () => {
    const fileSystem = new SimulatedFileSystem()
    const clock = new ManualClock()
    await (await open(fileSystem, { clock })).close()
    const reader = await open(fileSystem, { clock, readOnly: true })
    const writer = await open(fileSystem, { clock })
    const topic = await writer.createTopic('a', { segmentBytes: 200 })
    // The last segment is not in the record of segments.
    const values = ['a', 'b', 'c', 'd', 'e', 'f']
    for (const value of values) await topic.partition(0).append({ value })
    await clock.advance(1_000)
    const partition = reader.topic('a').partition(0)
    expect(partition.log.damage).toBe(null)
    expect(textsOf(await partition.read(0))).toEqual(values)
    await reader.close()
    await writer.close()
  })

  it('reports the damage of a topic created later and closed cleanly, as a new open would', async () => {
    const fileSystem = new SimulatedFileSystem()
    const clock = new ManualClock()
    await (await open(fileSystem, { clock })).close()
    const reader = await open(fileSystem, { clock, readOnly: true })
    const writer = await open(fileSystem, { clock })
    const partition = (await writer.createTopic('a')).partition(0)
    await partition.append({ value: 'x' })
    const path = `/data/a-0/${'0'.repeat(20)}.log`
    const first = fileSystem.readFile(path)
    await writer.close()
    const second = Buffer.from(first)
    second.writeBigInt64BE(1n, 0)
    fileSystem.writeFile(path, Buffer.concat([first, second]))
    await clock.advance(1_000)
    const damage = 'the log ends at offset 2, but it ended at 1 before'
    expect(reader.topic('a').partition(0).log.damage?.message).toContain(damage)
    await reader.close()
  })

  it('opens without a topic that its owner deletes during the open', async () => {
    let turn = 0
    for (let count = Infinity; turn < count; turn += 1) {
      const disk = new SimulatedFileSystem()
      const writer = await open(disk, {})
      for (const name of ['a', 'b']) await (await writer.createTopic(name)).partition(0).append({})
      let step = 0
      const happen = async (): Promise<void> => {
        if (step === turn) await writer.deleteTopic('a')
        step += 1
      }
      const fileSystem = new Proxy(disk, {
        get(_, name) {
          const value: unknown = Reflect.get(disk, name)
          if (typeof value !== 'function') return value
          if (name !== 'list' && name !== 'stat' && name !== 'open')
            return value.bind(disk) as unknown
          return async (...args: unknown[]): Promise<unknown> => {
            await happen()
            return value.apply(disk, args) as unknown
          }
        },
      })
      const reader = await open(fileSystem, { readOnly: true })
      count = step
      const where = `deleted before operation ${turn}`
      expect(reader.recovery.damaged, where).toEqual([])
      expect(reader.topic('b').partition(0).logEndOffset, where).toBe(1)
      await reader.close()
      await writer.close()
    }
    expect(turn).toBeGreaterThan(10)
  })

  it('treats a topic that was created again as new, whatever it knew of the deleted one', async () => {
    const fileSystem = new SimulatedFileSystem()
    const clock = new ManualClock()
    const first = await open(fileSystem, { clock })
    const records = [{ value: 'x' }, { value: 'y' }]
    await (await first.createTopic('a')).partition(0).append(records)
    await first.topic('a').partition(0).append(records)
    await first.topic('a').partition(0).deleteRecords(2)
    await first.close()
    const writer = await open(fileSystem, { clock })
    const reader = await open(fileSystem, { clock, readOnly: true })
    await writer.deleteTopic('a')
    const again = await writer.createTopic('a')
    await clock.advance(1_000)
    const partition = reader.topic('a').partition(0)
    expect(await partition.read(0)).toEqual([])
    await again.partition(0).append({ value: 'of the second topic' })
    await partition.refresh()
    expect(textsOf(await partition.read(0))).toEqual(['of the second topic'])
    expect(partition.logStartOffset).toBe(0)
    await reader.close()
    await writer.close()
  })

  it('has consumers that start at the offsets committed by the owner, and cannot commit', async () => {
    const fileSystem = new SimulatedFileSystem()
    const clock = new ManualClock()
    const writer = await open(fileSystem, { clock })
    const topic = await writer.createTopic('a')
    await topic.partition(0).append([{ value: 'x' }, { value: 'y' }, { value: 'z' }])
    const reader = await open(fileSystem, { clock, readOnly: true })
    const owner = writer.consumer({ groupId: 'g' })
    await owner.commit([{ topic: 'a', partition: 0, offset: 1 }])
    await clock.advance(1_000)
    const consumer = reader.consumer({ groupId: 'g' })
    consumer.subscribe(['a'])
    expect(textsOf(await consumer.poll())).toEqual(['y', 'z'])
    await expect(consumer.commit()).rejects.toThrow(ReadOnlyError)
    expect(() => reader.consumer({ groupId: 'g', enableAutoCommit: true })).toThrow(ReadOnlyError)
    await owner.commit([{ topic: 'a', partition: 0, offset: 2 }])
    await clock.advance(1_000)
    expect((await consumer.committed({ topic: 'a', partition: 0 }))?.offset).toBe(2)
    const before = fileSystem.snapshot()
    await reader.close()
    expect(fileSystem.snapshot()).toEqual(before)
    await writer.close()
  })

  it('follows deletions of records by the owner', async () => {
    const fileSystem = new SimulatedFileSystem()
    const clock = new ManualClock()
    const writer = await open(fileSystem, { clock })
    const partition = (await writer.createTopic('a')).partition(0)
    await partition.append([{ value: 'x' }, { value: 'y' }])
    await partition.append({ value: 'z' })
    const reader = await open(fileSystem, { clock, readOnly: true })
    const followed = reader.topic('a').partition(0)
    const waiting = followed.fetch(3, { maxWaitMs: 60_000 })
    await partition.deleteRecords(2)
    await partition.append({ value: 'w' })
    await clock.advance(200)
    expect(textsOf(await waiting)).toEqual(['w'])
    expect(followed.logStartOffset).toBe(2)
    await expect(followed.read(1)).rejects.toThrow(OffsetOutOfRangeError)
    await reader.close()
    await writer.close()
  })

  it.each<[string, (reader: Broker) => unknown]>([
    ['logStartOffset', (reader) => reader.topic('a').partition(0).logStartOffset],
    ['logEndOffset', (reader) => reader.topic('a').partition(0).logEndOffset],
    ['diskUsage()', (reader) => reader.topic('a').partition(0).diskUsage()],
    ['diskUsage() of the topic', (reader) => reader.topic('a').diskUsage()],
    ['beginningOffsets()', (reader) => reader.consumer().beginningOffsets([A0])],
  ])('shows by %s what the owner changed before an earlier call of it', async (_call, ask) => {
    const fileSystem = new SimulatedFileSystem()
    const clock = new ManualClock()
    const writer = await open(fileSystem, { clock })
    const partition = (await writer.createTopic('a')).partition(0)
    for (const value of ['x', 'y']) await partition.append({ value })
    const reader = await open(fileSystem, { clock, readOnly: true })
    const before = await ask(reader)
    await clock.advance(10_000)
    await partition.append({ value: 'z' })
    await partition.deleteRecords(1)
    expect(await ask(reader)).toEqual(before)
    await clock.advance(100)
    const now = await ask(reader)
    expect(now).not.toEqual(before)
    expect(now).toEqual(await ask(writer))
    await reader.close()
    await writer.close()
    expect(clock.pendingTimers).toBe(0)
  })

  it('forgets the committed offsets of a directory that its owner empties and begins anew', async () => {
    const fileSystem = new SimulatedFileSystem()
    const clock = new ManualClock()
    const group = { groupId: 'g', enableAutoCommit: false }
    const begin = async (): Promise<Broker> => {
      const owner = await open(fileSystem, { clock })
      const topic = await owner.createTopic('a')
      await topic.partition(0).append(['x', 'y', 'z', 'w'].map((value) => ({ value })))
      return owner
    }
    let owner = await begin()
    for (const offset of [1, 2, 3]) await owner.consumer(group).commit([{ ...A0, offset }])
    const reader = await open(fileSystem, { clock, readOnly: true })
    const committed = async (): Promise<number | undefined> => {
      await clock.advance(1_000)
      return (await reader.consumer(group).committed(A0))?.offset
    }
    expect(await committed()).toBe(3)
    await owner.close()
    for (const path of fileSystem.snapshot().keys()) await fileSystem.unlink(path)
    owner = await begin()
    expect(await committed()).toBe(undefined)
    await owner.consumer(group).commit([{ ...A0, offset: 1 }])
    expect(await committed()).toBe(1)
    await owner.close()
    for (const path of fileSystem.snapshot().keys()) await fileSystem.unlink(path)
    owner = await begin()
    await owner.consumer(group).commit([{ ...A0, offset: 2 }])
    expect(await committed()).toBe(2)
    await reader.close()
    await owner.close()
  })
})

describe('a broker in memory', () => {
  it('returns the same records and rolls as many segments as one on disk', async () => {
    const results = []
    for (const fileSystem of [undefined, new SimulatedFileSystem()]) {
      await using broker = await tempBroker(fileSystem === undefined ? {} : { fileSystem })
      const topic = await broker.createTopic('a', { segmentBytes: 150 })
      for (const value of ['x', 'y', 'z']) await topic.partition(0).append({ value, timestamp: 5 })
      results.push(await topic.partition(0).read(0), topic.partition(0).log.segments.length)
    }
    expect(results.slice(0, 2)).toEqual(results.slice(2))
  })
})
