import { describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import type { Partition } from '../../lib/broker/partition.ts'
import type { Topic } from '../../lib/broker/topic.ts'
import { UnknownTopicOrPartitionError } from '../../lib/errors.ts'
import type { File, FileStat, OpenMode } from '../../lib/platform/file-system.ts'
import type { StoredRecord } from '../../lib/record/stored-record.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { textsOf } from '../helpers/partitions.ts'

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

/** A topic of five segments: the records of each have its tag in their values. */
async function makeTopic(owner: Broker, tag: string): Promise<Topic> {
  const topic = await owner.createTopic('a', { segmentBytes: 200 })
  for (let offset = 0; offset < 10; offset += 1) {
    await topic.partition(0).append({ value: `${tag}${offset}` })
  }
  return topic
}

/** A disk that gives the number of a file that was removed to the next one of that name. */
class ReusingDisk extends SimulatedFileSystem {
  override async open(path: string, mode: OpenMode): Promise<File> {
    const file = await super.open(path, mode)
    const stat = file.stat.bind(file)
    file.stat = async () => ({ ...(await stat()), identity: path })
    return file
  }

  override async stat(path: string): Promise<FileStat | null> {
    const stat = await super.stat(path)
    return stat === null ? null : { ...stat, identity: path }
  }
}

it('does not show the log of a topic as empty while its owner deletes it', async () => {
  const { owner, fileSystem, openReader } = await fixture()
  await makeTopic(owner, 'old')
  const reader = await openReader()
  const partition = reader.topic('a').partition(0)
  fileSystem.failNext('unlink', 'EIO', { path: /partition\.metadata$/ })
  await expect(owner.deleteTopic('a')).rejects.toThrow('EIO')
  await partition.refresh()
  expect([partition.logStartOffset, partition.highWatermark]).toEqual([0, 10])
  await expect(partition.read(0)).rejects.toThrow(UnknownTopicOrPartitionError)
  await reader.close()
  await owner.close()
})

describe.each([
  ['', () => new SimulatedFileSystem()],
  [' on a disk that uses the numbers of files again', () => new ReusingDisk()],
])('a topic that its owner deletes and makes anew%s', (_, makeDisk) => {
  it.each<[string, (partition: Partition) => Promise<unknown>]>([
    ['read()', (partition) => partition.read(3)],
    ['a read() of a few', (partition) => partition.read(3, { maxRecords: 2 })],
    ['fetch()', (partition) => partition.fetch(3)],
    ['readLast()', (partition) => partition.readLast(10)],
    ['records()', (partition) => allOf(partition.records({ from: 3, until: 'end' }))],
    ['records() backwards', (partition) => allOf(partition.records({ reverse: true }))],
    ['offsetForTimestamp()', (partition) => partition.offsetForTimestamp(1)],
  ])('is not taken for the old one by %s', async (_call, read) => {
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

  it('is begun anew by a consumer, which gets nothing of it at an offset of the old one', async () => {
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
