import { describe, expect, it, vi } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import type { Partition } from '../../lib/broker/partition.ts'
import type { Topic } from '../../lib/broker/topic.ts'
import type { ConsumerOptions } from '../../lib/client/consumer-options.ts'
import type { Consumer } from '../../lib/client/consumer.ts'
import { string, type Deserializer } from '../../lib/client/serde.ts'
import {
  OffsetOutOfRangeError,
  SerializationError,
  StorageError,
  UnknownTopicOrPartitionError,
} from '../../lib/errors.ts'
import type { File, FileStat, OpenMode } from '../../lib/platform/file-system.ts'
import { LEADER_EPOCH_POSITION } from '../../lib/record/batch-layout.ts'
import type { StoredRecord } from '../../lib/record/stored-record.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { values } from '../client/consumer-harness.ts'
import { textsOf } from '../helpers/partitions.ts'
import { seenThrough } from '../helpers/seen-through.ts'

interface Brokers {
  readonly clock: ManualClock
  readonly fileSystem: SimulatedFileSystem
  readonly owner: Broker
  /** Another process that only reads. */
  readonly openReader: () => Promise<Broker>
}

async function fixture(fileSystem = new SimulatedFileSystem()): Promise<Brokers> {
  const clock = new ManualClock()
  const owner = await Broker.open('/data', { fileSystem, clock })
  const openReader = (): Promise<Broker> =>
    Broker.open('/data', { fileSystem, clock, readOnly: true })
  return { clock, fileSystem, owner, openReader }
}

async function allOf(records: AsyncIterable<StoredRecord>): Promise<StoredRecord[]> {
  const all: StoredRecord[] = []
  for await (const record of records) all.push(record)
  return all
}

const PLACE = { topic: 'a', partition: 0 }
const OTHER = { topic: 'b', partition: 0 }

/** A topic of five segments: the records of each have its tag in their values. */
async function makeTopic(owner: Broker, tag: string): Promise<Topic> {
  const topic = await owner.createTopic('a', { segmentBytes: 200 })
  for (let offset = 0; offset < 10; offset += 1) {
    await topic.partition(0).append({ value: `${tag}${offset}` })
  }
  return topic
}

/** A disk that reuses the inode number of a removed file for the next file of that name. */
class ReusingDisk extends SimulatedFileSystem {
  override async open(path: string, mode: OpenMode): Promise<File> {
    const file = await super.open(path, mode)
    const stat = file.stat.bind(file)
    file.stat = async () => ({ ...(await stat()), identity: path })
    Object.defineProperty(file, 'identity', { value: path })
    return file
  }

  override async stat(path: string): Promise<FileStat | null> {
    const stat = await super.stat(path)
    return stat === null ? null : { ...stat, identity: path }
  }

  override statNow(path: string): FileStat | null | undefined {
    const stat = super.statNow(path)
    return stat === null || stat === undefined ? stat : { ...stat, identity: path }
  }
}

it('a reader does not show the log of a topic as empty while the owner deletes the topic', async () => {
  const { owner, fileSystem, openReader } = await fixture()
  await makeTopic(owner, 'old')
  const reader = await openReader()
  const partition = reader.topic('a').partition(0)
  fileSystem.failNext('unlink', 'EIO', { path: /partition\.metadata$/ })
  await expect(owner.deleteTopic('a')).rejects.toThrow('EIO')
  await expect(partition.refresh()).rejects.toThrow(UnknownTopicOrPartitionError)
  expect([partition.logStartOffset, partition.highWatermark]).toEqual([0, 10])
  await expect(partition.read(0)).rejects.toThrow(UnknownTopicOrPartitionError)
  await reader.close()
  await owner.close()
})

it('a reader shows a topic of a directory without a list of topics even if its log is missing', async () => {
  const { owner, fileSystem, openReader } = await fixture()
  await makeTopic(owner, 'old')
  await owner.close()
  for (const path of fileSystem.snapshot().keys()) {
    if (/varve-topics|\/a-0\/.*\.log$/.test(path)) await fileSystem.unlink(path)
  }
  const reader = await openReader()
  expect(reader.topic('a').partitions).toHaveLength(1)
  await reader.close()
})

