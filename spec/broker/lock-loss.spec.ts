import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Broker, LockLostError, type Consumer, type LockLost, type Topic } from '../../lib/index.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedCrash, SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { textsOf } from '../helpers/partitions.ts'
import { settle } from '../helpers/settle.ts'

const CHANNEL = 'varve:lock-lost'

let told: LockLost[] = []
const listener = (message: unknown): void => {
  told.push(message as LockLost)
}
beforeEach(() => {
  told = []
  subscribe(CHANNEL, listener)
})
afterEach(() => {
  unsubscribe(CHANNEL, listener)
})

/** A broker whose clock stands still: no wait ends on its own. */
async function opened(): Promise<{
  fileSystem: SimulatedFileSystem
  broker: Broker
  topic: Topic
}> {
  const fileSystem = new SimulatedFileSystem()
  const clock = new ManualClock()
  const broker = await Broker.open('/data', { fileSystem, clock })
  const topic = await broker.createTopic('t', { partitions: 2 })
  await topic.partition(0).append([{ value: 'a' }, { value: 'b' }])
  return { fileSystem, broker, topic }
}

function assigned(broker: Broker, partitions: readonly number[], minBytes = 1): Consumer {
  const consumer = broker.consumer({ autoOffsetReset: 'earliest', fetchMinBytes: minBytes })
  consumer.assign(partitions.map((partition) => ({ topic: 't', partition })))
  return consumer
}

async function read(consumer: Consumer): Promise<(string | null)[]> {
  return textsOf(await consumer.poll({ maxWaitMs: 10_000 }))
}

/** Stops the machine in an append. Resolves with the append's error. */
async function crash(fileSystem: SimulatedFileSystem, topic: Topic): Promise<unknown> {
  fileSystem.crashAt(1, { when: 'before' })
  const appending = topic.partition(0).append({ value: 'c' })
  return appending.catch((error: unknown) => error)
}

describe('a wait for records when the lock is lost', () => {
  type Waiter = (broker: Broker, topic: Topic) => Promise<unknown>
  const WAITERS: readonly [string, Waiter][] = [
    ['a fetch', (_, topic) => topic.partition(0).fetch(2)],
    ['a fetch of many bytes', (_, topic) => topic.partition(0).fetch(2, { minBytes: 1_000 })],
    ['an iteration of a partition', (_, topic) => topic.partition(0).records({ from: 2 }).next()],
    ['a poll', (broker) => read(assigned(broker, [1]))],
    ['a poll for many bytes', (broker) => read(assigned(broker, [1], 1_000))],
    [
      'an iteration of a consumer',
      (broker) => assigned(broker, [1])[Symbol.asyncIterator]().next(),
    ],
    [
      'a poll of what is paused',
      (broker) => {
        const consumer = assigned(broker, [0, 1])
        consumer.pause(consumer.assignment())
        return read(consumer)
      },
    ],
    [
      'a poll of a member without partitions',
      (broker) => {
        const consumer = broker.consumer({ groupId: 'g' })
        consumer.subscribe(['later'])
        return read(consumer)
      },
    ],
  ]

  it.each(WAITERS)('rejects with LockLostError: %s', async (_, wait) => {
    const { fileSystem, broker, topic } = await opened()
    const waiting = wait(broker, topic).catch((error: unknown) => error)
    await settle()
    fileSystem.loseLock('/data')
    expect(await waiting).toBeInstanceOf(LockLostError)
  })

  it.each(WAITERS)('rejects with LockLostError if it begins afterwards: %s', async (_, wait) => {
    const { fileSystem, broker, topic } = await opened()
    fileSystem.loseLock('/data')
    await expect(wait(broker, topic)).rejects.toThrow(LockLostError)
  })

  it.each(WAITERS)('rejects if the machine stops, in a simulation: %s', async (_, wait) => {
    const { fileSystem, broker, topic } = await opened()
    const waiting = wait(broker, topic).catch((error: unknown) => error)
    await settle()
    await crash(fileSystem, topic)
    const error = await waiting
    expect(error).toBeInstanceOf(LockLostError)
    expect(error).toMatchObject({ cause: expect.any(SimulatedCrash) as unknown })
    expect(told).toEqual([])
  })

  it('rejects if the machine is restarted, in a simulation', async () => {
    const { fileSystem, topic } = await opened()
    const waiting = topic.partition(0).fetch(2)
    await settle()
    fileSystem.restart('power')
    await expect(waiting).rejects.toThrow('(the machine was restarted)')
    expect(told).toEqual([])
  })

  it('returns the records that are there if it waits for many bytes, then rejects', async () => {
    const { fileSystem, broker, topic } = await opened()
    const consumer = assigned(broker, [0, 1], 1_000)
    const fetching = topic.partition(0).fetch(1, { minBytes: 1_000, maxWaitMs: 10_000 })
    const polling = read(consumer)
    await settle()
    fileSystem.loseLock('/data')
    expect(textsOf(await fetching)).toEqual(['b'])
    expect(await polling).toEqual(['a', 'b'])
    await expect(read(consumer)).rejects.toThrow(LockLostError)
  })
})

