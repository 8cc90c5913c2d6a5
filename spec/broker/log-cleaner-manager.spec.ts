import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { afterEach, describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import type { BrokerOptions } from '../../lib/broker/broker-options.ts'
import type { CompactionEvent } from '../../lib/broker/compaction-events.ts'
import type { Partition } from '../../lib/broker/partition.ts'
import type { TopicConfig } from '../../lib/config.ts'
import { PolicyViolationError, ReadOnlyError, StorageError } from '../../lib/errors.ts'
import { RecordBatchBuilder } from '../../lib/record/record-batch-builder.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

const NOW = 1_700_000_000_000
const COMPACTED: TopicConfig = {
  cleanupPolicy: 'compact',
  segmentBytes: 400,
  indexIntervalBytes: 64,
  deleteRetentionMs: 60_000,
}

const opened: Broker[] = []
afterEach(async () => {
  for (const broker of opened.splice(0)) await broker.close().catch(() => undefined)
})

async function open(
  fileSystem: SimulatedFileSystem,
  clock: ManualClock,
  options: BrokerOptions = {},
): Promise<Broker> {
  const random = new SeededRandom(1)
  const broker = await Broker.open('/data', { fileSystem, clock, random, ...options })
  opened.push(broker)
  return broker
}

/** Appends `key=value`, or `key=` for a tombstone, in one batch each. */
async function put(partition: Partition, clock: ManualClock, ...pairs: string[]): Promise<void> {
  for (const pair of pairs) {
    const [key = '', value = ''] = pair.split('=')
    await partition.append({ key, value: value === '' ? null : value, timestamp: clock.now() })
  }
}

/** `offset:key=value` of every record, as a reader receives it. */
async function contentOf(partition: Partition): Promise<string[]> {
  const found: string[] = []
  for (let offset = partition.logStartOffset; ;) {
    const records = await partition.read(offset)
    for (const { offset: at, key, value } of records) {
      found.push(`${at}:${String(key)}=${String(value ?? '')}`)
    }
    const last = records.at(-1)
    if (last === undefined) return found
    offset = last.offset + 1
  }
}

describe('compaction on request', () => {
  it('keeps the last record of each key, also in the active segment, and reports what it did', async () => {
    const clock = new ManualClock(NOW)
    const broker = await open(new SimulatedFileSystem({ seed: 1 }), clock)
    const topic = await broker.createTopic('table', { ...COMPACTED, segmentBytes: 100_000 })
    const partition = topic.partition(0)
    await put(partition, clock, 'a=1', 'b=1', 'a=2', 'b=2')
    const [report] = await topic.compact()
    expect(report).toMatchObject({ fromOffset: 0, endOffset: 4, recordsRead: 4, recordsKept: 2 })
    expect(await contentOf(partition)).toEqual(['2:a=2', '3:b=2'])
    expect(broker.describe().compaction).toEqual({
      passes: 1,
      failures: 0,
      bytesRead: report?.bytesBefore,
      bytesFreed: Number(report?.bytesBefore) - Number(report?.bytesAfter),
      running: null,
    })
  })

  it.each(['now', 'after a restart'])(
    'keeps the last record of each key after a truncation, whatever was appended since: %s',
    async (when) => {
      const clock = new ManualClock(NOW)
      const fileSystem = new SimulatedFileSystem({ seed: 1 })
      let broker = await open(fileSystem, clock)
      const topic = await broker.createTopic('table', { ...COMPACTED, segmentBytes: 100_000 })
      await put(topic.partition(0), clock, 'a=1', 'b=1', 'c=1', 'd=1')
      await topic.compact()
      await topic.partition(0).log.truncateTo(2)
      await put(topic.partition(0), clock, 'a=2', 'b=2', 'x=1', 'y=1')
      if (when !== 'now') {
        await broker.close()
        broker = await open(fileSystem, clock)
      }
      const partition = broker.topic('table').partition(0)
      await partition.compact()
      expect(await contentOf(partition)).toEqual(['2:a=2', '3:b=2', '4:x=1', '5:y=1'])
      await put(partition, clock, 'x=2')
      expect(await partition.compact()).toMatchObject({ endOffset: 7 })
      expect(await contentOf(partition)).toEqual(['2:a=2', '3:b=2', '5:y=1', '6:x=2'])
    },
  )

  it('continues after a truncation where the first pass behind it has ended', async () => {
    const clock = new ManualClock(NOW)
    const broker = await open(new SimulatedFileSystem({ seed: 1 }), clock)
    const topic = await broker.createTopic('table', { ...COMPACTED, segmentBytes: 100_000 })
    const partition = topic.partition(0)
    await put(partition, clock, 'a=1', 'b=1', 'c=1', 'd=1')
    await partition.compact()
    await partition.log.truncateTo(2)
    await put(partition, clock, 'x=1', 'y=1', 'z=1')
    expect(await partition.compact()).toMatchObject({ fromOffset: 2, endOffset: 5 })
    expect(await partition.compact()).toMatchObject({ fromOffset: 5, endOffset: 5 })
  })

  it('uses at most cleanerDedupeBufferBytes for keys, and continues in the next pass', async () => {
    const endOffsets: number[][] = []
    for (const cleanerDedupeBufferBytes of [1024, 100_000]) {
      const [fileSystem, clock] = [new SimulatedFileSystem({ seed: 1 }), new ManualClock(NOW)]
      const broker = await open(fileSystem, clock, { cleanerDedupeBufferBytes })
      const topic = await broker.createTopic('table', { ...COMPACTED, segmentBytes: 100_000 })
      for (let each = 0; each < 60; each += 1) await put(topic.partition(0), clock, `k${each}=v`)
      const reports = [...(await topic.compact()), ...(await topic.compact())]
      endOffsets.push(reports.map(({ endOffset }) => endOffset))
    }
    // A key takes 24 bytes, and a tenth of the bytes stays free.
    expect(endOffsets).toEqual([
      [37, 60],
      [60, 60],
    ])
  })

  it('rejects if the cleanup policy does not include compact, and in a read-only broker', async () => {
    const [fileSystem, clock] = [new SimulatedFileSystem({ seed: 1 }), new ManualClock(NOW)]
    const broker = await open(fileSystem, clock)
    const plain = await broker.createTopic('plain')
    await expect(plain.partition(0).compact()).rejects.toThrow(PolicyViolationError)
    await broker.createTopic('table', COMPACTED)
    const reader = await open(fileSystem, clock, { readOnly: true })
    await expect(reader.topic('table').partition(0).compact()).rejects.toThrow(ReadOnlyError)
  })

  it('rejects with an unknown topic, like all other calls, if the topic is deleted meanwhile', async () => {
    const clock = new ManualClock(NOW)
    const broker = await open(new SimulatedFileSystem({ seed: 1 }), clock)
    for (const isDeletedFirst of [true, false]) {
      const topic = await broker.createTopic('table', COMPACTED)
      await put(topic.partition(0), clock, 'a=1', 'a=2')
      const early = isDeletedFirst ? broker.deleteTopic('table') : null
      const outcomes = Promise.allSettled([topic.partition(0).compact(), topic.compact()])
      await (early ?? broker.deleteTopic('table'))
      for (const outcome of await outcomes) {
        expect(outcome).toMatchObject({ reason: { code: 'UNKNOWN_TOPIC_OR_PARTITION' } })
      }
    }
  })

  it('notifies the subscribers of varve:compaction of each pass', async () => {
    const clock = new ManualClock(NOW)
    const broker = await open(new SimulatedFileSystem({ seed: 1 }), clock)
    const partition = (await broker.createTopic('table', COMPACTED)).partition(0)
    await put(partition, clock, 'a=1', 'a=2')
    const types: string[] = []
    const listen = (event: unknown): void => {
      types.push((event as CompactionEvent).type)
    }
    subscribe('varve:compaction', listen)
    await partition.compact()
    unsubscribe('varve:compaction', listen)
    expect(types).toEqual(['start', 'progress', 'end'])
  })

  it('runs beside appends and reads, one partition after the other', async () => {
    const clock = new ManualClock(NOW)
    const broker = await open(new SimulatedFileSystem({ seed: 1 }), clock)
    const topic = await broker.createTopic('table', { ...COMPACTED, partitions: 2 })
    for (const partition of topic.partitions) {
      for (let round = 0; round < 20; round += 1)
        await put(partition, clock, `k${round % 3}=${round}`)
    }
    const passes = topic.partitions.map((each) => each.compact())
    const first = topic.partition(0)
    for (let round = 20; round < 30; round += 1) {
      await put(first, clock, `k${round % 3}=${round}`)
      expect((await first.read(round))[0]?.offset).toBe(round)
      expect((await first.read(0))[0]?.offset).toBeGreaterThanOrEqual(0)
    }
    await Promise.all(passes)
    expect(await contentOf(topic.partition(1))).toEqual(['17:k2=17', '18:k0=18', '19:k1=19'])
    expect(await first.log.verify()).toEqual([])
  })

  it('never returns a record that is no longer on disk, even after a pass that failed halfway', async () => {
    const clock = new ManualClock(NOW)
    const fileSystem = new SimulatedFileSystem({ seed: 1 })
    const broker = await open(fileSystem, clock)
    const partition = (await broker.createTopic('table', COMPACTED)).partition(0)
    for (let each = 0; each < 12; each += 1) {
      await put(partition, clock, `k${each % 2}=${each}${'.'.repeat(100)}`)
    }
    fileSystem.failNext('open', 'EIO', { path: /0000000000(0[4-9]|1\d)\.log\.cleaned$/ })
    await expect(partition.compact()).rejects.toThrow('EIO')
    const onDisk: number[] = []
    for await (const { offset } of partition.records({ reverse: true })) onDisk.unshift(offset)
    expect(onDisk.length, 'some of it was compacted').toBeLessThan(12)
    expect((await contentOf(partition)).map((each) => Number.parseInt(each, 10))).toEqual(onDisk)
  })

  it('returns the next record at a removed offset, and no record twice', async () => {
    const clock = new ManualClock(NOW)
    const broker = await open(new SimulatedFileSystem({ seed: 1 }), clock)
    const partition = (await broker.createTopic('table', COMPACTED)).partition(0)
    await put(partition, clock, 'a=1', 'b=1', 'a=2', 'a=3', 'c=1', 'a=4')
    const seen: number[] = []
    const records = partition.records({ until: 'end' })
    seen.push(Number((await records.next()).value?.offset))
    await partition.compact()
    for await (const { offset } of records) seen.push(offset)
    expect(seen).toEqual([...new Set(seen)].sort((a, b) => a - b))
    expect(seen).toEqual(expect.arrayContaining([1, 4, 5]))
    const [next] = await partition.fetch(2, { maxRecords: 1, maxWaitMs: 0 })
    expect(next?.offset).toBe(4)
  })
})

describe('automatic compaction', () => {
  it('compacts the log with the greatest share of dirty bytes first, and none below the ratio', async () => {
    const clock = new ManualClock(NOW)
    const broker = await open(new SimulatedFileSystem({ seed: 1 }), clock)
    const order: string[] = []
    let done = (): void => undefined
    const listen = (event: unknown): void => {
      const { type, topic } = event as CompactionEvent
      if (type === 'end') order.push(topic)
      if (order.length === 2) done()
    }
    subscribe('varve:compaction', listen)
    for (const [name, dirty] of [
      ['little', 1],
      ['some', 8],
      ['much', 40],
    ] as const) {
      const partition = (await broker.createTopic(name, COMPACTED)).partition(0)
      for (let key = 0; key < 20; key += 1) await put(partition, clock, `k${key}=v`)
      await partition.compact()
      for (let round = 0; round < dirty; round += 1) await put(partition, clock, `k${round}=w`)
      await partition.log.roll()
    }
    await broker.topic('some').alter({ minCleanableDirtyRatio: 0.2 })
    order.length = 0
    const bothDone = new Promise<void>((resolve) => {
      done = resolve
    })
    await clock.advance(15_000)
    await bothDone
    await clock.advance(15_000)
    unsubscribe('varve:compaction', listen)
    expect(order).toEqual(['much', 'some'])
  })

  it('rolls and compacts an idle segment at the first check after maxCompactionLagMs', async () => {
    const clock = new ManualClock(NOW)
    const options = { cleanerBackoffMs: 1000 }
    const broker = await open(new SimulatedFileSystem({ seed: 1 }), clock, options)
    const config = { ...COMPACTED, maxCompactionLagMs: 60_000, segmentBytes: 100_000 }
    const partition = (await broker.createTopic('table', config)).partition(0)
    await put(partition, clock, 'a=1', 'a=2', 'b=1')
    await clock.advance(60_000)
    expect(await contentOf(partition)).toHaveLength(3)
    await clock.advance(1000)
    expect(await contentOf(partition)).toEqual(['1:a=2', '2:b=1'])
  })

  it('removes tombstones after deleteRetentionMs even if nothing is appended', async () => {
    const clock = new ManualClock(NOW)
    const broker = await open(new SimulatedFileSystem({ seed: 1 }), clock)
    const partition = (await broker.createTopic('table', COMPACTED)).partition(0)
    await put(partition, clock, 'a=1', 'b=1', 'a=')
    await partition.compact()
    expect(await contentOf(partition)).toEqual(['1:b=1', '2:a='])
    await clock.advance(59_000)
    expect(await contentOf(partition)).toEqual(['1:b=1', '2:a='])
    await clock.advance(30_000)
    expect(await contentOf(partition)).toEqual(['1:b=1'])
  })

  it('removes tombstones even if the pass that was to remove them was interrupted by a deletion', async () => {
    const clock = new ManualClock(NOW)
    const fileSystem = new SimulatedFileSystem({ seed: 1 })
    const broker = await open(fileSystem, clock)
    const config: TopicConfig = { ...COMPACTED, cleanupPolicy: 'compact,delete', retentionMs: -1 }
    const topic = await broker.createTopic('table', config)
    const partition = topic.partition(0)
    for (let each = 0; each < 10; each += 1) {
      await put(partition, clock, `k${each}=${'v'.repeat(200)}`, `d${each}=w`, `d${each}=`)
    }
    await topic.compact()
    await clock.advance(50_000)
    const pass = topic.compact()
    await partition.deleteRecords(5)
    const [report] = await pass
    expect(report, 'it was interrupted').toMatchObject({ endOffset: report?.fromOffset })
    const tombstones = async (): Promise<number> =>
      (await contentOf(partition)).filter((each) => each.endsWith('=')).length
    expect(await tombstones()).toBeGreaterThan(0)
    await clock.advance(60_000)
    for (let looks = 0; looks < 4; looks += 1) await clock.advance(15_000)
    expect(await tombstones()).toBe(0)
  })

  it('keeps the last record of each key until retention applies to it, if a topic uses both', async () => {
    const [disk, clock] = [new SimulatedFileSystem({ seed: 1 }), new ManualClock(NOW)]
    const broker = await open(disk, clock, { retentionCheckIntervalMs: 20_000 })
    const topic = await broker.createTopic('table', {
      ...COMPACTED,
      ...{ cleanupPolicy: 'compact,delete', retentionMs: 100_000, minCleanableDirtyRatio: 0.1 },
    })
    const partition = topic.partition(0)
    const young = new Map<string, { value: string; ms: number }>()
    let start = 0
    for (let round = 0; round < 40; round += 1) {
      for (const key of ['a', 'b', `k${round}`]) {
        const value = `${round}`
        await put(partition, clock, `${key}=${value}`)
        young.set(key, { value, ms: clock.now() })
      }
      await clock.advance(10_000)
      expect(partition.logStartOffset).toBeGreaterThanOrEqual(start)
      start = partition.logStartOffset
      const table = new Map(
        (await contentOf(partition)).map((each) => [
          each.slice(each.indexOf(':') + 1, each.indexOf('=')),
          each.slice(each.indexOf('=') + 1),
        ]),
      )
      for (const [key, { value, ms }] of young) {
        if (clock.now() - ms <= 100_000)
          expect([round, key, table.get(key)]).toEqual([round, key, value])
      }
    }
    expect(start).toBeGreaterThan(0)
    expect(broker.describe().compaction).toMatchObject({ failures: 0 })
    expect(broker.describe().compaction.passes).toBeGreaterThan(3)
    expect(partition.log.size).toBeLessThan(3_000)
    expect(await partition.log.verify()).toEqual([])
  })

  it.each(['a close', 'a crash'])(
    'removes tombstones after %s, and clears their saved deadline when done or the topic is deleted',
    async (end) => {
      const [disk, clock] = [new SimulatedFileSystem({ seed: 1 }), new ManualClock(NOW)]
      const broker = await open(disk, clock)
      const partition = (await broker.createTopic('table', COMPACTED)).partition(0)
      await put(partition, clock, 'a=1', 'b=1', 'a=')
      await partition.compact()
      const horizons = '/data/varve-delete-horizons'
      expect(String(disk.readFile(horizons))).toBe(`0\n1\ntable 0 ${NOW + 60_000}\n`)
      if (end === 'a close') await broker.close()
      const found = end === 'a close' ? disk : disk.restart('power', { unsynced: 'lost', seed: 1 })
      const again = await open(found, clock)
      await clock.advance(59_000)
      expect(await contentOf(again.topic('table').partition(0))).toEqual(['1:b=1', '2:a='])
      await clock.advance(30_000)
      expect(await contentOf(again.topic('table').partition(0))).toEqual(['1:b=1'])
      expect(String(found.readFile(horizons))).toBe('0\n0\n')
      await put(again.topic('table').partition(0), clock, 'b=')
      await again.topic('table').compact()
      expect(String(found.readFile(horizons))).toContain('table 0')
      await again.deleteTopic('table')
      expect(String(found.readFile(horizons))).toBe('0\n0\n')
    },
  )

  it("resumes after a restart by Kafka's checkpoint file, and starts over if that file is invalid", async () => {
    const [fileSystem, clock] = [new SimulatedFileSystem({ seed: 1 }), new ManualClock(NOW)]
    const broker = await open(fileSystem, clock)
    await put((await broker.createTopic('table', COMPACTED)).partition(0), clock, 'a=1', 'a=2')
    await broker.topic('table').compact()
    await broker.close()
    const path = '/data/cleaner-offset-checkpoint'
    expect(String(fileSystem.readFile(path))).toBe('0\n1\ntable 0 2\n')
    const again = await open(fileSystem, clock)
    await put(again.topic('table').partition(0), clock, 'a=3')
    expect((await again.topic('table').compact())[0]).toMatchObject({ fromOffset: 2, endOffset: 3 })
    await again.close()
    fileSystem.writeFile(path, Buffer.from('what is this?'))
    const last = await open(fileSystem, clock)
    expect((await last.topic('table').compact())[0]).toMatchObject({ fromOffset: 0, endOffset: 3 })
    expect(await contentOf(last.topic('table').partition(0))).toEqual(['2:a=3'])
  })

  describe('of a log with a tombstone of a transaction', () => {
    const path = '/data/cleaner-offset-checkpoint'
    const transaction = { producerId: 7, producerEpoch: 0, baseSequence: 0, isTransactional: true }

    /** `a=1`, then the tombstone of `a` in a transaction, then `pairs`; compacted. */
    async function start(...pairs: string[]) {
      const [disk, clock] = [new SimulatedFileSystem({ seed: 1 }), new ManualClock(NOW)]
      const broker = await open(disk, clock)
      const topic = await broker.createTopic('table', { ...COMPACTED, minCleanableDirtyRatio: 1 })
      const partition = topic.partition(0)
      await put(partition, clock, 'a=1')
      const builder = new RecordBatchBuilder(transaction)
      builder.append(NOW, Buffer.from('a'), null)
      await partition.log.appendBatches([builder.buildUncompressed()])
      await put(partition, clock, ...pairs)
      await partition.compact()
      return { disk, clock, broker, partition }
    }

    it("is not in Kafka's checkpoint file, which would let Kafka remove the tombstone alone, until it is replaced", async () => {
      const { disk, clock, broker, partition } = await start('b=1')
      expect(String(disk.readFile(path))).toBe('0\n0\n')
      await put(partition, clock, 'b=2')
      const next = { fromOffset: 3, endOffset: 4 }
      expect(await partition.compact(), 'goes on in this life').toMatchObject(next)
      expect(String(disk.readFile(path))).toBe('0\n0\n')
      await broker.close()
      const again = (await open(disk, clock)).topic('table').partition(0)
      expect(await again.compact()).toMatchObject({ fromOffset: 0, endOffset: 4 })
      expect(String(disk.readFile(path))).toBe('0\n0\n')
      await put(again, clock, 'a=')
      expect(await again.compact()).toMatchObject({ fromOffset: 4, endOffset: 5 })
      expect(await contentOf(again)).toEqual(['3:b=2', '4:a='])
      expect(String(disk.readFile(path))).toBe('0\n1\ntable 0 5\n')
    })

    it('still lets other tombstones be removed when their time has come, after a restart', async () => {
      const { disk, clock, broker } = await start('b=1', 'b=')
      await broker.close()
      const again = (await open(disk, clock)).topic('table').partition(0)
      expect(await contentOf(again)).toEqual(['0:a=1', '1:a=', '3:b='])
      await clock.advance(90_000)
      expect(await contentOf(again)).toEqual(['0:a=1', '1:a='])
    })
  })

  it('compacts an added partition from its start, although Kafka has compacted another in its place', async () => {
    const [fileSystem, clock] = [new SimulatedFileSystem({ seed: 1 }), new ManualClock(NOW)]
    const broker = await open(fileSystem, clock)
    await put((await broker.createTopic('table', COMPACTED)).partition(0), clock, 'a=1', 'a=2')
    await broker.topic('table').compact()
    await broker.close()
    const path = '/data/cleaner-offset-checkpoint'
    fileSystem.writeFile(path, Buffer.from('0\n2\ntable 0 2\ntable 1 4\n'))
    const again = await open(fileSystem, clock)
    const topic = again.topic('table')
    await topic.addPartitions(2)
    expect(String(fileSystem.readFile(path))).toBe('0\n1\ntable 0 2\n')
    await put(topic.partition(1), clock, 'a=1', 'b=1', 'a=2', 'b=2', 'c=1')
    expect(await topic.partition(1).compact()).toMatchObject({ fromOffset: 0, endOffset: 5 })
    expect(await contentOf(topic.partition(1))).toEqual(['2:a=2', '3:b=2', '4:c=1'])
    await put(topic.partition(0), clock, 'a=3')
    expect(await topic.partition(0).compact()).toMatchObject({ fromOffset: 2 })
  })

  it.each(['cleaner-offset-checkpoint', 'varve-delete-horizons'])(
    'rejects with a StorageError if %s cannot be read, and works again afterwards',
    async (name) => {
      const [fileSystem, clock] = [new SimulatedFileSystem({ seed: 1 }), new ManualClock(NOW)]
      const broker = await open(fileSystem, clock)
      await put((await broker.createTopic('table', COMPACTED)).partition(0), clock, 'a=1', 'b=')
      await broker.topic('table').compact()
      await broker.close()
      const topic = (await open(fileSystem, clock)).topic('table')
      const path = `/data/${name}`
      for (const kind of ['open', 'stat', 'read', 'close'] as const) {
        fileSystem.failNext(kind, 'EIO', { path })
        const error: unknown = await topic.compact().catch((reason: unknown) => reason)
        expect(error).toBeInstanceOf(StorageError)
        expect(error).toMatchObject({ path, outcome: 'not-written', cause: { code: 'EIO' } })
      }
      expect(await topic.compact()).toHaveLength(1)
    },
  )

  it('compacts the committed offsets, and keeps the last commit of a group', async () => {
    const [fileSystem, clock] = [new SimulatedFileSystem({ seed: 1 }), new ManualClock(NOW)]
    const broker = await open(fileSystem, clock)
    const data = (await broker.createTopic('data')).partition(0)
    for (let each = 0; each < 30; each += 1) await data.append({ value: `${each}` })
    const consumer = broker.consumer({ groupId: 'g', autoOffsetReset: 'earliest' })
    consumer.assign([{ topic: 'data', partition: 0 }])
    for (let offset = 1; offset <= 30; offset += 1) {
      await consumer.commit([{ topic: 'data', partition: 0, offset }])
    }
    const [report] = await broker.topic('__consumer_offsets').compact()
    expect(report?.recordsKept).toBe(1)
    await broker.close()
    const again = await open(fileSystem, clock)
    const successor = again.consumer({ groupId: 'g' })
    const committed = await successor.committed({ topic: 'data', partition: 0 })
    expect(committed).toMatchObject({ offset: 30 })
  })
})

describe('a read-only broker beside a process that compacts', () => {
  it('reads unaltered records at any time, and those of the owner after each refresh', async () => {
    const [fileSystem, clock] = [new SimulatedFileSystem({ seed: 1 }), new ManualClock(NOW)]
    const broker = await open(fileSystem, clock)
    const partition = (await broker.createTopic('table', COMPACTED)).partition(0)
    const reader = await open(fileSystem, clock, { readOnly: true })
    for (let round = 0; round < 12; round += 1) {
      for (let key = 0; key < 4; key += 1) await put(partition, clock, `k${key}=${round}`)
      const beside = reader.topic('table').partition(0)
      if (round % 3 === 0) await beside.refresh()
      await partition.compact()
      for (const record of await beside.read(beside.logStartOffset)) {
        expect(String(record.value)).toBe(`${Math.floor(record.offset / 4)}`)
        expect(String(record.key)).toBe(`k${record.offset % 4}`)
      }
      await beside.refresh()
      expect(await contentOf(beside)).toEqual(await contentOf(partition))
    }
  })
})