describe.each([
  ['', () => new SimulatedFileSystem()],
  [' on a disk that uses the numbers of files again', () => new ReusingDisk()],
])('a topic that its owner deletes and creates again%s', (_, makeDisk) => {
  it.each<[string, (partition: Partition) => Promise<unknown>]>([
    ['read()', (partition) => partition.read(3)],
    ['a read() of a few', (partition) => partition.read(3, { maxRecords: 2 })],
    ['fetch()', (partition) => partition.fetch(3)],
    ['readLast()', (partition) => partition.readLast(10)],
    ['records()', (partition) => allOf(partition.records({ from: 3, until: 'end' }))],
    ['records() backwards', (partition) => allOf(partition.records({ reverse: true }))],
    ['offsetForTimestamp()', (partition) => partition.offsetForTimestamp(1)],
  ])('is not mistaken for the old one by %s', async (_call, read) => {
    const { owner, openReader } = await fixture(makeDisk())
    await makeTopic(owner, 'old')
    const reader = await openReader()
    const partition = reader.topic('a').partition(0)
    await owner.deleteTopic('a')
    await makeTopic(owner, 'new')
    await expect(read(partition)).rejects.toThrow(UnknownTopicOrPartitionError)
    expect(textsOf(await reader.topic('a').partition(0).read(0))).toContain('new0')
    await reader.close()
    await owner.close()
  })

  it('is read from its start by a consumer that had a position in the old one', async () => {
    const { owner, openReader } = await fixture(makeDisk())
    await makeTopic(owner, 'old')
    const reader = await openReader()
    const consumer = reader.consumer({ maxPollRecords: 4, maxPartitionFetchBytes: 1 })
    consumer.assign([PLACE])
    const texts = textsOf(await consumer.poll({ maxWaitMs: 0 }))
    await owner.deleteTopic('a')
    await makeTopic(owner, 'new')
    for (let polls = 0; polls < 40; polls += 1) {
      texts.push(...textsOf(await consumer.poll({ maxWaitMs: 0 })))
    }
    const ofTheNewOne = Array.from({ length: 10 }, (_each, offset) => `new${offset}`)
    expect(texts).toEqual(['old0', 'old1', ...ofTheNewOne])
    await reader.close()
    await owner.close()
  })
})

it.each<[string, (partition: Partition) => Promise<unknown>]>([
  ['read()', (partition) => partition.read(0)],
  ['a read() of a few', (partition) => partition.read(0, { maxRecords: 2 })],
  ['fetch()', (partition) => partition.fetch(0)],
  ['records()', (partition) => allOf(partition.records({ from: 0, until: 3 }))],
])(
  'rejects %s of a deleted topic once the reader has refreshed the list of topics',
  async (_, read) => {
    const { clock, owner, openReader } = await fixture()
    await makeTopic(owner, 'v')
    const reader = await openReader()
    const followed = reader.topic('a').partition(0)
    expect(textsOf(await followed.read(0))).toContain('v0')
    await owner.deleteTopic('a')
    await clock.advance(1_000)
    await expect(read(followed)).rejects.toThrow(UnknownTopicOrPartitionError)
    await reader.close()
    await owner.close()
  },
)

describe('records that the owner deletes from a file that the reader has open', () => {
  it.each<[string, (partition: Partition) => Promise<unknown>]>([
    ['read()', (partition) => partition.read(0)],
    ['a read() of a few', (partition) => partition.read(0, { maxRecords: 2 })],
    ['fetch()', (partition) => partition.fetch(0)],
    ['records()', (partition) => allOf(partition.records({ from: 0, until: 3 }))],
    [
      'records() backwards',
      (partition) => allOf(partition.records({ from: 0, until: 3, reverse: true })),
    ],
  ])(
    'are no longer returned by %s 50 ms after a read that may still return them',
    async (_, read) => {
      const { clock, owner, openReader } = await fixture()
      const partition = (await makeTopic(owner, 'v')).partition(0)
      const reader = await openReader()
      const followed = reader.topic('a').partition(0)
      expect(textsOf(await allOf(followed.records({ until: 'end' })))).toHaveLength(10)
      await clock.advance(1_000)
      await partition.deleteRecords(5)
      await followed.read(4)
      await clock.advance(50)
      await expect(read(followed)).rejects.toThrow(OffsetOutOfRangeError)
      await reader.close()
      await owner.close()
    },
  )

  it.each<[string, (partition: Partition, offset: number) => Promise<unknown>]>([
    ['read()', (partition, offset) => partition.read(offset)],
    ['a read() of a few', (partition, offset) => partition.read(offset, { maxRecords: 1 })],
    ['fetch()', (partition, offset) => partition.fetch(offset)],
    ['readLast()', (partition) => partition.readLast(1)],
  ])('are noticed by a refresh that %s has started', async (_, read) => {
    const { clock, owner, openReader } = await fixture()
    const partition = (await makeTopic(owner, 'v')).partition(0)
    const reader = await openReader()
    const followed = reader.topic('a').partition(0)
    await clock.advance(1_000)
    await read(followed, 8)
    await partition.deleteRecords(5)
    await clock.advance(50)
    expect(followed.log.logStartOffset).toBe(5)
    await reader.close()
    await owner.close()
  })
})

