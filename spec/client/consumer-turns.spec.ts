import { afterEach, describe, expect, it, vi } from 'vitest'
import type { TopicPartition } from '../../lib/broker/topic-partition.ts'
import type { Consumer } from '../../lib/client/consumer.ts'
import { UnknownTopicOrPartitionError, WakeupError } from '../../lib/errors.ts'
import { holdTurns } from '../helpers/held-turns.ts'
import {
  ConsumerHarness,
  NO_WAIT,
  numbers,
  offsets,
  T0,
  values,
  watch,
} from './consumer-harness.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

/** A poll of an hour that has nothing to read, and waits for a turn of the event loop. */
async function pollBehindATurn(
  { clock }: ConsumerHarness,
  consumer: Consumer<string, string>,
  soundCalls: number,
) {
  const turns = holdTurns({ soundCalls })
  const poll = watch(consumer.poll({ maxWaitMs: 3_600_000 }))
  await clock.advance(0)
  expect(turns.asked()).toBe(soundCalls + 1)
  vi.restoreAllMocks()
  return { poll, endTurn: turns.release }
}

function assigned(harness: ConsumerHarness): Consumer<string, string> {
  const consumer = harness.consumer()
  consumer.assign([T0])
  return consumer
}

describe.each([
  ['before all else', 0],
  ['before it waits for records', 1],
])('a poll that waits for the event loop to turn %s', (_name, soundCalls) => {
  it('is interrupted by a wakeup', async () => {
    const harness = new ConsumerHarness()
    const consumer = assigned(harness)
    const { poll, endTurn } = await pollBehindATurn(harness, consumer, soundCalls)
    consumer.wakeup()
    endTurn()
    await harness.clock.advance(1000)
    expect(poll.error).toBeInstanceOf(WakeupError)
    expect(harness.clock.pendingTimers).toBe(0)
  })

  it('does not hold up a close', async () => {
    const harness = new ConsumerHarness()
    const consumer = assigned(harness)
    const { poll, endTurn } = await pollBehindATurn(harness, consumer, soundCalls)
    const closing = watch(consumer.close())
    endTurn()
    await harness.clock.advance(1000)
    expect([poll.isSettled, closing.isSettled]).toEqual([true, true])
  })

  it('follows a seek', async () => {
    const harness = new ConsumerHarness()
    harness.partition().append('a')
    const consumer = assigned(harness)
    consumer.seek(T0, 1)
    const { poll, endTurn } = await pollBehindATurn(harness, consumer, soundCalls)
    consumer.seek(T0, 0)
    endTurn()
    await harness.clock.advance(1000)
    expect(values(poll.value ?? [])).toEqual(['a'])
  })

  it('takes part in a rebalance', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    const consumer = harness.consumer({ groupId: 'g' })
    consumer.subscribe(['t'])
    await consumer.poll(NO_WAIT)
    const { endTurn } = await pollBehindATurn(harness, consumer, soundCalls)
    const other = harness.consumer({ groupId: 'g' })
    other.subscribe(['t'])
    await other.poll(NO_WAIT)
    endTurn()
    await harness.clock.advance(1000)
    await other.poll(NO_WAIT)
    expect(other.assignment()).toHaveLength(1)
  })
})

it('a poll of buffered records lets the event loop turn, and then returns the next records', async () => {
  const harness = new ConsumerHarness()
  harness.partition().append(...numbers(30))
  const consumer = harness.consumer({ maxPollRecords: 10 })
  consumer.assign([T0])
  expect(offsets(await consumer.poll(NO_WAIT))).toHaveLength(10)
  const turns = holdTurns()
  const poll = watch(consumer.poll(NO_WAIT))
  await harness.clock.advance(1000)
  expect(poll.isSettled).toBe(false)
  turns.release()
  await harness.clock.advance(0)
  expect(offsets(poll.value ?? [])).toEqual([10, 11, 12, 13, 14, 15, 16, 17, 18, 19])
})

