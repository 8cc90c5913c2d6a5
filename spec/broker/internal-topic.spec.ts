import { describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import { InvalidTopicError, PolicyViolationError } from '../../lib/errors.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

const TP = { topic: 't', partition: 0 }

async function committed(): Promise<{ broker: Broker; fileSystem: SimulatedFileSystem }> {
  const fileSystem = new SimulatedFileSystem()
  const broker = await Broker.open('/data', { fileSystem, clock: new ManualClock() })
  const topic = await broker.createTopic('t')
  await topic.partition(0).append([{ value: 'a' }, { value: 'b' }])
  await broker.consumer({ groupId: 'g' }).commit([{ ...TP, offset: 2 }])
  return { broker, fileSystem }
}

describe('the offsets topic', () => {
  it('rejects records of producers', async () => {
    const { broker, fileSystem } = await committed()
    const sent = await broker
      .producer()
      .send({ topic: '__consumer_offsets', key: 'k', value: 'v' })
      .catch((error: unknown) => error)
    await broker.close()
    const again = await Broker.open('/data', { fileSystem, clock: new ManualClock() })
    expect(again.recovery.damaged).toEqual([])
    expect((await again.consumer({ groupId: 'g' }).committed(TP))?.offset).toBe(2)
    expect(sent).toBeInstanceOf(InvalidTopicError)
  })

  it('rejects direct appends, whatever their records and options, and stays unchanged', async () => {
    const { broker, fileSystem } = await committed()
    const partition = broker.topic('__consumer_offsets').partition(0)
    const end = partition.logEndOffset
    const valid = [{ key: 'k', value: 'v' }]
    for (const [records, options] of [
      [valid, undefined],
      [valid, { acks: 0 }],
      [valid, { expectedOffset: end }],
      [[{ key: 'k', value: 5 as never }], undefined],
      ['no records' as never, undefined],
    ] as const) {
      const appended = await partition.append(records, options).catch((error: unknown) => error)
      expect(appended).toBeInstanceOf(InvalidTopicError)
    }
    expect(partition.logEndOffset).toBe(end)
    await broker.close()
    const again = await Broker.open('/data', { fileSystem, clock: new ManualClock() })
    expect(again.recovery.damaged).toEqual([])
    expect((await again.consumer({ groupId: 'g' }).committed(TP))?.offset).toBe(2)
    await again.close()
  })

  describe('automatic compaction', () => {
    const METADATA = 'm'.repeat(4096)

    it.each([
      ['in a directory of its own', false],
      ['in one that is taken over', true],
    ])('keeps what an open has to read within a few MiB %s', async (_, isAdopted) => {
      const { broker: first, fileSystem } = await committed()
      await first.close()
      if (isAdopted) {
        for (const path of fileSystem.snapshot().keys()) {
          if (path.includes('varve')) await fileSystem.unlink(path)
        }
      }
      const clock = new ManualClock()
      const broker = await Broker.open('/data', { fileSystem, clock })
      const consumer = broker.consumer({ groupId: 'g' })
      for (let each = 0; each < 1500; each += 1) {
        await consumer.commit([{ ...TP, offset: 1, metadata: METADATA }])
      }
      const bytes = (): number => broker.topic('__consumer_offsets').diskUsage().bytes
      expect(bytes()).toBeGreaterThan(6_000_000)
      // A pass yields to other work many times.
      for (let turn = 0; turn < 500 && bytes() > 3_000_000; turn += 1) await clock.advance(15_000)
      expect(bytes()).toBeLessThan(3_000_000)
      await broker.close()
      const again = await Broker.open('/data', { fileSystem, clock })
      expect((await again.consumer({ groupId: 'g' }).committed(TP))?.offset).toBe(1)
      await again.close()
    })
  })

  it('rejects additional partitions, which would move groups to other partitions', async () => {
    const { broker, fileSystem } = await committed()
    const topic = broker.topic('__consumer_offsets')
    const { length } = topic.partitions
    const growing = topic.addPartitions(length + 1)
    await expect(growing).rejects.toThrow(InvalidTopicError)
    await broker.close()
    const again = await Broker.open('/data', { fileSystem, clock: new ManualClock() })
    expect((await again.consumer({ groupId: 'g' }).committed(TP))?.offset).toBe(2)
    await again.close()
  })

  it('rejects every configuration that could lose or refuse a commit', async () => {
    const { broker } = await committed()
    const topic = broker.topic('__consumer_offsets')
    for (const cleanupPolicy of ['delete', 'compact,delete'] as const) {
      const altering = topic.alter({ cleanupPolicy, retentionMs: 1 })
      await expect(altering).rejects.toThrow(PolicyViolationError)
      await expect(altering).rejects.toThrow(`must be 'compact', got '${cleanupPolicy}'`)
    }
    for (const config of [
      { maxBytes: 2000 },
      { minFreeBytes: 1 },
      { retention: 'consumed' },
      { flushMessages: 2 },
      { maxMessageBytes: 65_535 },
      { segmentBytes: 65_535 },
    ] as const) {
      const before = topic.config
      const [key] = Object.keys(config)
      const altering = topic.alter({ ...config, whenFull: 'dropOldest' })
      await expect(altering).rejects.toThrow(PolicyViolationError)
      await expect(altering).rejects.toThrow(`${key} of '__consumer_offsets' must be`)
      expect(topic.config).toEqual(before)
    }
    await topic.alter({ segmentBytes: 65_536 })
    expect(topic.config).toMatchObject({ cleanupPolicy: 'compact', segmentBytes: 65_536 })
    await broker.close()
  })

  it.each(['uncompressed', 'gzip'] as const)(
    'accepts the largest possible commits with its smallest allowed limits, stored with %s',
    async (compressionType) => {
      const { broker, fileSystem } = await committed()
      const topics = Array.from({ length: 3 }, (_, each) => `${each}`.padStart(249, 't'))
      for (const topic of topics) {
        await (await broker.createTopic(topic)).partition(0).append({ value: 'a' })
      }
      const least = { maxMessageBytes: 65_536, segmentBytes: 65_536, compressionType }
      await broker.topic('__consumer_offsets').alter(least)
      const consumer = broker.consumer({ groupId: 'g'.repeat(32_767) })
      const metadata = 'm'.repeat(4096)
      await consumer.commit(topics.map((topic) => ({ topic, partition: 0, offset: 1, metadata })))
      await broker.deleteTopic(topics[0] ?? '')
      await broker.close()
      const again = await Broker.open('/data', { fileSystem, clock: new ManualClock() })
      const place = { topic: topics[2] ?? '', partition: 0 }
      const found = await again.consumer({ groupId: 'g'.repeat(32_767) }).committed(place)
      expect(found).toMatchObject({ offset: 1, metadata })
      await again.close()
    },
  )
})