describe('a log that its owner truncates below the position of a reader and writes again', () => {
  const [READ, CUT, OLD_END, NEW_END] = [12, 5, 20, 30]
  const RESET = { ...PLACE, from: READ, to: CUT, reason: 'truncated' }
  const OLD = Array.from({ length: OLD_END }, (_, offset) => `old${offset}`)
  const NEW = Array.from({ length: NEW_END }, (_, offset) => `new${offset}`)

  async function append(partition: Partition, values: readonly string[]): Promise<void> {
    for (const value of values) await partition.append({ value })
  }

  /** A log that is not truncated yet, in segments of `segmentBytes`. */
  async function makeLog(segmentBytes: number): Promise<Brokers & { cut: () => Promise<void> }> {
    const brokers = await fixture()
    const partition = (await brokers.owner.createTopic('a', { segmentBytes })).partition(0)
    await append(partition, OLD)
    const cut = async (): Promise<void> => {
      await partition.log.truncateTo(CUT)
      await append(partition, NEW.slice(CUT))
    }
    return { ...brokers, cut }
  }

  const SIZES: readonly [string, number][] = [
    ['one segment', 100_000],
    ['many segments', 200],
  ]

  it.each(SIZES)(
    'moves a consumer with a backlog back to the truncation point, as in the owner process, in %s',
    async (_, segmentBytes) => {
      const { owner, openReader, cut } = await makeLog(segmentBytes)
      const reader = await openReader()
      const resets: unknown[] = []
      const consumers = [owner, reader].map((broker) => {
        const onOffsetReset = (reset: unknown): unknown => resets.push(reset)
        const limits = { maxPollRecords: 1, maxPartitionFetchBytes: 1, fetchMaxBytes: 1 }
        const consumer = broker.consumer({ ...limits, onOffsetReset })
        consumer.assign([PLACE])
        return consumer
      })
      const texts: (string | null)[][] = []
      for (const consumer of consumers) {
        const seen: (string | null)[] = []
        const poll = async (): Promise<void> => {
          seen.push(...textsOf(await consumer.poll({ maxWaitMs: 0 })))
        }
        while (seen.length < READ) await poll()
        texts.push(seen)
      }
      await cut()
      for (const [slot, consumer] of consumers.entries()) {
        for (let polls = 0; polls < NEW_END; polls += 1) {
          texts[slot]?.push(...textsOf(await consumer.poll({ maxWaitMs: 0 })))
        }
      }
      expect(resets).toEqual([RESET, RESET])
      expect(texts[0]).toEqual([...OLD.slice(0, READ), ...NEW.slice(CUT)])
      expect(texts[1]).toEqual(texts[0])
      await reader.close()
      await owner.close()
    },
  )

  it('is read again by a consumer that has reported one of the removed records', async () => {
    const { clock, owner, openReader, cut } = await makeLog(200)
    const reader = await openReader()
    const text = string()
    const valueDeserializer: Deserializer<string> = {
      deserialize: (data, context) => {
        const value = text.deserialize(data, context)
        if (value.startsWith('old')) throw new Error('not mine')
        return value
      },
    }
    const consumers = [owner, reader].map((broker) => broker.consumer({ valueDeserializer }))
    for (const consumer of consumers) {
      consumer.assign([PLACE])
      consumer.seek(PLACE, CUT)
      await expect(consumer.poll({ maxWaitMs: 0 })).rejects.toThrow(SerializationError)
    }
    await cut()
    await clock.advance(100)
    for (const consumer of consumers) {
      const seen: (string | null)[] = []
      while (seen.length < NEW_END - CUT) {
        seen.push(...values(await consumer.poll({ maxWaitMs: 0 })))
      }
      expect(seen).toEqual(NEW.slice(CUT))
    }
    await reader.close()
    await owner.close()
  })

  it('gives a consumer whose onOffsetReset seeks to the end nothing older than that poll', async () => {
    const { clock, owner, openReader, cut } = await makeLog(200)
    const reader = await openReader()
    const consumer: Consumer<Buffer, string> = reader.consumer({
      valueDeserializer: string(),
      onOffsetReset: () => {
        consumer.seekToEnd()
      },
    })
    consumer.assign([PLACE])
    let seen = 0
    while (seen < OLD_END) seen += (await consumer.poll({ maxWaitMs: 0 })).length
    await cut()
    await clock.advance(100)
    await append(owner.topic('a').partition(0), ['missed'])
    expect(await consumer.poll({ maxWaitMs: 0 })).toEqual([])
    expect(consumer.position(PLACE)).toBe(NEW_END + 1)
    await reader.close()
    await owner.close()
  })

  it('makes each poll of a consumer without autoOffsetReset reject until it seeks', async () => {
    const { owner, openReader, cut } = await makeLog(200)
    const reader = await openReader()
    const limits = { maxPollRecords: 1, maxPartitionFetchBytes: 1, fetchMaxBytes: 1 }
    const consumer = reader.consumer({ ...limits, autoOffsetReset: 'none' })
    consumer.assign([PLACE])
    consumer.seek(PLACE, READ - 1)
    expect(textsOf(await consumer.poll({ maxWaitMs: 0 }))).toEqual([OLD[READ - 1]])
    await cut()
    const poll = async (): Promise<(string | null)[]> =>
      textsOf(await consumer.poll({ maxWaitMs: 0 }))
    await expect(poll()).rejects.toThrow(OffsetOutOfRangeError)
    await expect(poll()).rejects.toThrow(OffsetOutOfRangeError)
    consumer.seek(PLACE, CUT)
    expect(await poll()).toEqual([NEW[CUT]])
    await reader.close()
    await owner.close()
  })

  it.each<[string, (partition: Partition, offset: number) => Promise<StoredRecord[]>]>([
    ['read()', (partition, offset) => partition.read(offset)],
    ['read() of a few', (partition, offset) => partition.read(offset, { maxRecords: 4 })],
    ['fetch()', (partition, offset) => partition.fetch(offset, { maxWaitMs: 0 })],
    ['fetch() of more', (partition, at) => partition.fetch(at, { minBytes: 500, maxWaitMs: 0 })],
  ])('is read by %s without old records behind the truncation point', async (_, read) => {
    const { owner, openReader, cut } = await makeLog(200)
    const reader = await openReader()
    const partition = reader.topic('a').partition(0)
    await cut()
    const texts: (string | null)[] = []
    let count = 1
    for (let offset = 0; count > 0; offset += count) {
      const records = await read(partition, offset)
      texts.push(...textsOf(records))
      count = records.length
    }
    expect(texts).toEqual([...OLD.slice(0, CUT), ...NEW.slice(CUT)])
    await reader.close()
    await owner.close()
  })

  it('is refreshed at the first read only, not at each, if a batch has an unknown leader epoch', async () => {
    const { owner, fileSystem, openReader } = await makeLog(100_000)
    const path = '/data/a-0/00000000000000000000.log'
    const reader = await openReader()
    // No checksum covers this field.
    const rotten = Buffer.from(fileSystem.readFile(path))
    rotten.writeInt32BE(77, LEADER_EPOCH_POSITION)
    fileSystem.writeFile(path, rotten)
    let looks = 0
    fileSystem.observe(({ kind }) => {
      if (kind === 'list') looks += 1
    })
    const partition = reader.topic('a').partition(0)
    const read = async (): Promise<(string | null)[]> =>
      textsOf(await partition.read(0, { maxRecords: 1 }))
    expect(await read()).toEqual([OLD[0]])
    const before = looks
    expect(await read()).toEqual([OLD[0]])
    expect([before, looks]).toEqual([4, 4])
    await reader.close()
    await owner.close()
  })
})