describe('a read that does not wait when the lock is lost', () => {
  it('returns the records that are there, in all partitions, before it rejects', async () => {
    const { fileSystem, broker, topic } = await opened()
    fileSystem.loseLock('/data')
    expect(textsOf(await topic.partition(0).read(1))).toEqual(['b'])
    const values: (string | null)[] = []
    for await (const { value } of topic.partition(0).records({ until: 'end' })) {
      values.push(String(value))
    }
    expect(values).toEqual(['a', 'b'])
    // The empty partition comes first.
    const consumer = assigned(broker, [1, 0])
    expect(await read(consumer)).toEqual(['a', 'b'])
    await expect(read(consumer)).rejects.toThrow(LockLostError)
    expect(await read(assigned(broker, [1, 0], 1_000))).toEqual(['a', 'b'])
    await expect(consumer.poll({ maxWaitMs: 0 })).rejects.toThrow(LockLostError)
    await expect(topic.partition(0).read(2)).rejects.toThrow(LockLostError)
    await expect(topic.partition(0).read(2, { maxRecords: 1 })).rejects.toThrow(LockLostError)
  })

  it('returns the records that were read ahead, one by one, before it rejects', async () => {
    const { fileSystem, broker } = await opened()
    const values: string[] = []
    const iterate = async (): Promise<void> => {
      for await (const { value } of assigned(broker, [0, 1])) {
        values.push(String(value))
        fileSystem.loseLock('/data')
      }
    }
    await expect(iterate()).rejects.toThrow(LockLostError)
    expect(values).toEqual(['a', 'b'])
  })
})

describe('a lock that is lost between the rename and the sync of a file that is replaced', () => {
  type Change = (broker: Broker) => Promise<unknown>
  it.each<[string, RegExp, Change]>([
    ['createTopic', /varve-topics$/, (broker) => broker.createTopic('new')],
    ['addPartitions', /varve-topics$/, (broker) => broker.topic('t').addPartitions(3)],
    ['alter', /varve-topics$/, (broker) => broker.topic('t').alter({ retentionMs: 5 })],
    ['deleteTopic', /varve-topics$/, (broker) => broker.deleteTopic('t')],
    ['deleteRecords', /checkpoint$/, (broker) => broker.topic('t').partition(0).deleteRecords(-1)],
    [
      'a checkpoint',
      /recovery-point-offset-checkpoint$/,
      (broker) => broker.topic('t').partition(0).log.checkpoint(),
    ],
  ])('is reported as such by the change and by later ones: %s', async (_, file, change) => {
    const { fileSystem, broker, topic } = await opened()
    const other = await broker.createTopic('other')
    const rename = fileSystem.rename.bind(fileSystem)
    let isLost = false
    fileSystem.rename = async (from, to) => {
      await rename(from, to)
      if (isLost || !file.test(to)) return
      isLost = true
      fileSystem.loseLock('/data')
    }
    await expect(change(broker)).rejects.toThrow(LockLostError)
    expect(isLost).toBe(true)
    const { partitions } = broker.topics().includes(topic) ? topic : other
    for (const each of partitions) {
      await expect(each.append({ value: 'x' })).rejects.toThrow(LockLostError)
      await expect(each.deleteRecords(-1)).rejects.toThrow(LockLostError)
    }
    await expect(broker.createTopic('another')).rejects.toThrow(LockLostError)
    await broker.close().catch(() => undefined)
  })
})

it('rejects an append that waits for room when the lock is lost', async () => {
  const { fileSystem, broker } = await opened()
  const limits = { maxBytes: 400, whenFull: 'wait', segmentBytes: 400 } as const
  const topic = await broker.createTopic('full', limits)
  const value = Buffer.alloc(200)
  await topic.partition(0).append({ value })
  const waiting = topic
    .partition(0)
    .append({ value })
    .catch((error: unknown) => error)
  await settle()
  fileSystem.loseLock('/data')
  expect(await waiting).toBeInstanceOf(LockLostError)
})

it('rejects appends with the crash as the cause when the machine has stopped', async () => {
  const { fileSystem, topic } = await opened()
  for (const error of [await crash(fileSystem, topic), await crash(fileSystem, topic)]) {
    expect(error).toBeInstanceOf(LockLostError)
    expect(error).toMatchObject({
      message: expect.stringMatching(/\(the machine stopped in #\d+ write/) as unknown,
      cause: expect.any(SimulatedCrash) as unknown,
    })
  }
})

it('names a crash once when the broker is closed, however many partitions there are', async () => {
  const { fileSystem, broker, topic } = await opened()
  await topic.addPartitions(20)
  await crash(fileSystem, topic)
  const error: unknown = await broker.close().catch((reason: unknown) => reason)
  expect(String(error).match(/the machine stopped/g)).toHaveLength(1)
  expect(String(error)).toMatch(/\(crash before\) \(\d+ times\)$/)
})

it('reports the loss of a lock once, with the reason', async () => {
  const { fileSystem, broker } = await opened()
  expect(told).toEqual([])
  fileSystem.loseLock('/data', 'it was moved')
  fileSystem.loseLock('/data')
  expect(told).toHaveLength(1)
  expect(told[0]?.dir).toBe(broker.dir)
  expect(told[0]?.error).toBeInstanceOf(LockLostError)
  expect(told[0]?.error.message).toContain('it was moved')
})

it('does not report the lock as lost when the broker is closed', async () => {
  const { broker } = await opened()
  await broker.close()
  expect(told).toEqual([])
})
