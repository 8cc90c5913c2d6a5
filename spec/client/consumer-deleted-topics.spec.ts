import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { Consumer } from '../../lib/client/consumer.ts'
import { UnknownTopicOrPartitionError } from '../../lib/errors.ts'
import { withoutTurns } from '../helpers/held-turns.ts'
import { ConsumerHarness, NO_WAIT, T0, numbers, values, watch } from './consumer-harness.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

function assigned(harness: ConsumerHarness): Consumer<string, string> {
  const consumer = harness.consumer()
  const partitions = harness.topics.get('t')?.partitions ?? []
  consumer.assign(partitions.map(({ index }) => ({ topic: 't', partition: index })))
  return consumer
}

/** Deletes the topic, and creates another of the same name with these records. */
function makeAnew(harness: ConsumerHarness, ...records: readonly string[]): void {
  harness.deleteTopic('t')
  harness.createTopic('t', 1)
  if (records.length > 0) harness.partition().append(...records)
}

/** A consumer that has read the topic's only partition, in a group that commits manually. */
async function hasRead(harness: ConsumerHarness): Promise<Consumer<string, string>> {
  harness.partition().append(...numbers(5))
  const consumer = harness.consumer({ groupId: 'g', enableAutoCommit: false })
  consumer.assign([T0])
  await consumer.poll(NO_WAIT)
  return consumer
}