describe('a consumer of a reader that is to start at the end of a log', () => {
  type Options = ConsumerOptions<string, string>
  const SUBSCRIBED: Options = { groupId: 'g', autoOffsetReset: 'latest' }

  it.each<[string, Options, (consumer: Consumer<string, string>) => void]>([
    ["by 'latest'", { autoOffsetReset: 'latest' }, (consumer) => { consumer.assign([PLACE]) }], // prettier-ignore
    ["by 'latest' in a group", SUBSCRIBED, (consumer) => { consumer.subscribe(['a']) }], // prettier-ignore
    [
      "by 'latest' and a fetch of many bytes",
      { autoOffsetReset: 'latest', fetchMinBytes: 1_000 },
      (consumer) => {
        consumer.assign([PLACE])
      },
    ],
    [
      'by seekToEnd()',
      {},
      (consumer) => {
        consumer.assign([PLACE])
        consumer.seekToEnd()
      },
    ],
    [
      'by seekToEnd() while it is paused',
      {},
      (consumer) => {
        consumer.assign([PLACE])
        consumer.pause([PLACE])
        consumer.seekToEnd()
      },
    ],
    [
      "by 'latest' because the records at its position are deleted",
      { autoOffsetReset: 'latest' },
      (consumer) => {
        consumer.assign([PLACE])
        consumer.seek(PLACE, 0)
      },
    ],
  ])('returns only what is appended after its first poll, %s', async (_, options, start) => {
    const { owner, openReader } = await fixture()
    const owned = (await makeTopic(owner, 'old')).partition(0)
    await owned.deleteRecords(5)
    const reader = await openReader()
    for (const value of ['x', 'y', 'z']) await owned.append({ value })
    const consumer = reader.consumer<string, string>({ ...options, valueDeserializer: string() })
    start(consumer)
    expect(await consumer.poll({ maxWaitMs: 0 })).toEqual([])
    expect(consumer.position(PLACE)).toBe(13)
    consumer.resume([PLACE])
    await owned.append({ value: 'new' })
    expect(values(await consumer.poll({ maxWaitMs: 0 }))).toEqual(['new'])
    await reader.close()
    await owner.close()
  })

  it('returns nothing older than a poll that finds the records at its position deleted', async () => {
    const { owner, openReader } = await fixture()
    const owned = (await makeTopic(owner, 'old')).partition(0)
    const reader = await openReader()
    const consumer = reader.consumer({ autoOffsetReset: 'latest', valueDeserializer: string() })
    consumer.assign([PLACE])
    consumer.seek(PLACE, 0)
    await owned.deleteRecords(8)
    await owned.append({ value: 'missed' })
    expect(await consumer.poll({ maxWaitMs: 0 })).toEqual([])
    expect(consumer.position(PLACE)).toBe(11)
    await reader.close()
    await owner.close()
  })

  it('returns nothing older than a poll whose onOffsetReset seeks to the end', async () => {
    const { owner, openReader } = await fixture()
    const owned = (await makeTopic(owner, 'old')).partition(0)
    await owner.consumer({ groupId: 'g' }).commit([{ ...PLACE, offset: 1 }])
    await owned.deleteRecords(5)
    const reader = await openReader()
    await owned.append({ value: 'missed' })
    const consumer: Consumer<Buffer, string> = reader.consumer({
      groupId: 'g',
      valueDeserializer: string(),
      onOffsetReset: () => {
        consumer.seekToEnd()
      },
    })
    consumer.assign([PLACE])
    expect(await consumer.poll({ maxWaitMs: 0 })).toEqual([])
    expect(consumer.position(PLACE)).toBe(11)
    await owned.append({ value: 'new' })
    expect(values(await consumer.poll({ maxWaitMs: 0 }))).toEqual(['new'])
    await reader.close()
    await owner.close()
  })

  type Move = (consumer: Consumer<Buffer, string>) => void

  it.each<[string, readonly (typeof PLACE)[], Move]>([
    ['is sought to the end', [PLACE, OTHER], (consumer) => { consumer.seekToEnd([OTHER]) }], // prettier-ignore
    ['is assigned', [PLACE], (consumer) => { consumer.assign([PLACE, OTHER]) }], // prettier-ignore
  ])('returns nothing older than a poll during which a partition %s', async (_, assigned, move) => {
    const { owner, openReader, fileSystem } = await fixture()
    await makeTopic(owner, 'old')
    const other = (await owner.createTopic('b')).partition(0)
    const reader = await openReader()
    await other.append({ value: 'missed' })
    const consumer = reader.consumer({ autoOffsetReset: 'latest', valueDeserializer: string() })
    consumer.assign(assigned)
    if (assigned.includes(OTHER)) consumer.seek(OTHER, 0)
    let hasMoved = false
    fileSystem.observe(({ kind, path }) => {
      if (kind !== 'list' || path !== '/data/a-0' || hasMoved) return
      hasMoved = true
      move(consumer)
    })
    expect(await consumer.poll({ maxWaitMs: 0 })).toEqual([])
    expect(hasMoved).toBe(true)
    expect(consumer.position(OTHER)).toBe(1)
    await other.append({ value: 'new' })
    expect(values(await consumer.poll({ maxWaitMs: 0 }))).toEqual(['new'])
    await reader.close()
    await owner.close()
  })
})