it.each([
  ['committed', (consumer: Consumer<string, string>) => consumer.committed(T0)],
  ['lag', (consumer: Consumer<string, string>) => consumer.lag()],
  ['beginningOffsets', (consumer: Consumer<string, string>) => consumer.beginningOffsets([T0])],
  ['endOffsets', (consumer: Consumer<string, string>) => consumer.endOffsets([T0])],
])('a repeated query lets the event loop turn: %s', async (_name, ask) => {
  const harness = new ConsumerHarness()
  const consumer = harness.consumer({ groupId: 'g' })
  consumer.assign([T0])
  const expected = await ask(consumer)
  const turns = holdTurns()
  const asked = watch(ask(consumer) as Promise<unknown>)
  await harness.clock.advance(0)
  expect(asked.isSettled).toBe(false)
  turns.release()
  await harness.clock.advance(0)
  expect(asked.value).toEqual(expected)
})

it('polls of one tick decode one after another, as many as there is time for', async () => {
  const harness = new ConsumerHarness()
  harness.partition().append(...numbers(30))
  const consumers = Array.from({ length: 4 }, () => {
    const consumer = harness.consumer({ maxPollRecords: 10 })
    consumer.assign([T0])
    return consumer
  })
  // The start of a poll, what it looks for, its read, and the last one is held up where it decodes.
  const turns = holdTurns({ soundCalls: 11 })
  const polls = consumers.map((consumer) => watch(consumer.poll(NO_WAIT)))
  await harness.clock.advance(1000)
  expect(polls.map(({ isSettled }) => isSettled)).toEqual([true, true, true, false])
  turns.release()
  await harness.clock.advance(1000)
  expect(offsets(polls[3]?.value ?? [])).toHaveLength(10)
})

describe('polls whose wait is over', () => {
  async function waitedUntilTheTurn() {
    const harness = new ConsumerHarness()
    const consumers = Array.from({ length: 4 }, () => assigned(harness))
    const polls = consumers.map((consumer) => watch(consumer.poll({ maxWaitMs: 100 })))
    await harness.clock.advance(99)
    const looksBefore = harness.partition().looks
    const turns = holdTurns()
    await harness.clock.advance(1)
    return { harness, polls, turns, looks: () => harness.partition().looks - looksBefore }
  }

  it('look again only after the event loop has turned, and return what was appended meanwhile', async () => {
    const { harness, polls, turns, looks } = await waitedUntilTheTurn()
    harness.partition().append('a')
    await harness.clock.advance(0)
    expect(polls.map(({ isSettled }) => isSettled)).toEqual([false, false, false, false])
    expect(looks()).toBe(0)
    turns.release()
    await harness.clock.advance(0)
    expect(polls.map(({ value }) => values(value ?? []))).toEqual([['a'], ['a'], ['a'], ['a']])
  })

  it('return nothing after the turn if nothing was appended', async () => {
    const { harness, polls, turns } = await waitedUntilTheTurn()
    expect(polls.map(({ isSettled }) => isSettled)).toEqual([false, false, false, false])
    turns.release()
    await harness.clock.advance(0)
    expect(polls.map(({ value }) => value)).toEqual([[], [], [], []])
  })
})

describe('the check for offsets to commit automatically', () => {
  async function polled(harness: ConsumerHarness): Promise<{
    consumer: Consumer<string, string>
    asked: () => number
  }> {
    const partitions = Array.from({ length: 50 }, (_, partition) => ({ topic: 't', partition }))
    for (const { topic, partition } of partitions) harness.partition(topic, partition).append('a')
    harness.partition().append(...numbers(30))
    const consumer = harness.consumer({ groupId: 'g', maxPollRecords: 10 })
    consumer.assign(partitions)
    await consumer.poll(NO_WAIT)
    const asking = vi.spyOn(harness.coordinator, 'committed')
    return { consumer, asked: () => asking.mock.calls.length }
  }

  it('is made by no poll that finds records, nor by one that does not wait', async () => {
    const harness = new ConsumerHarness({ t: 50 })
    const { consumer, asked } = await polled(harness)
    expect(await consumer.poll()).toHaveLength(10)
    for (let polls = 0; polls < 10; polls += 1) await consumer.poll(NO_WAIT)
    expect(asked()).toBe(0)
  })

  it('is made by a waiting poll only until it finds something to commit', async () => {
    const harness = new ConsumerHarness({ t: 50 })
    const { consumer, asked } = await polled(harness)
    for (let polls = 0; polls < 10; polls += 1) await consumer.poll(NO_WAIT)
    const poll = watch(consumer.poll({ maxWaitMs: 100 }))
    await harness.clock.advance(100)
    expect(poll.value).toEqual([])
    expect(asked()).toBe(1)
  })
})