describe('a deleted topic', () => {
  it('makes a waiting poll reject if its partitions were assigned manually', async () => {
    const harness = new ConsumerHarness()
    const consumer = assigned(harness)
    const poll = watch(consumer.poll({ maxWaitMs: 1000 }))
    await harness.clock.advance(0)
    harness.deleteTopic('t')
    await harness.clock.advance(0)
    expect(poll.error).toBeInstanceOf(UnknownTopicOrPartitionError)
  })

  it('is left out of lag, which still reports the other topics', async () => {
    const harness = new ConsumerHarness({ t: 1, u: 1 })
    harness.partition('u').append(...numbers(3))
    const consumer = harness.consumer({ groupId: 'g' })
    consumer.subscribe(['t', 'u'])
    await consumer.poll(NO_WAIT)
    harness.partition('u').append(...numbers(2))
    harness.deleteTopic('t')
    const lags = await consumer.lag()
    expect(lags).toMatchObject([{ topic: 'u', partition: 0, position: 3, endOffset: 5, lag: 2 }])
    expect(() => consumer.position(T0)).toThrow(UnknownTopicOrPartitionError)
  })

  it('is read from its start when it is created again', async () => {
    const harness = new ConsumerHarness()
    harness.partition().append(...numbers(5))
    const consumer = assigned(harness)
    await consumer.poll(NO_WAIT)
    harness.deleteTopic('t')
    harness.createTopic('t', 1)
    harness.partition().append(...numbers(9, 100))
    expect(values(await consumer.poll(NO_WAIT))).toEqual(numbers(9, 100))
  })

  it('loses its buffered records when it is created again', async () => {
    const harness = new ConsumerHarness()
    harness.partition().append('old')
    const openGate = harness.partition().closeGate()
    const consumer = assigned(harness)
    const poll = watch(consumer.poll({ maxWaitMs: 100 }))
    await harness.clock.advance(0)
    consumer.wakeup()
    openGate()
    await harness.clock.advance(0)
    expect(poll.isSettled).toBe(true)
    harness.deleteTopic('t')
    harness.createTopic('t', 1)
    harness.partition().append('new')
    expect(consumer.position(T0)).toBe(0)
    expect(values(await consumer.poll(NO_WAIT))).toEqual(['new'])
  })

  it('keeps a seek made after it is created again and before the next poll', async () => {
    const harness = new ConsumerHarness()
    harness.partition().append(...numbers(5))
    const consumer = assigned(harness)
    await consumer.poll(NO_WAIT)
    makeAnew(harness, ...numbers(5, 100))
    consumer.seek(T0, 3)
    expect(values(await consumer.poll(NO_WAIT))).toEqual(['103', '104'])
  })

  it('ignores a seekToEnd made before it is created again, but not one made after', async () => {
    const harness = new ConsumerHarness()
    const consumer = await hasRead(harness)
    consumer.seekToEnd([T0])
    makeAnew(harness, ...numbers(2, 100))
    expect(values(await consumer.poll(NO_WAIT))).toEqual(['100', '101'])
    makeAnew(harness, ...numbers(2, 200))
    consumer.seekToEnd([T0])
    expect(await consumer.poll(NO_WAIT)).toEqual([])
  })

  it.each(['a seek', 'a seek to the end'])(
    'ignores %s made after its deletion and before it is created again',
    async (way) => {
      const harness = new ConsumerHarness()
      const consumer = await hasRead(harness)
      harness.deleteTopic('t')
      if (way === 'a seek') consumer.seek(T0, 2)
      else consumer.seekToEnd([T0])
      harness.createTopic('t', 1)
      harness.partition().append(...numbers(3, 100))
      expect(values(await consumer.poll(NO_WAIT))).toEqual(['100', '101', '102'])
    },
  )

  it('keeps the position in the new topic when a loop over the old one is left', async () => {
    const harness = new ConsumerHarness()
    harness.partition().append(...numbers(5))
    const consumer = harness.consumer({ autoOffsetReset: 'latest' })
    consumer.assign([T0])
    consumer.seek(T0, 2)
    for await (const record of consumer) {
      expect(record.value).toBe('2')
      harness.deleteTopic('t')
      harness.createTopic('t', 1)
      harness.partition().append(...numbers(9, 100))
      expect(consumer.position(T0)).toBe(9)
      break
    }
    expect(consumer.position(T0)).toBe(9)
  })

  it.each(['a poll', 'close', 'unsubscribe'] as const)(
    'does not keep the offsets of other topics from being committed automatically: by %s',
    async (way) => {
      const harness = new ConsumerHarness({ t: 1, u: 1 })
      for (const topic of ['t', 'u']) harness.partition(topic).append(...numbers(3))
      const consumer = harness.consumer({ groupId: 'g' })
      consumer.subscribe(['t', 'u'])
      await consumer.poll(NO_WAIT)
      let openGate = (): void => undefined
      harness.offsetsPartition.gate = new Promise((resolve) => {
        openGate = resolve
      })
      // An earlier commit is still in flight to the disk.
      const before = consumer.commit([{ ...T0, offset: 1 }])
      await harness.clock.advance(5000)
      if (way === 'unsubscribe') consumer.unsubscribe()
      const automatic = watch<unknown>(way === 'a poll' ? consumer.poll(NO_WAIT) : consumer.close())
      await harness.clock.advance(0)
      harness.deleteTopic('u')
      openGate()
      await before
      await harness.clock.advance(100)
      expect(automatic).toMatchObject({ isSettled: true })
      expect(automatic.error).toBeUndefined()
      expect(harness.committed()).toBe(3)
      expect(harness.committed('g', 'u')).toBeNull()
    },
  )

  it('does not keep the offsets of other topics from being stored by a commit of all consumed records', async () => {
    const harness = new ConsumerHarness({ t: 1, u: 1 })
    for (const topic of ['t', 'u']) harness.partition(topic).append(...numbers(3))
    const consumer = harness.consumer({ groupId: 'g', enableAutoCommit: false })
    consumer.subscribe(['t', 'u'])
    expect(await consumer.poll(NO_WAIT)).toHaveLength(6)
    const committing = consumer.commit()
    harness.deleteTopic('t')
    await committing
    const committed = await consumer.committed({ topic: 'u', partition: 0 })
    expect(committed?.offset).toBe(3)
    await expect(consumer.commit([{ ...T0, offset: 3 }])).rejects.toThrow(
      UnknownTopicOrPartitionError,
    )
  })

  it('makes commits of its old offsets reject after it is created again, until the new topic is read', async () => {
    const harness = new ConsumerHarness({ t: 1, u: 1 })
    const consumer = await hasRead(harness)
    makeAnew(harness, ...numbers(5, 100))
    const commit = (offset: number): Promise<void> => consumer.commit([{ ...T0, offset }])
    await expect(commit(3)).rejects.toThrow(UnknownTopicOrPartitionError)
    // Whether or not it was polled, or was revoked and assigned again since.
    expect(consumer.position(T0)).toBe(0)
    await expect(commit(3)).rejects.toThrow('another topic has its name now')
    consumer.assign([{ topic: 'u', partition: 0 }])
    await expect(commit(3)).rejects.toThrow('another topic has its name now')
    consumer.assign([T0])
    await expect(commit(3)).rejects.toThrow('another topic has its name now')
    expect(await consumer.committed(T0)).toBeNull()
    expect(values(await consumer.poll(NO_WAIT))).toEqual(numbers(5, 100))
    await commit(3)
    expect(await consumer.committed(T0)).toMatchObject({ offset: 3 })
  })

  it('makes seekToTimestamp reject if it is created again during the search, and is read from its start', async () => {
    withoutTurns()
    const harness = new ConsumerHarness()
    for (let at = 0; at < 5; at += 1) harness.partition().append({ value: 'x', timestamp: at })
    const consumer = harness.consumer()
    consumer.assign([T0])
    const seeking = consumer.seekToTimestamp([T0], 3)
    makeAnew(harness, ...numbers(5, 100))
    await expect(seeking).rejects.toThrow('another topic has its name now')
    expect(values(await consumer.poll(NO_WAIT))).toEqual(numbers(5, 100))
  })

  it('accepts a commit after it is created again once the consumer has sought in the new topic', async () => {
    const harness = new ConsumerHarness()
    const consumer = await hasRead(harness)
    makeAnew(harness, ...numbers(5, 100))
    consumer.seekToBeginning()
    await consumer.commit([{ ...T0, offset: 0 }])
    makeAnew(harness)
    await expect(consumer.commit([{ ...T0, offset: 0 }])).rejects.toThrow(
      'another topic has its name now',
    )
    consumer.seek(T0, 0)
    await consumer.commit([{ ...T0, offset: 0 }])
  })

  it('is not kept in memory by a consumer that now reads another topic', async () => {
    const harness = new ConsumerHarness({ t: 1, u: 1 })
    harness.partition().append(...numbers(5))
    const consumer = harness.consumer()
    consumer.assign([T0])
    await consumer.poll(NO_WAIT)
    const log = new WeakRef(harness.partition())
    harness.deleteTopic('t')
    consumer.assign([{ topic: 'u', partition: 0 }])
    await consumer.poll(NO_WAIT)
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    // A WeakRef keeps what it returned alive until the end of the turn.
    await harness.clock.advance(0)
    collect()
    expect(log.deref()).toBeUndefined()
    await consumer.close()
  })
})