it('a poll of a reader rejects if it cannot look for the end at which it would start, and has nothing else', async () => {
  const { owner, openReader, fileSystem } = await fixture()
  const owned = (await makeTopic(owner, 'old')).partition(0)
  const other = (await owner.createTopic('b')).partition(0)
  const reader = await openReader()
  await owned.append({ value: 'missed' })
  await other.append({ value: 'other' })
  await reader.topic('b').partition(0).readLast(1)
  const consumer = reader.consumer({ autoOffsetReset: 'latest', valueDeserializer: string() })
  consumer.assign([PLACE, OTHER])
  consumer.seek(OTHER, 0)
  fileSystem.failNext('list', 'EIO', { path: '/data/a-0', persistent: true })
  expect(values(await consumer.poll({ maxWaitMs: 0 }))).toEqual(['other'])
  await expect(consumer.poll({ maxWaitMs: 0 })).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
  fileSystem.clearFaults()
  expect(await consumer.poll({ maxWaitMs: 0 })).toEqual([])
  await owned.append({ value: 'new' })
  expect(values(await consumer.poll({ maxWaitMs: 0 }))).toEqual(['new'])
  await reader.close()
  await owner.close()
})

it('a poll of a reader waits for other records while it has paused a partition that it cannot look at', async () => {
  const { clock, owner, openReader, fileSystem } = await fixture()
  await makeTopic(owner, 'old')
  const other = (await owner.createTopic('b')).partition(0)
  const reader = await openReader()
  const consumer = reader.consumer({ autoOffsetReset: 'latest', valueDeserializer: string() })
  consumer.assign([PLACE, OTHER])
  consumer.seek(OTHER, 0)
  fileSystem.failNext('list', 'EIO', { path: '/data/a-0', persistent: true })
  await expect(consumer.poll({ maxWaitMs: 1_000 })).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
  consumer.pause([PLACE])
  const polling = consumer.poll({ maxWaitMs: 1_000 }).then(values)
  const appending = clock.advance(100).then(() => other.append({ value: 'new' }))
  await Promise.all([polling, appending.then(() => clock.advance(900))])
  expect(await polling).toEqual(['new'])
  consumer.resume([PLACE])
  await expect(consumer.poll({ maxWaitMs: 0 })).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
  await reader.close()
  await owner.close()
})

