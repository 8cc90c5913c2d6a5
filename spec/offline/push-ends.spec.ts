import { describe, expect, it, vi } from 'vitest'
import {
  ClosedError,
  CommitFailedError,
  CorruptRecordError,
  type ConsumerRecord,
} from '../../lib/index.ts'
import { pushTo, type Push, type PushContext } from '../../lib/offline/index.ts'
import { tempBroker } from '../../lib/testing/temp-broker.ts'
import { committedOf, heldWrites, setUp, text, until } from './push-harness.ts'

const P0 = { topic: 't', partition: 0 }

/** Waits for the end of a push that must fail. */
function errorOf(push: Promise<unknown>): { error: unknown } {
  const found: { error: unknown } = { error: null }
  push.catch((error: unknown) => (found.error = error))
  return found
}

describe('a push that fails', () => {
  it.each([100, 2])(
    'while commits fail leaves its consumer at the first unacknowledged record (maxInFlight %i)',
    async (maxInFlight) => {
      const { clock, broker, fileSystem, consumer } = await setUp()
      const reader = consumer()
      const { release, started, write } = heldWrites()
      const push = pushTo(reader, write, { clock, maxInFlight })
      const failed = errorOf(push)
      await until(clock, () => started.length === 1)
      fileSystem.failNext('write', 'ENOSPC', { path: /__consumer_offsets/, persistent: true })
      await release(clock, 0)
      await release(clock, 1)
      await until(clock, () => failed.error !== null)
      expect(failed.error).toMatchObject({ cause: { code: 'ENOSPC' } })
      expect(reader.position(P0)).toBe(started.length)
      expect(reader.paused()).toEqual([])

      fileSystem.clearFaults()
      const written: number[] = []
      const next = pushTo(reader, ({ offset }) => void written.push(offset), { clock })
      await until(clock, () => committedOf(broker).join() === '10')
      expect([...started, ...written]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
      await next.stop()
      await broker.close()
    },
  )

  it('with damage that a listener has met rejects, though there is something to poll', async () => {
    const { clock, broker, topic, consumer } = await setUp()
    const reader = consumer({ partitionAssignmentStrategy: 'cooperative-sticky' })
    const place = { path: '/data/audit-0/0.log', position: 0, firstOffset: 0 }
    const damage = new CorruptRecordError('the CRC is wrong', place)
    let isToFail = false
    reader.subscribe(['t'], {
      onPartitionsAssigned: () => {
        if (isToFail) throw damage
      },
    })
    const { release, started, write } = heldWrites()
    const failed = errorOf(pushTo(reader, write, { clock }))
    await until(clock, () => started.length === 1)
    isToFail = true
    await topic.addPartitions(2)
    await topic.partition(1).append({ value: 'more' })
    await clock.advance(1000)
    await release(clock, 0)
    await until(clock, () => failed.error !== null)
    expect(failed.error).toBe(damage)
    await broker.close()
  })

  it('with the error of another, closed client in a listener rejects, and repeats what is unwritten', async () => {
    const { clock, broker, consumer } = await setUp()
    const producer = broker.producer()
    await producer.close()
    const reader = consumer({ partitionAssignmentStrategy: 'cooperative-sticky' })
    let isToFail = false
    reader.subscribe(['t'], {
      onPartitionsAssigned: async () => {
        if (isToFail) await producer.send({ topic: 't', value: 'audit' })
      },
    })
    const { release, started, write } = heldWrites()
    const failed = errorOf(pushTo(reader, write, { clock }))
    await until(clock, () => started.length === 1)
    isToFail = true
    await broker.topic('t').addPartitions(2)
    await clock.advance(1000)
    await release(clock, 0)
    await until(clock, () => failed.error !== null)
    expect(failed.error).toBeInstanceOf(ClosedError)
    expect(reader.position(P0)).toBe(1)
    await broker.close()
  })
})

it('a push of assigned partitions rejects when the group has subscribed members, and writes nothing', async () => {
  const { clock, broker, consumer } = await setUp()
  const member = consumer()
  await member.poll({ maxWaitMs: 0 })
  const reader = broker.consumer({ groupId: 'g', enableAutoCommit: false })
  reader.assign([P0])
  const written: number[] = []
  const push = pushTo(reader, ({ offset }) => void written.push(offset), { clock })
  const failed = errorOf(push)
  await until(clock, () => failed.error !== null)
  expect(failed.error).toBeInstanceOf(CommitFailedError)
  expect(written).toEqual([])
  await broker.close()
})

it('a push of assigned partitions rejects when the group gets subscribed members', async () => {
  const { clock, broker, consumer } = await setUp()
  const reader = broker.consumer({ groupId: 'g', enableAutoCommit: false })
  reader.assign([P0])
  const { release, started, write } = heldWrites()
  const failed = errorOf(pushTo(reader, write, { clock }))
  await until(clock, () => started.length === 1)
  await consumer().poll({ maxWaitMs: 0 })
  // The write of 1 begins before the commit of 0 fails.
  for (const offset of [0, 1]) await release(clock, offset)
  await until(clock, () => failed.error !== null)
  expect(failed.error).toBeInstanceOf(CommitFailedError)
  expect(started).toEqual([0, 1])
  expect(reader.position(P0)).toBe(2)
  await broker.close()
})

it('a push does not write what another member has written, if one poll gives up the partition and gets it back', async () => {
  const { clock, broker, topic, consumer } = await setUp(2, 0)
  await topic.partition(1).append(Array.from({ length: 10 }, (_, at) => ({ value: `1:${at}` })))
  const first = consumer({ partitionAssignmentStrategy: 'range', fetchMaxWaitMs: 30_000 })
  const { release, started, write } = heldWrites()
  const push = pushTo(first, write, { clock })
  await until(clock, () => started.length === 1 && committedOf(broker).length === 1)

  const second = consumer({ partitionAssignmentStrategy: 'range' })
  const taken: ConsumerRecord[] = []
  for (let turn = 0; turn < 50 && taken.length < 10; turn += 1) {
    const polling = second.poll({ maxWaitMs: 10 })
    await clock.advance(10)
    taken.push(...(await polling))
  }
  expect(taken.map(({ offset }) => offset)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  await second.commit([{ topic: 't', partition: 1, offset: 10 }])
  await second.close()
  await until(clock, () => first.assignment().length === 2)

  await release(clock, 0)
  await clock.advance(1000)
  expect(started).toEqual([0])
  await push.stop()
  expect(committedOf(broker).at(-1)).toBe(10)
  await broker.close()
})

it.each([1, 1000])(
  'a push writes what precedes a damaged record, and then ends there: maxInFlight %i',
  async (maxInFlight) => {
    const { clock, broker: before, fileSystem, topic } = await setUp(2, 6)
    await topic.partition(0).append({ value: 'damaged' })
    await topic.partition(0).append({ value: '0:7' })
    await before.close()
    const broker = await tempBroker({ fileSystem, clock })
    const path = '/varve/t-0/00000000000000000000.log'
    fileSystem.flipBit(path, fileSystem.readFile(path).indexOf('damaged'), 0)
    const reader = broker.consumer({ groupId: 'g', enableAutoCommit: false, maxPollRecords: 4 })
    reader.subscribe(['t'])
    const written: string[] = []
    const write = async (record: ConsumerRecord): Promise<void> => {
      await new Promise<void>((resolve) => void clock.startTimer(resolve, 100))
      written.push(text(record))
    }
    const failed = errorOf(pushTo(reader, write, { clock, maxInFlight }))
    await clock.advance(10_000)
    expect(failed.error).toMatchObject({ code: 'CORRUPT_MESSAGE', firstOffset: 6, lastOffset: 6 })
    expect(reader.paused()).toEqual([])
    // An application that moves behind the damage leaves out nothing else.
    expect(reader.position(P0)).toBe(6)
    reader.seek(P0, 7)
    const next = pushTo(reader, write, { clock })
    await until(clock, () => written.length === 13)
    await next.stop()
    expect(new Set(written).size).toBe(13)
    await broker.close()
  },
)

it('a push with fetchMaxWaitMs 0 waits when there is nothing to do, and hears of records and rebalances', async () => {
  const { clock, broker, topic, consumer } = await setUp(2, 3)
  const reader = consumer({ fetchMaxWaitMs: 0 })
  const written: string[] = []
  const push = pushTo(reader, (record) => void written.push(text(record)), { clock })
  await until(clock, () => committedOf(broker).join() === '3,3')
  const poll = vi.spyOn(reader, 'poll')
  for (let turn = 0; turn < 50; turn += 1) await clock.advance(0)
  expect(poll.mock.calls.length).toBeLessThan(3)
  // No time passes: its poll is not over.
  await topic.partition(1).append({ value: '1:3' })
  await clock.advance(0)
  expect(written).toContain('1:3')
  const second = consumer()
  for (let turn = 0; turn < 20 && second.assignment().length === 0; turn += 1) {
    const polling = second.poll({ maxWaitMs: 0 })
    await clock.advance(0)
    await polling
  }
  expect([reader, second].map((each) => each.assignment().length)).toEqual([1, 1])
  await push.stop()
  await broker.close()
})

describe('a push that is drained while its target is away', () => {
  it('does not wait for the next retry, so the next owner gets the partition at once', async () => {
    const { clock, broker, consumer } = await setUp(2, 5)
    const tried: string[] = []
    const away = (record: ConsumerRecord): void => {
      tried.push(text(record))
      throw new Error('the target is away')
    }
    const first = consumer()
    let push: Push | null = null
    first.subscribe(['t'], { onPartitionsRevoked: (partitions) => push?.drain(partitions) })
    push = pushTo(first, away, { clock, retries: 9, retryBackoffMs: 30_000 })
    await until(clock, () => tried.length === 2)
    const written: string[] = []
    const other = pushTo(consumer(), (record) => void written.push(text(record)), { clock })
    await until(clock, () => written.length === 5)
    // It keeps the other partition, whose record it tries from the first attempt again.
    await until(clock, () => tried.length === 3)
    expect(tried.slice(0, 2).toSorted()).toEqual(['0:0', '1:0'])
    expect(tried[2]).toBe(written[0] === '0:0' ? '1:0' : '0:0')
    expect(await push.stop()).toEqual({ written: 0, failed: 0, retries: 0 })
    await other.stop()
    await broker.close()
    expect(clock.pendingTimers).toBe(0)
  })

  it('tries a record once more at once if records after it are written, and repeats none', async () => {
    const { clock, broker, consumer } = await setUp(1, 12)
    const written: number[] = []
    const attempts: number[] = []
    const write = ({ offset }: ConsumerRecord, { attempt }: PushContext): void => {
      if (offset === 0) attempts.push(attempt)
      if (attempts.length === 1 && offset === 0) throw new Error('the target was away')
      written.push(offset)
    }
    const options = { orderBy: 'key', concurrency: 2, retryBackoffMs: 30_000 } as const
    const push = pushTo(consumer(), write, { ...options, clock })
    // 0 waits, as do the others with its key.
    await until(clock, () => written.length === 8)
    let isDrained = false
    void push.drain([P0]).then(() => (isDrained = true))
    await until(clock, () => isDrained)
    expect(attempts).toEqual([1, 2])
    expect(written.slice(8)).toEqual([0, 3, 6, 9])
    expect(committedOf(broker)).toEqual([12])
    expect(await push.stop()).toEqual({ written: 12, failed: 0, retries: 1 })
    await broker.close()
  })

  it('writes no more of a key whose record could not be written', async () => {
    const { clock, broker, consumer } = await setUp(1, 12)
    const written: number[] = []
    const attempts: number[] = []
    const write = ({ offset }: ConsumerRecord, { attempt }: PushContext): void => {
      if (offset !== 0) return void written.push(offset)
      attempts.push(attempt)
      throw new Error('the target is away')
    }
    const options = { orderBy: 'key', concurrency: 2, retryBackoffMs: 30_000 } as const
    const push = pushTo(consumer(), write, { ...options, clock })
    await until(clock, () => written.length === 8)
    let isDrained = false
    void push.drain([P0]).then(() => (isDrained = true))
    await until(clock, () => isDrained)
    expect(attempts.slice(0, 2)).toEqual([1, 2])
    expect(written.filter((offset) => offset % 3 === 0)).toEqual([])
    expect(committedOf(broker)).toEqual([0])
    await push.stop()
    await broker.close()
  })

  it('gives back a record whose write fails now, without calling onError', async () => {
    const { clock, broker, consumer } = await setUp(1, 3)
    const { release, started, write } = heldWrites()
    const onError = vi.fn()
    const push = pushTo(consumer(), write, { clock, retries: 0, onError })
    await until(clock, () => started.length === 1)
    const drained = push.drain([P0])
    await release(clock, 0, new Error('the target is away'))
    await drained
    expect(onError).not.toHaveBeenCalled()
    expect(committedOf(broker)).toEqual([0])
    // It keeps the partition, and continues there.
    await until(clock, () => started.length === 2)
    expect(started).toEqual([0, 0])
    const stopped = push.stop()
    await release(clock, 0)
    expect(await stopped).toEqual({ written: 1, failed: 0, retries: 0 })
    await broker.close()
  })
})
