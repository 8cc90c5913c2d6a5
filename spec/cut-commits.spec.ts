import { describe, expect, it, onTestFinished } from 'vitest'
import { Broker } from '../lib/broker.ts'
import type { Consumer } from '../lib/client/consumer.ts'
import type { OffsetReset } from '../lib/client/consumer-options.ts'
import type { TopicConfig } from '../lib/config.ts'
import { ManualClock } from '../lib/testing/manual-clock.ts'
import { SeededRandom } from '../lib/testing/seeded-random.ts'
import { SimulatedFileSystem } from '../lib/testing/simulated-file-system.ts'

const T0 = { topic: 't', partition: 0 }
const NO_WAIT = { maxWaitMs: 0 }

async function open(fileSystem: SimulatedFileSystem, readOnly = false): Promise<Broker> {
  const random = new SeededRandom(3)
  const clock = new ManualClock()
  const broker = await Broker.open('/data', { fileSystem, clock, random, readOnly })
  onTestFinished(() => broker.close().catch(() => undefined))
  return broker
}

function reader(broker: Broker, resets: OffsetReset[] = []): Consumer {
  const onOffsetReset = (reset: OffsetReset): void => void resets.push(reset)
  const consumer = broker.consumer({ groupId: 'g', enableAutoCommit: false, onOffsetReset })
  consumer.assign([T0])
  return consumer
}

async function valuesOf(consumer: Consumer): Promise<string[]> {
  return (await consumer.poll(NO_WAIT)).map(({ value }) => String(value))
}

/** A topic of one partition, whose records `old 0` to `old 9` a group has committed. */
async function consumed(config: TopicConfig = {}) {
  const fileSystem = new SimulatedFileSystem()
  const broker = await open(fileSystem)
  const topic = await broker.createTopic('t', { segmentBytes: 150, ...config })
  const partition = topic.partition(0)
  const append = async (name: string, from: number, to: number): Promise<void> => {
    for (let each = from; each < to; each += 1) await partition.append({ value: `${name} ${each}` })
  }
  await append('old', 0, 10)
  const consumer = reader(broker)
  expect(await consumer.poll(NO_WAIT)).toHaveLength(10)
  await consumer.commit()
  await consumer.close()
  return { fileSystem, broker, topic, partition, append }
}

describe('a committed offset in a truncated log', () => {
  it('is committed again with the new leader epoch once the records in the same place are consumed', async () => {
    const { broker, partition, append } = await consumed()
    await partition.log.truncateTo(8)
    await append('new', 8, 10)
    for (const expected of [['new 8', 'new 9'], []]) {
      const consumer = broker.consumer({ groupId: 'g' })
      consumer.subscribe(['t'])
      expect(await valuesOf(consumer)).toEqual(expected)
      await consumer.close()
      expect(await reader(broker).committed(T0)).toMatchObject({ offset: 10, leaderEpoch: 1 })
    }
  })

  it('moves to the truncation point at once, and stays there when the log grows again', async () => {
    const { broker, partition, append } = await consumed()
    const consumer = reader(broker)
    const left = { offset: 5, metadata: '', leaderEpoch: 0 }
    const ensureTakenBack = async (): Promise<void> => {
      expect(await consumer.committed(T0)).toEqual(left)
      expect(broker.describe().groups).toMatchObject([{ groupId: 'g', offsets: [left] }])
    }
    await partition.log.truncateTo(5)
    await ensureTakenBack()
    await append('new', 5, 15)
    await ensureTakenBack()
    await partition.log.truncateTo(12)
    await ensureTakenBack()
    await consumer.commit([{ ...T0, offset: 11 }])
    expect(await consumer.committed(T0)).toMatchObject({ offset: 11, leaderEpoch: 1 })
  })

  it('does not count beyond the truncation point: new records are kept until they are read', async () => {
    const { broker, topic, partition, append } = await consumed({ retention: 'consumed' })
    await partition.log.truncateTo(5)
    await append('new', 5, 12)
    await topic.enforceRetention()
    expect(partition.logStartOffset).toBeGreaterThan(0)
    expect(partition.logStartOffset).toBeLessThanOrEqual(5)
    const resets: OffsetReset[] = []
    const consumer = reader(broker, resets)
    expect(await valuesOf(consumer)).toEqual([5, 6, 7, 8, 9, 10, 11].map((each) => `new ${each}`))
    expect(resets).toEqual([{ ...T0, from: 10, to: 5, reason: 'truncated' }])
    await consumer.commit()
    await topic.enforceRetention()
    expect(partition.logStartOffset).toBeGreaterThan(5)
  })

  it('does not let a full topic delete records that took the place of truncated ones', async () => {
    const { broker, topic, partition, append } = await consumed({ retention: 'consumed' })
    await partition.log.truncateTo(5)
    await topic.enforceRetention()
    await append('new', 5, 9)
    await topic.alter({ maxBytes: partition.log.size })
    await expect(append('new', 9, 10)).rejects.toMatchObject({ code: 'LOG_FULL' })
    expect(await valuesOf(reader(broker))).toEqual([5, 6, 7, 8].map((each) => `new ${each}`))
  })

  it('is moved back for good by the next open, which reports it', async () => {
    const { fileSystem, broker, partition, append } = await consumed()
    await partition.log.truncateTo(5)
    await append('new', 5, 12)
    await broker.close()
    const again = await open(fileSystem)
    expect(again.recovery.clampedOffsets).toMatchObject([{ offset: 10, clampedTo: 5 }])
    expect(await valuesOf(reader(again))).toContain('new 5')
  })

  it('is moved back in a read-only process too, once that has seen the truncation', async () => {
    const { fileSystem, partition, append } = await consumed()
    const beside = await open(fileSystem, true)
    const consumer = reader(beside)
    expect((await consumer.committed(T0))?.offset).toBe(10)
    await partition.log.truncateTo(5)
    await append('new', 5, 15)
    await beside.topic('t').partition(0).refresh()
    expect((await consumer.committed(T0))?.offset).toBe(5)
  })
})