it('a poll of a reader that returns buffered records begins no look at their log', async () => {
  const { clock, owner, openReader } = await fixture()
  await (await owner.createTopic('a')).partition(0).append([{ value: 'v0' }, { value: 'v1' }])
  const reader = await openReader()
  const consumer = reader.consumer({
    autoOffsetReset: 'latest',
    maxPollRecords: 1,
    valueDeserializer: string(),
  })
  consumer.assign([PLACE])
  consumer.seek(PLACE, 0)
  expect(values(await consumer.poll())).toEqual(['v0'])
  await clock.advance(1_000)
  const { pendingTimers } = clock
  expect(values(await consumer.poll())).toEqual(['v1'])
  expect(clock.pendingTimers).toBe(pendingTimers)
  await reader.close()
  await owner.close()
})

describe('a look of a reader that the owner meets with a compaction', () => {
  const END = 24

  /** A reader that knows the first record, and the first of whose next looks meets a compaction. */
  async function met(): Promise<{ clock: ManualClock; reader: Broker; end: () => Promise<void> }> {
    const { clock, fileSystem, owner } = await fixture()
    const config = { segmentBytes: 200, cleanupPolicy: 'compact' } as const
    const topic = await owner.createTopic('a', config)
    const owned = topic.partition(0)
    const append = (value: string): Promise<unknown> =>
      owned.append({ key: Number(value) % 2 === 0 ? 'even' : value, value })
    await append('0')
    await owner.consumer({ groupId: 'g' }).commit([{ ...PLACE, offset: 0 }])
    let isArmed = false
    const beside = seenThrough(fileSystem, {
      list: async (path) => {
        const names = await fileSystem.list(path)
        if (isArmed && path.endsWith('a-0')) {
          isArmed = false
          // So that it merges segments, whose files are then gone.
          await topic.alter({ segmentBytes: 10_000 })
          await owned.compact()
        }
        return names
      },
    })
    const reader = await Broker.open('/data', { fileSystem: beside, clock, readOnly: true })
    for (let offset = 1; offset < END; offset += 1) await append(String(offset))
    await owner.consumer({ groupId: 'g' }).commit([{ ...PLACE, offset: END - 1 }])
    await clock.advance(1_000)
    isArmed = true
    const end = async (): Promise<void> => {
      expect(isArmed).toBe(false)
      await reader.close()
      await owner.close()
    }
    return { clock, reader, end }
  }

  it('leaves a consumer at the offset of its group, beyond the end known before', async () => {
    const { reader, end } = await met()
    const resets: unknown[] = []
    const consumer = reader.consumer({
      groupId: 'g',
      onOffsetReset: (reset) => resets.push(reset),
    })
    consumer.subscribe(['a'])
    expect(textsOf(await consumer.poll({ maxWaitMs: 0 }))).toEqual([String(END - 1)])
    expect(resets).toEqual([])
    await end()
  })

  it.each<[string, (partition: Partition) => Promise<readonly StoredRecord[]>]>([
    ['readLast()', (partition) => partition.readLast(1)],
    [
      'records()',
      async (partition) => (await allOf(partition.records({ until: 'end' }))).slice(-1),
    ],
    [
      'records() from there',
      (partition) => allOf(partition.records({ from: END - 1, until: 'end' })),
    ],
  ])('does not hide the latest record from %s', async (_, read) => {
    const { reader, end } = await met()
    expect(textsOf(await read(reader.topic('a').partition(0)))).toEqual([String(END - 1)])
    await end()
  })
})

it('a reader that cannot look beyond the known end does not say that the log ends there', async () => {
  const { fileSystem, owner, openReader } = await fixture()
  await makeTopic(owner, 'old')
  const reader = await openReader()
  await owner.topic('a').partition(0).append({ value: 'new' })
  await fileSystem.rename('/data/a-0', '/elsewhere')
  const partition = reader.topic('a').partition(0)
  await expect(partition.read(11)).rejects.toThrow(StorageError)
  await fileSystem.rename('/elsewhere', '/data/a-0')
  expect(await partition.read(11)).toEqual([])
  await expect(partition.read(12)).rejects.toThrow(OffsetOutOfRangeError)
  await reader.close()
  await owner.close()
})

