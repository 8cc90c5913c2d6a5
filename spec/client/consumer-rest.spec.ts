import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import { Partition } from '../../lib/broker/partition.ts'
import type { Consumer } from '../../lib/client/consumer.ts'
import { StorageError } from '../../lib/errors.ts'
import { LogReader } from '../../lib/storage/log-reader.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { withoutTurns } from '../helpers/held-turns.ts'
import { ConsumerHarness, NO_WAIT, T0, values, watch } from './consumer-harness.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

function places(count: number): { topic: string; partition: number }[] {
  return Array.from({ length: count }, (_, partition) => ({ topic: 't', partition }))
}

describe('a poll of many partitions without data', () => {
  /**
   * The log queries and listeners that ten records cost which arrive singly, each in another
   * partition.
   */
  async function workOf(partitionCount: number, mode: 'paused' | 'listening'): Promise<number> {
    withoutTurns()
    const clock = new ManualClock()
    const fileSystem = new SimulatedFileSystem()
    const broker = await Broker.open('/data', { fileSystem, clock, random: new SeededRandom(1) })
    const topic = await broker.createTopic('t', { partitions: partitionCount })
    const consumer = broker.consumer()
    consumer.assign(places(partitionCount))
    await consumer.poll(NO_WAIT)
    if (mode === 'paused') consumer.pause(places(partitionCount).slice(10))
    await consumer.poll(NO_WAIT)
    const spies = [
      vi.spyOn(LogReader.prototype, 'endOffsetForEpoch'),
      vi.spyOn(Partition.prototype, 'highWatermark', 'get'),
      vi.spyOn(Partition.prototype, 'onChange'),
      vi.spyOn(Partition.prototype, 'readBatchesNow'),
      vi.spyOn(Partition.prototype, 'readBatches'),
    ]
    for (let index = 0; index < 10; index += 1) {
      const poll = watch(consumer.poll({ maxWaitMs: 1000 }))
      await clock.advance(1)
      await topic.partition(index).append({ value: 'a' })
      await clock.advance(1)
      expect(poll.value).toHaveLength(1)
    }
    const work = spies.reduce((sum, { mock }) => sum + mock.calls.length, 0)
    vi.restoreAllMocks()
    await broker.close()
    return work
  }

  it.each(['listening', 'paused'] as const)(
    'queries and listens to only the partitions that change: %s',
    async (mode) => {
      expect(await workOf(300, mode)).toBe(await workOf(20, mode))
    },
  )

  it('looks at all partitions once more after a truncation, for which no listener is called', async () => {
    const broker = await Broker.open('/data', { fileSystem: new SimulatedFileSystem() })
    onTestFinished(() => broker.close())
    const { partitions } = await broker.createTopic('t', { partitions: 3 })
    for (const each of partitions) await each.append([{ value: 'a' }, { value: 'b' }])
    const resets: unknown[] = []
    const consumer = broker.consumer({ onOffsetReset: (reset) => void resets.push(reset) })
    consumer.assign(places(3))
    await consumer.poll(NO_WAIT)
    await consumer.poll(NO_WAIT)
    await partitions[1]?.log.truncateTo(1)
    expect(await consumer.poll(NO_WAIT)).toEqual([])
    expect(resets).toEqual([{ topic: 't', partition: 1, from: 2, to: 1, reason: 'truncated' }])
  })

  it('notices that a failed sync has removed records, and resets the position', async () => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await Broker.open('/data', { fileSystem })
    onTestFinished(() => broker.close().catch(() => undefined))
    const relaxed = { partitions: 2, flushMessages: Number.MAX_SAFE_INTEGER }
    const { partitions } = await broker.createTopic('t', relaxed)
    for (const each of partitions) await each.append({ value: 'a' })
    const resets: unknown[] = []
    const consumer = broker.consumer({ onOffsetReset: (reset) => void resets.push(reset) })
    consumer.assign(places(2))
    await consumer.poll(NO_WAIT)
    await consumer.poll(NO_WAIT)
    fileSystem.failNext('datasync', 'EIO', { path: /t-1/ })
    await expect(partitions[1]?.flush()).rejects.toThrow(StorageError)
    expect(await consumer.poll(NO_WAIT)).toEqual([])
    expect(resets).toMatchObject([{ topic: 't', partition: 1, from: 1, to: 0 }])
  })

  it('reads a partition that onOffsetReset resumes', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    const consumer = harness.consumer({
      groupId: 'g',
      onOffsetReset: ({ topic, partition }) => {
        consumer.resume([{ topic, partition }])
      },
    })
    await harness.commit(0)
    harness.partition().append('a', 'b', 'c')
    harness.partition().deleteRecords(2)
    consumer.assign(places(2))
    consumer.pause(places(2))
    expect(values(await consumer.poll({ maxWaitMs: 1000 }))).toEqual(['c'])
  })

  it('does not listen to partitions that onOffsetReset gives up', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    const consumer = harness.consumer({
      groupId: 'g',
      onOffsetReset: () => {
        consumer.unsubscribe()
      },
    })
    await harness.commit(0)
    harness.partition().append('a', 'b', 'c')
    harness.partition().deleteRecords(3)
    consumer.assign(places(2))
    expect(await consumer.poll(NO_WAIT)).toEqual([])
    expect(listeners(harness)).toEqual([0, 0])
  })
})