describe('concurrent commits of several groups', () => {
  async function held(harness: ConsumerHarness) {
    harness.partition().append('a')
    // The topic of the offsets exists.
    await harness.commit(0, 'first')
    const consumers = ['g', 'h'].map((groupId) =>
      harness.consumer({ groupId, enableAutoCommit: false }),
    )
    const turns = holdTurns()
    const commits = consumers.map((each) => watch(each.commit([{ ...T0, offset: 1 }])))
    await harness.clock.advance(0)
    return { consumers, turns, commits }
  }

  it('wait for a turn of the event loop, and are stored in the order of the calls', async () => {
    const harness = new ConsumerHarness()
    const { consumers, turns, commits } = await held(harness)
    expect(commits.map(({ isSettled }) => isSettled)).toEqual([false, false])
    const later = watch(consumers[0]?.commit([{ ...T0, offset: 0 }]) ?? Promise.resolve())
    turns.release()
    await harness.clock.advance(0)
    expect([...commits, later].map(({ error }) => error)).toEqual([undefined, undefined, undefined])
    expect([harness.committed('g'), harness.committed('h')]).toEqual([0, 1])
  })

  it('are rejected for a topic that is deleted before their turn', async () => {
    const harness = new ConsumerHarness()
    const { turns, commits } = await held(harness)
    harness.deleteTopic('t')
    harness.createTopic('t', 1).partitions[0]?.append('b')
    turns.release()
    await harness.clock.advance(0)
    for (const { error } of commits) expect(error).toBeInstanceOf(UnknownTopicOrPartitionError)
    expect([harness.committed('g'), harness.committed('h')]).toEqual([null, null])
  })
})

it.each([
  [
    'offsetsForTimes',
    async (consumer: Consumer<string, string>, all: readonly TopicPartition[]) => {
      const found = await consumer.offsetsForTimes(all.map((each) => ({ ...each, timestamp: 5 })))
      return found.map(({ partition, offset }) => [partition, offset])
    },
  ],
  [
    'seekToTimestamp',
    async (consumer: Consumer<string, string>, all: readonly TopicPartition[]) => {
      await consumer.seekToTimestamp(all, 5)
      return all.map((each) => [each.partition, consumer.position(each)])
    },
  ],
])(
  'a search of many partitions by timestamp starts only a few at once: %s',
  async (_name, search) => {
    const harness = new ConsumerHarness({ t: 100 })
    const all = Array.from({ length: 100 }, (_, partition) => ({ topic: 't', partition }))
    for (const { partition } of all) {
      const old = numbers(partition).map((value) => ({ value, timestamp: 1 }))
      harness.partition('t', partition).append(...old, { value: 'young', timestamp: 9 })
    }
    const consumer = harness.consumer()
    consumer.assign(all)
    const turns = holdTurns()
    const searched = watch(search(consumer, all))
    await harness.clock.advance(0)
    expect(turns.asked()).toBe(8)
    turns.release()
    await harness.clock.advance(0)
    expect(searched.value).toEqual(all.map(({ partition }) => [partition, partition]))
  },
)

it('seekToTimestamp moves to the end as of the call, even if its search starts later', async () => {
  const harness = new ConsumerHarness({ t: 20 })
  const all = Array.from({ length: 20 }, (_, partition) => ({ topic: 't', partition }))
  for (const { partition } of all) harness.partition('t', partition).append('old')
  const consumer = harness.consumer()
  consumer.assign(all)
  const turns = holdTurns()
  const seeking = watch(consumer.seekToTimestamp(all, 9))
  for (const { partition } of all) harness.partition('t', partition).append('behind the call')
  await harness.clock.advance(0)
  turns.release()
  await harness.clock.advance(0)
  expect(seeking).toEqual({ isSettled: true, value: undefined })
  expect(all.map((each) => consumer.position(each))).toEqual(all.map(() => 1))
})