it('an iteration rejects if the owner has truncated records that it has returned, and skips none', async () => {
  const { clock, owner, openReader } = await fixture()
  const partition = (await makeTopic(owner, 'v')).partition(0)
  const reader = await openReader()
  const records = reader.topic('a').partition(0).records({ until: 12 })
  for (let offset = 0; offset < 10; offset += 1) {
    expect((await records.next()).value).toMatchObject({ offset })
  }
  await partition.log.truncateTo(8)
  for (const value of ['w', 'x', 'y', 'z']) await partition.append({ value })
  const rejected = expect(records.next()).rejects.toThrow(OffsetOutOfRangeError)
  await clock.advance(1_000)
  await rejected
  await reader.close()
  await owner.close()
})

it('a reverse iteration rejects if the owner has replaced the records that come next', async () => {
  const { owner, openReader } = await fixture()
  const partition = (await makeTopic(owner, 'v')).partition(0)
  const reader = await openReader()
  const records = reader.topic('a').partition(0).records({ reverse: true })
  expect((await records.next()).value).toMatchObject({ offset: 9 })
  await partition.log.truncateTo(2)
  for (let each = 0; each < 10; each += 1) await partition.append({ value: 'w' })
  const rest = async (): Promise<void> => {
    for await (const { value } of records) expect(String(value)).toMatch(/^v/)
  }
  await expect(rest()).rejects.toThrow(OffsetOutOfRangeError)
  await reader.close()
  await owner.close()
})