/** A consumer that has read all its partitions to the end, and no longer checks them. */
async function resting(
  partitionCount: number,
  options: { readonly groupId?: string } = {},
): Promise<{ harness: ConsumerHarness; consumer: Consumer<string, string> }> {
  const harness = new ConsumerHarness({ t: partitionCount })
  const consumer = harness.consumer(options)
  if (options.groupId === undefined) consumer.assign(places(partitionCount))
  else consumer.subscribe(['t'])
  await consumer.poll(NO_WAIT)
  return { harness, consumer }
}

function listeners(harness: ConsumerHarness): number[] {
  return harness.topics.get('t')?.partitions.map(({ listenerCount }) => listenerCount) ?? []
}

it('a poll ends after maxWaitMs, however long its look before the wait takes', async () => {
  const harness = new ConsumerHarness({ t: 1 })
  const consumer = harness.consumer()
  consumer.assign([T0])
  const openGate = harness.partition().closeGate()
  const poll = watch(consumer.poll({ maxWaitMs: 1000 }))
  await harness.clock.advance(900)
  openGate()
  await harness.clock.advance(99)
  expect(poll.isSettled).toBe(false)
  await harness.clock.advance(1)
  expect(poll.value).toEqual([])
})

it('a poll ends when its signal is aborted during its first look', async () => {
  const harness = new ConsumerHarness({ t: 1 })
  const consumer = harness.consumer()
  consumer.assign([T0])
  const openGate = harness.partition().closeGate()
  const stop = new AbortController()
  const poll = watch(consumer.poll({ maxWaitMs: 1000, signal: stop.signal }))
  await harness.clock.advance(1)
  const reason = new Error('enough')
  stop.abort(reason)
  openGate()
  await harness.clock.advance(0)
  expect(poll.error).toBe(reason)
})

it('a poll reads a partition that it had no room for if the one read before is closed', async () => {
  const harness = new ConsumerHarness({ a: 1, b: 1 })
  const consumer = harness.consumer({ groupId: 'g', fetchMaxBytes: 1, enableAutoCommit: false })
  consumer.subscribe(['a', 'b'])
  await consumer.poll(NO_WAIT)
  harness.partition('a').append('x')
  harness.partition('b').append('y')
  const openGate = harness.partition('a').closeGate()
  const poll = watch(consumer.poll({ maxWaitMs: 60_000 }))
  await harness.clock.advance(1)
  harness.partition('a').close()
  openGate()
  await harness.clock.advance(1)
  expect(values(poll.value ?? [])).toEqual(['y'])
})

it('a poll rejects at once if its topic is deleted during the read', async () => {
  const harness = new ConsumerHarness({ t: 1 })
  const consumer = harness.consumer()
  consumer.assign([T0])
  // The first poll begins the rest, the second completes it.
  await consumer.poll(NO_WAIT)
  await consumer.poll(NO_WAIT)
  harness.partition().append('a')
  const openGate = harness.partition().closeGate()
  const poll = watch(consumer.poll({ maxWaitMs: 1000 }))
  await harness.clock.advance(1)
  harness.deleteTopic('t')
  openGate()
  await harness.clock.advance(1)
  expect(poll.error).toMatchObject({ code: 'UNKNOWN_TOPIC_OR_PARTITION' })
})

it('a poll reads no more while its buffers have no room', async () => {
  const harness = new ConsumerHarness({ t: 30 })
  const all = places(30)
  const reads = all.map(({ partition }) => harness.partition('t', partition).reads)
  for (const { partition } of all) {
    const values = Array.from({ length: 20 }, () => 'x'.repeat(100))
    harness.partition('t', partition).append(...values)
  }
  const consumer = harness.consumer({ fetchMaxBytes: 3000, maxPollRecords: 1 })
  consumer.assign(all)
  for (let poll = 0; poll < 18; poll += 1) await consumer.poll(NO_WAIT)
  const readBytes = reads.flat().reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  expect(readBytes).toBeLessThan(6500)
})

