import { describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import type { Partition } from '../../lib/broker/partition.ts'
import { OffsetOutOfRangeError, StorageError } from '../../lib/errors.ts'
import type { StoredRecord } from '../../lib/record/stored-record.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { textsOf } from '../helpers/partitions.ts'

interface Followed {
  readonly clock: ManualClock
  readonly disk: SimulatedFileSystem
  readonly owner: Partition
  readonly reader: Broker
  readonly partition: Partition
}

async function fixture(): Promise<Followed> {
  const clock = new ManualClock()
  const disk = new SimulatedFileSystem()
  const owner = await Broker.open('/data', { fileSystem: disk, clock })
  const topic = await owner.createTopic('a')
  await topic.partition(0).append([{ value: '0' }, { value: '1' }])
  const reader = await Broker.open('/data', { fileSystem: disk, clock, readOnly: true })
  const partition = reader.topic('a').partition(0)
  return { clock, disk, owner: topic.partition(0), reader, partition }
}

async function nextOf(records: AsyncIterable<unknown>): Promise<unknown> {
  for await (const record of records) return record
  return null
}

async function allOf(records: AsyncIterable<StoredRecord>): Promise<StoredRecord[]> {
  const all: StoredRecord[] = []
  for await (const record of records) all.push(record)
  return all
}

const LATER = 4_000_000_000_000

const FAULTS: [string, (disk: SimulatedFileSystem) => Promise<void> | void][] = [
  [
    'fails with EIO',
    (disk) => {
      disk.failNext('list', 'EIO', { path: '/data/a-0', persistent: true })
    },
  ],
  [
    'may not be read',
    (disk) => {
      disk.failNext('list', 'EACCES', { path: '/data/a-0', persistent: true })
    },
  ],
  ['was moved away', (disk) => disk.rename('/data/a-0', '/elsewhere')],
]

describe.each(FAULTS)('a followed log whose directory %s', (_, strike) => {
  it.each<[string, (followed: Followed) => Promise<unknown>]>([
    ['fetch()', ({ partition }) => partition.fetch(2, { maxWaitMs: 60_000 })],
    [
      'a fetch() of a few',
      ({ partition }) => partition.fetch(2, { maxRecords: 1, maxWaitMs: 60_000 }),
    ],
    [
      'a fetch() of many bytes',
      ({ partition }) => partition.fetch(2, { minBytes: 1_000, maxWaitMs: 60_000 }),
    ],
    ['records()', ({ partition }) => nextOf(partition.records({ from: 2 }))],
    [
      'poll()',
      ({ reader }) => {
        const consumer = reader.consumer()
        consumer.assign([{ topic: 'a', partition: 0 }])
        consumer.seek({ topic: 'a', partition: 0 }, 2)
        return consumer.poll({ maxWaitMs: 60_000 })
      },
    ],
    [
      'poll() of many bytes',
      ({ reader }) => {
        const consumer = reader.consumer({ fetchMinBytes: 1_000 })
        consumer.assign([{ topic: 'a', partition: 0 }])
        consumer.seek({ topic: 'a', partition: 0 }, 2)
        return consumer.poll({ maxWaitMs: 60_000 })
      },
    ],
  ])('rejects a wait by %s after some seconds', async (_call, wait) => {
    const followed = await fixture()
    await strike(followed.disk)
    const waiting = wait(followed).catch((error: unknown) => error)
    await followed.clock.advance(10_000)
    expect(await waiting).toBeInstanceOf(StorageError)
    await followed.reader.close()
  })

  it.each<[string, (partition: Partition) => Promise<unknown>]>([
    ['records() up to the end', (partition) => allOf(partition.records({ until: 'end' }))],
    [
      'records() from the end up to the end',
      (partition) => allOf(partition.records({ from: 2, until: 'end' })),
    ],
    ['records() backwards', (partition) => allOf(partition.records({ reverse: true }))],
    ['readLast()', (partition) => partition.readLast(1)],
    ['offsetForTimestamp() of a later time', (partition) => partition.offsetForTimestamp(LATER)],
  ])('rejects %s once it could not be checked for some seconds', async (_call, read) => {
    const { clock, disk, owner, reader, partition } = await fixture()
    const before = await read(partition)
    await clock.advance(1_000)
    await strike(disk)
    for (let second = 0; second < 5; second += 1) {
      expect(await read(partition)).toEqual(before)
      await clock.advance(1_000)
    }
    await expect(read(partition)).rejects.toThrow(StorageError)
    expect(await partition.offsetForTimestamp(0)).toBe(0)
    expect(textsOf(await allOf(partition.records({ until: 2 })))).toEqual(['0', '1'])
    disk.clearFaults()
    if ((await disk.stat('/elsewhere')) !== null) await disk.rename('/elsewhere', '/data/a-0')
    await owner.append({ value: '2', timestamp: LATER })
    expect(await read(partition)).not.toEqual(before)
    await reader.close()
  })

  it('ends a wait for many bytes with the known records, and rejects the next one', async () => {
    const followed = await fixture()
    const { clock, partition } = followed
    await strike(followed.disk)
    const options = { minBytes: 1_000, maxWaitMs: 60_000 }
    const waiting = partition.fetch(0, options)
    await clock.advance(10_000)
    expect(textsOf(await waiting)).toEqual(['0', '1'])
    const next = partition.fetch(2, options).catch((error: unknown) => error)
    await clock.advance(50)
    expect(await next).toBeInstanceOf(StorageError)
    await followed.reader.close()
  })

  it('rejects reads at its end but returns known records, and recovers once the directory is back', async () => {
    const { clock, disk, owner, reader, partition } = await fixture()
    disk.failNext('list', 'EIO', { path: '/data/a-0', persistent: true })
    for (let second = 0; second < 5; second += 1) {
      expect(await partition.read(2)).toEqual([])
      await clock.advance(1_000)
    }
    await expect(partition.read(2)).rejects.toThrow(/EIO/)
    expect(textsOf(await partition.read(0))).toEqual(['0', '1'])
    await owner.append({ value: '2' })
    disk.clearFaults()
    expect(textsOf(await partition.read(2))).toEqual(['2'])
    await reader.close()
  })

  it('serves a fetch long after the directory is back, even if nobody has read since', async () => {
    const { clock, disk, owner, reader, partition } = await fixture()
    disk.failNext('list', 'EIO', { path: '/data/a-0', persistent: true })
    const waiting = partition.fetch(2, { maxWaitMs: 60_000 }).catch((error: unknown) => error)
    await clock.advance(10_000)
    expect(await waiting).toBeInstanceOf(StorageError)
    disk.clearFaults()
    await owner.append({ value: '2' })
    await clock.advance(5_000)
    const fetching = partition.fetch(2, { maxWaitMs: 2_000 })
    await clock.advance(2_000)
    expect(textsOf(await fetching)).toEqual(['2'])
    await reader.close()
  })
})

it('a read during a check is followed by another one, which sees what the owner has deleted meanwhile', async () => {
  const { clock, disk, owner, reader, partition } = await fixture()
  await clock.advance(100)
  const idle = clock.pendingTimers
  await partition.read(0)
  const stat = disk.stat.bind(disk)
  let during: unknown = null
  disk.stat = async (path) => {
    const found = await stat(path)
    // The check has read where the log starts.
    if (path.endsWith('/a-0/varve-segments')) {
      disk.stat = stat
      await owner.deleteRecords(1)
      during = textsOf(await partition.read(0))
    }
    return found
  }
  await clock.advance(50)
  expect(during).toEqual(['0', '1'])
  await clock.advance(50)
  await expect(partition.read(0)).rejects.toThrow(OffsetOutOfRangeError)
  await clock.advance(100)
  expect(clock.pendingTimers).toBe(idle)
  await reader.close()
})