describe('a consumer of a reader whose group has committed since the reader looked', () => {
  /** Commits an offset for the group, and deletes all records before it. */
  async function commit(owner: Broker, offset: number): Promise<void> {
    await owner.consumer({ groupId: 'g' }).commit([{ ...PLACE, offset }])
    await owner.topic('a').partition(0).deleteRecords(offset)
  }

  it.each(
    (['latest', 'earliest', 'none'] as const).flatMap((autoOffsetReset) =>
      [3, null].map((known) => [autoOffsetReset, known] as const),
    ),
  )(
    "starts at that commit, not at an older one or by '%s', if it knew %s",
    async (autoOffsetReset, known) => {
      const { owner, openReader } = await fixture()
      await makeTopic(owner, 'v')
      if (known !== null) await commit(owner, known)
      const reader = await openReader()
      await commit(owner, 8)
      const resets: unknown[] = []
      const onOffsetReset = (reset: unknown): unknown => resets.push(reset)
      const consumer = reader.consumer({ groupId: 'g', autoOffsetReset, onOffsetReset })
      consumer.subscribe(['a'])
      expect(textsOf(await consumer.poll({ maxWaitMs: 0 }))).toEqual(['v8', 'v9'])
      expect(resets).toEqual([])
      await reader.close()
      await owner.close()
    },
  )

  it('starts at a commit that is stored, and its records deleted, during the look for commits', async () => {
    const { owner, openReader } = await fixture()
    await makeTopic(owner, 'v')
    await commit(owner, 3)
    const reader = await openReader()
    const offsets = reader.topic('__consumer_offsets').partition(0)
    const refresh = offsets.refresh.bind(offsets)
    vi.spyOn(offsets, 'refresh').mockImplementationOnce(async () => {
      await refresh()
      await commit(owner, 8)
      await reader.topic('a').partition(0).refresh()
    })
    const resets: unknown[] = []
    const onOffsetReset = (reset: unknown): unknown => resets.push(reset)
    const consumer = reader.consumer({ groupId: 'g', onOffsetReset })
    consumer.subscribe(['a'])
    expect(textsOf(await consumer.poll({ maxWaitMs: 0 }))).toEqual(['v8', 'v9'])
    expect(resets).toEqual([])
    await reader.close()
    await owner.close()
  })

  it('looks for commits once for all its partitions, and not for those that have a position', async () => {
    const { owner, openReader } = await fixture()
    await makeTopic(owner, 'v')
    await owner.createTopic('b', { partitions: 3 })
    await commit(owner, 3)
    const reader = await openReader()
    const looking = vi.spyOn(reader.topic('__consumer_offsets').partition(0), 'refresh')
    const consumer = reader.consumer({ groupId: 'g' })
    consumer.subscribe(['a', 'b'])
    await consumer.poll({ maxWaitMs: 0 })
    expect(looking).toHaveBeenCalledTimes(1)
    await consumer.poll({ maxWaitMs: 0 })
    consumer.seekToBeginning()
    await consumer.poll({ maxWaitMs: 0 })
    expect(looking).toHaveBeenCalledTimes(1)
    await reader.close()
    await owner.close()
  })

  it('needs one look for a commit that the start of the log does not pass while it moves', async () => {
    const { owner, openReader } = await fixture()
    const partition = (await makeTopic(owner, 'v')).partition(0)
    await owner.consumer({ groupId: 'g' }).commit([{ ...PLACE, offset: 8 }])
    const reader = await openReader()
    const offsets = reader.topic('__consumer_offsets').partition(0)
    const refresh = offsets.refresh.bind(offsets)
    const looking = vi.spyOn(offsets, 'refresh').mockImplementation(async () => {
      await refresh()
      await partition.deleteRecords(Math.min(8, partition.logStartOffset + 2))
      await reader.topic('a').partition(0).refresh()
    })
    const consumer = reader.consumer({ groupId: 'g' })
    consumer.subscribe(['a'])
    expect(textsOf(await consumer.poll({ maxWaitMs: 0 }))).toEqual(['v8', 'v9'])
    expect(looking).toHaveBeenCalledTimes(1)
    await reader.close()
    await owner.close()
  })

  it("rejects if the directory of the commits is missing, and does not start by 'latest'", async () => {
    const { owner, openReader, fileSystem } = await fixture()
    await makeTopic(owner, 'v')
    await commit(owner, 3)
    const reader = await openReader()
    await commit(owner, 8)
    const consumer = reader.consumer({ groupId: 'g', autoOffsetReset: 'latest' })
    consumer.subscribe(['a'])
    await fileSystem.rename('/data/__consumer_offsets-0', '/elsewhere')
    await expect(consumer.poll({ maxWaitMs: 0 })).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    await fileSystem.rename('/elsewhere', '/data/__consumer_offsets-0')
    expect(textsOf(await consumer.poll({ maxWaitMs: 0 }))).toEqual(['v8', 'v9'])
    await reader.close()
    await owner.close()
  })

  it.each<[string, Parameters<SimulatedFileSystem['failNext']>]>([
    ['the list of topics', ['open', 'ENOMEM', { path: '/data/varve-topics', persistent: true }]],
    [
      'the first commits',
      ['list', 'ENOMEM', { path: '/data/__consumer_offsets-0', persistent: true }],
    ],
  ])("rejects if it cannot read %s, and does not start by 'latest'", async (_, fault) => {
    const { owner, openReader, fileSystem } = await fixture()
    await makeTopic(owner, 'v')
    const reader = await openReader()
    await commit(owner, 8)
    const consumer = reader.consumer({ groupId: 'g', autoOffsetReset: 'latest' })
    consumer.subscribe(['a'])
    fileSystem.failNext(...fault)
    await expect(consumer.poll({ maxWaitMs: 0 })).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    fileSystem.clearFaults()
    expect(textsOf(await consumer.poll({ maxWaitMs: 0 }))).toEqual(['v8', 'v9'])
    await reader.close()
    await owner.close()
  })

  it("rejects while the list of topics is missing, and does not start by 'latest'", async () => {
    const { owner, openReader, fileSystem } = await fixture()
    await makeTopic(owner, 'v')
    const reader = await openReader()
    await commit(owner, 8)
    const consumer = reader.consumer({ groupId: 'g', autoOffsetReset: 'latest' })
    consumer.subscribe(['a'])
    await fileSystem.rename('/data/varve-topics', '/elsewhere')
    await expect(consumer.poll({ maxWaitMs: 0 })).rejects.toThrow('the list of topics is missing')
    await fileSystem.rename('/elsewhere', '/data/varve-topics')
    expect(textsOf(await consumer.poll({ maxWaitMs: 0 }))).toEqual(['v8', 'v9'])
    await reader.close()
    await owner.close()
  })

  it('starts without commits if there are none and another topic cannot be read', async () => {
    const { owner, openReader, fileSystem } = await fixture()
    await makeTopic(owner, 'v')
    const reader = await openReader()
    await owner.createTopic('b')
    fileSystem.failNext('list', 'ENOMEM', { path: '/data/b-0', persistent: true })
    const consumer = reader.consumer({ groupId: 'g' })
    consumer.subscribe(['a'])
    expect(textsOf(await consumer.poll({ maxWaitMs: 0 }))).toEqual(['v0', 'v1'])
    await reader.close()
    await owner.close()
  })

  it('returns records of other partitions before it rejects because it cannot look for commits', async () => {
    const { owner, openReader, fileSystem } = await fixture()
    await makeTopic(owner, 'v')
    await (await owner.createTopic('b')).partition(0).append({ value: 'other' })
    await commit(owner, 3)
    const reader = await openReader()
    await commit(owner, 8)
    const consumer = reader.consumer({ groupId: 'g' })
    consumer.assign([PLACE, OTHER])
    consumer.seek(OTHER, 0)
    fileSystem.failNext('list', 'ENOMEM', { path: '/data/__consumer_offsets-0', persistent: true })
    expect(textsOf(await consumer.poll({ maxWaitMs: 0 }))).toEqual(['other'])
    await expect(consumer.poll({ maxWaitMs: 0 })).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    fileSystem.clearFaults()
    expect(textsOf(await consumer.poll({ maxWaitMs: 0 }))).toEqual(['v8', 'v9'])
    await reader.close()
    await owner.close()
  })
})