describe('a resting partition', () => {
  it('has only one listener, however many polls there are', async () => {
    const { harness, consumer } = await resting(3)
    for (let poll = 0; poll < 5; poll += 1) await consumer.poll(NO_WAIT)
    expect(listeners(harness)).toEqual([1, 1, 1])
  })

  it('calls its listener only for the first of several changes', async () => {
    const { harness, consumer } = await resting(2)
    harness.partition('t', 1).append('a')
    expect(listeners(harness)).toEqual([1, 0])
    harness.partition('t', 1).append('b')
    expect(values(await consumer.poll(NO_WAIT))).toEqual(['a', 'b'])
    await consumer.poll(NO_WAIT)
    expect(listeners(harness)).toEqual([1, 1])
  })

  it.each<[string, (consumer: Consumer<string, string>) => unknown]>([
    ['close', (consumer) => consumer.close()],
    [
      'unsubscribe',
      (consumer) => {
        consumer.unsubscribe()
      },
    ],
    [
      'an assignment of others',
      (consumer) => {
        consumer.assign(places(3).slice(2))
      },
    ],
    [
      'a pause',
      (consumer) => {
        consumer.pause(places(2))
      },
    ],
  ])('has no listener after %s', async (_, leave) => {
    const { harness, consumer } = await resting(3)
    expect(listeners(harness).slice(0, 2)).toEqual([1, 1])
    await leave(consumer)
    expect(listeners(harness).slice(0, 2)).toEqual([0, 0])
  })

  it('has no listener of a member from which the group has revoked it', async () => {
    const { harness, consumer } = await resting(2, { groupId: 'g' })
    const other = harness.consumer({ groupId: 'g' })
    other.subscribe(['t'])
    for (let poll = 0; poll < 3; poll += 1) {
      await other.poll(NO_WAIT)
      await consumer.poll(NO_WAIT)
    }
    expect(listeners(harness)).toEqual([1, 1])
    await other.close()
    expect(listeners(harness).reduce((sum, count) => sum + count)).toBe(1)
  })

  it('has no listener after a close during a read of it', async () => {
    const { harness, consumer } = await resting(1)
    harness.partition().notify()
    const open = harness.partition().closeGate()
    const poll = watch(consumer.poll({ maxWaitMs: 1000 }))
    await harness.clock.advance(1)
    const closing = consumer.close()
    open()
    await closing
    expect(poll.error).toMatchObject({ code: 'CLOSED' })
    expect(listeners(harness)).toEqual([0])
    expect(harness.clock.pendingTimers).toBe(0)
  })

  it.each([
    [
      'what is appended',
      (harness: ConsumerHarness) => {
        harness.partition('t', 1).append('a')
      },
      ['a'],
    ],
    [
      'a seek to where there is something',
      (_: ConsumerHarness, consumer: Consumer<string, string>) => {
        consumer.seek(T0, 0)
      },
      ['old'],
    ],
    [
      'a seek to the beginning',
      (_: ConsumerHarness, consumer: Consumer<string, string>) => {
        consumer.seekToBeginning([T0])
      },
      ['old'],
    ],
  ])('becomes due by %s, also while a poll waits', async (_, change, expected) => {
    for (const isWaiting of [false, true]) {
      const { harness, consumer } = await resting(2)
      harness.partition().append('old')
      await consumer.poll(NO_WAIT)
      await consumer.poll(NO_WAIT)
      const early = isWaiting ? watch(consumer.poll({ maxWaitMs: 1000 })) : null
      await harness.clock.advance(1)
      change(harness, consumer)
      const poll = early ?? watch(consumer.poll({ maxWaitMs: 1000 }))
      await harness.clock.advance(0)
      expect(values(poll.value ?? [])).toEqual(expected)
    }
  })

  it('becomes due by an append during a read that finds it empty', async () => {
    const { harness, consumer } = await resting(1)
    harness.partition().notify()
    const open = harness.partition().closeGate()
    const poll = watch(consumer.poll({ maxWaitMs: 1000 }))
    await harness.clock.advance(1)
    harness.partition().append('a')
    open()
    await harness.clock.advance(0)
    expect(values(poll.value ?? [])).toEqual(['a'])
  })

  it('becomes due when it is resumed, if records were appended while it was paused', async () => {
    const { harness, consumer } = await resting(2)
    consumer.pause([T0])
    await consumer.poll(NO_WAIT)
    harness.partition().append('a')
    expect(await consumer.poll(NO_WAIT)).toEqual([])
    consumer.resume([T0])
    expect(values(await consumer.poll(NO_WAIT))).toEqual(['a'])
  })

  it('becomes due when its topic is created again', async () => {
    const { harness, consumer } = await resting(1)
    harness.deleteTopic('t')
    harness.createTopic('t', 1).partitions[0]?.append('new')
    expect(values(await consumer.poll(NO_WAIT))).toEqual(['new'])
  })
})
