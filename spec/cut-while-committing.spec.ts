import { describe, expect, it, onTestFinished } from 'vitest'
import { Broker } from '../lib/broker.ts'
import type { Consumer } from '../lib/client/consumer.ts'
import type { ConsumerOptions, OffsetReset } from '../lib/client/consumer-options.ts'
import type { TopicConfig } from '../lib/config.ts'
import { OffsetOutOfRangeError } from '../lib/errors.ts'
import { ManualClock } from '../lib/testing/manual-clock.ts'
import { SeededRandom } from '../lib/testing/seeded-random.ts'
import { SimulatedFileSystem } from '../lib/testing/simulated-file-system.ts'

const T0 = { topic: 't', partition: 0 }
const T1 = { topic: 't', partition: 1 }
const NO_WAIT = { maxWaitMs: 0 }
const RELAXED: TopicConfig = { flushMessages: 1000 }

/** A consumer of group `g` that has received `old 0` to `old 9` of each of two partitions. */
async function consumed(config: TopicConfig = {}, options: ConsumerOptions = {}) {
  const clock = new ManualClock()
  const fileSystem = new SimulatedFileSystem()
  const parts = { fileSystem, clock, random: new SeededRandom(3) }
  const open = async (): Promise<Broker> => {
    const broker = await Broker.open('/data', parts)
    onTestFinished(() => broker.close().catch(() => undefined))
    return broker
  }
  const broker = await open()
  const topic = await broker.createTopic('t', { partitions: 2, segmentBytes: 300, ...config })
  const values = Array.from({ length: 10 }, (_, each) => ({ value: `old ${each}` }))
  for (const { index } of topic.partitions) await topic.partition(index).append(values)
  const resets: OffsetReset[] = []
  const onOffsetReset = (reset: OffsetReset): void => void resets.push(reset)
  const member = (more: ConsumerOptions = {}): Consumer => {
    const made = broker.consumer({ groupId: 'g', onOffsetReset, ...options, ...more })
    made.subscribe(['t'])
    return made
  }
  const consumer = member()
  expect(await consumer.poll(NO_WAIT)).toHaveLength(20)
  const committed = (): (number | undefined)[] => {
    const offsets = broker.describe().groups[0]?.offsets ?? []
    return [T0, T1].map((each) => offsets.find((at) => at.partition === each.partition)?.offset)
  }
  return { clock, open, broker, partition: topic.partition(0), consumer, member, committed, resets }
}

describe('a commit of what was consumed from a truncated log', () => {
  it.each([{}, RELAXED])(
    'ends at the truncation point, and includes the other partitions: %o',
    async (config) => {
      const { partition, consumer, committed } = await consumed(config, { enableAutoCommit: false })
      await partition.log.truncateTo(5)
      await consumer.commit()
      expect(committed()).toEqual([5, 10])
    },
  )

  it.each([{}, RELAXED])('waits for a truncation that is under way: %o', async (config) => {
    const { partition, consumer, committed } = await consumed(config, { enableAutoCommit: false })
    const cut = partition.log.truncateTo(5)
    await Promise.all([cut, consumer.commit(), consumer.commit()])
    expect(committed()).toEqual([5, 10])
  })

  it.each([
    ['a cut under way', RELAXED],
    ['a commit in front of it', {}],
  ])('does not fail a poll that commits automatically beside %s', async (_, config) => {
    const { clock, partition, consumer, committed } = await consumed(config)
    await clock.advance(10_000)
    const before = consumer.commit([{ ...T1, offset: 3 }])
    const cut = partition.log.truncateTo(5)
    await consumer.poll(NO_WAIT)
    await Promise.all([before, cut])
    expect(committed()).toEqual([5, 10])
  })

  it.each(['consumer', 'broker'])(
    'does not fail the close of its %s during a truncation',
    async (what) => {
      const { open, broker, partition, consumer } = await consumed(RELAXED)
      const cut = partition.log.truncateTo(5)
      if (what === 'consumer') await consumer.close()
      await broker.close()
      await cut.catch(() => undefined)
      const again = (await open()).consumer({ groupId: 'g' })
      expect((await again.committed(T0))?.offset).toBe(5)
      expect((await again.committed(T1))?.offset).toBe(10)
    },
  )

  it('is reported as a reset to the next owner, which receives all the new records', async () => {
    const { partition, consumer, member, resets } = await consumed({}, { enableAutoCommit: false })
    const cut = partition.log.truncateTo(5)
    await consumer.commit()
    await cut
    await consumer.close()
    const values = ['new 5', 'new 6'].map((value) => ({ value }))
    await partition.append(values)
    const records = await member().poll(NO_WAIT)
    expect(records.map(({ value }) => String(value))).toEqual(['new 5', 'new 6'])
    expect(resets).toEqual([{ ...T0, from: 10, to: 5, reason: 'truncated' }])
  })

  it('is refused beyond the end if no truncation explains it, and the previous offset stays', async () => {
    const { partition, consumer, committed } = await consumed({}, { enableAutoCommit: false })
    await consumer.commit()
    const beyond = { offset: 40, leaderEpoch: 0 }
    await expect(consumer.commit([{ ...T1, ...beyond }])).rejects.toThrow(OffsetOutOfRangeError)
    await partition.log.truncateTo(8)
    const unsaid = consumer.commit([{ ...T0, offset: 10 }])
    await expect(unsaid).rejects.toThrow(OffsetOutOfRangeError)
    expect(committed()).toEqual([8, 10])
  })
})
