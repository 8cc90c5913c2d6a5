import { describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import type { Partition } from '../../lib/broker/partition.ts'
import type { TopicConfig } from '../../lib/config.ts'
import { StorageError } from '../../lib/errors.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

const TP = { topic: 't', partition: 0 }
const RELAXED: TopicConfig = { flushMessages: 100, flushMs: 1000 }

interface Opened {
  readonly broker: Broker
  readonly partition: Partition
  readonly clock: ManualClock
  readonly fileSystem: SimulatedFileSystem
}

async function open(config: TopicConfig = {}): Promise<Opened> {
  const clock = new ManualClock()
  const fileSystem = new SimulatedFileSystem()
  const broker = await Broker.open('/data', { fileSystem, clock })
  const topic = await broker.createTopic('t', config)
  return { broker, partition: topic.partition(0), clock, fileSystem }
}

/** Opens the directory again, twice: what a failed sync has left is reported once. */
async function again({
  fileSystem,
  clock,
}: Opened): Promise<{ end: number; failedSyncs: unknown }> {
  const broker = await Broker.open('/data', { fileSystem, clock })
  const { failedSyncs } = broker.recovery
  const end = broker.topic('t').partition(0).logEndOffset
  await broker.close()
  const next = await Broker.open('/data', { fileSystem, clock })
  expect(next.recovery).toMatchObject({ failedSyncs: [], cleanShutdown: true })
  expect(next.topic('t').partition(0).logEndOffset).toBe(end)
  await next.close()
  return { end, failedSyncs }
}

/** Each makes the appended records durable, or would if the disk allowed it. */
const SYNCS: Readonly<Record<string, (opened: Opened) => Promise<unknown>>> = {
  'after flushMs': ({ clock }) => clock.advance(5000),
  'of a commit': ({ broker }) => broker.consumer({ groupId: 'g' }).commit([{ ...TP, offset: 3 }]),
  'of a flush': ({ partition }) => partition.flush(),
}

describe('records of a relaxed topic that are lost by a failed sync', () => {
  it.each(Object.keys(SYNCS))('are reported by the close and by the next open: %s', async (how) => {
    const opened = await open(RELAXED)
    const { broker, partition, fileSystem } = opened
    await partition.append([{ value: 'a' }, { value: 'b' }])
    await partition.flush()
    for (const value of ['c', 'd', 'e']) await partition.append({ value })
    fileSystem.failNext('datasync', 'EIO', { path: /t-0/ })
    await SYNCS[how]?.(opened).catch(() => undefined)
    expect(partition.highWatermark).toBe(2)
    const closing = broker.close()
    await expect(closing).rejects.toThrow(StorageError)
    await expect(closing).rejects.toThrow(
      /^t-0: the acknowledged records at offsets 2 to 4 are not durable\. .*EIO/,
    )
    await expect(closing).rejects.toMatchObject({
      outcome: 'unknown',
      cause: partition.log.failure,
    })
    expect(await again(opened)).toEqual({ end: 2, failedSyncs: [{ ...TP, offset: 2 }] })
  })

  it('do not include records that were truncated before', async () => {
    const opened = await open(RELAXED)
    const { broker, partition, fileSystem } = opened
    await partition.append([{ value: 'a' }, { value: 'b' }, { value: 'c' }])
    await partition.log.truncateTo(0)
    await partition.append({ value: 'd' })
    fileSystem.failNext('datasync', 'EIO', { path: /t-0/ })
    await expect(partition.flush()).rejects.toThrow(StorageError)
    await expect(broker.close()).rejects.toThrow(/offsets 0 to 0 are not durable/)
    expect(await again(opened)).toEqual({ end: 0, failedSyncs: [{ ...TP, offset: 0 }] })
  })

  it('are reported by the close of a log that is used alone', async () => {
    const { partition, fileSystem, broker } = await open(RELAXED)
    await partition.log.append([{ value: 'a' }])
    fileSystem.failNext('datasync', 'EIO', { path: /t-0/ })
    await partition.log.flush().catch(() => undefined)
    await expect(partition.log.close()).rejects.toThrow(/offsets 0 to 0 are not durable/)
    await broker.close().catch(() => undefined)
  })
})

describe('a record that was acknowledged before its sync fails', () => {
  it.each([0, 1] as const)(
    'is reported by the close after an append with acks %i',
    async (acks) => {
      const opened = await open()
      const { broker, partition, fileSystem } = opened
      await partition.append({ value: 'a' })
      fileSystem.failNext('datasync', 'EIO', { path: /t-0/ })
      await partition.append({ value: 'b' }, { acks })
      await expect(broker.close()).rejects.toThrow(/offsets 1 to 1 are not durable/)
      expect(await again(opened)).toEqual({ end: 1, failedSyncs: [{ ...TP, offset: 1 }] })
    },
  )

  it('is reported by the close after a send of a producer with acks 1', async () => {
    const opened = await open()
    const { broker, fileSystem } = opened
    fileSystem.failNext('datasync', 'EIO', { path: /t-0/ })
    const { offset } = await broker.producer({ acks: 1 }).send({ topic: 't', value: 'b' })
    expect(offset).toBe(0)
    await expect(broker.close()).rejects.toThrow(/offsets 0 to 0 are not durable/)
    expect(await again(opened)).toEqual({ end: 0, failedSyncs: [{ ...TP, offset: 0 }] })
  })
})

describe('a record whose append has failed', () => {
  it('is not reported again by the close', async () => {
    const opened = await open()
    const { broker, partition, fileSystem } = opened
    await partition.append({ value: 'a' })
    fileSystem.failNext('datasync', 'EIO', { path: /t-0/ })
    await expect(partition.append({ value: 'b' })).rejects.toMatchObject({ outcome: 'unknown' })
    await broker.close()
    expect(await again(opened)).toEqual({ end: 1, failedSyncs: [{ ...TP, offset: 1 }] })
  })

  it('is not reported by the close if it has the offset of an acknowledged record that was truncated', async () => {
    const opened = await open()
    const { broker, partition, fileSystem } = opened
    await partition.append([{ value: 'a' }, { value: 'b' }])
    await partition.log.truncateTo(0)
    fileSystem.failNext('datasync', 'EIO', { path: /t-0/ })
    await expect(partition.append({ value: 'c' })).rejects.toThrow(StorageError)
    await broker.close()
    expect(await again(opened)).toEqual({ end: 0, failedSyncs: [{ ...TP, offset: 0 }] })
  })
})
