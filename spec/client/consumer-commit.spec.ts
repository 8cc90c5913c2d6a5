import { describe, expect, it, vi } from 'vitest'
import type { ConsumerOptions } from '../../lib/client/consumer-options.ts'
import type { ConsumerRecord } from '../../lib/client/consumer-record.ts'
import type { Consumer } from '../../lib/client/consumer.ts'
import {
  ClosedError,
  CommitFailedError,
  InvalidGroupIdError,
  UnknownTopicOrPartitionError,
} from '../../lib/errors.ts'
import { ConsumerHarness, NO_WAIT, T0, T1, numbers, offsets, watch } from './consumer-harness.ts'

type Way = 'subscribe' | 'assign'

function start(
  harness: ConsumerHarness,
  way: Way,
  options: ConsumerOptions<string, string> = {},
): Consumer<string, string> {
  const consumer = harness.consumer({ groupId: 'g', maxPollRecords: 3, ...options })
  if (way === 'subscribe') consumer.subscribe(['t'])
  else consumer.assign([T0])
  return consumer
}

function filled(): ConsumerHarness {
  const harness = new ConsumerHarness({ t: 1 })
  harness.partition().append(...numbers(10))
  return harness
}

describe.each<Way>(['subscribe', 'assign'])('commit, after %s', (way) => {
  it('stores the offset after the last returned record', async () => {
    const harness = filled()
    const consumer = start(harness, way, { enableAutoCommit: false })
    await consumer.poll()
    await consumer.commit()
    expect(await consumer.committed(T0)).toEqual({ offset: 3, metadata: '', leaderEpoch: 0 })
    expect(harness.committed()).toBe(3)
  })

  it('stores the given offsets, even lower ones', async () => {
    const harness = filled()
    const consumer = start(harness, way, { enableAutoCommit: false })
    await consumer.poll()
    await consumer.commit([{ ...T0, offset: 8, metadata: 'note' }])
    expect(await consumer.committed(T0)).toMatchObject({ offset: 8, metadata: 'note' })
    await consumer.commit([{ ...T0, offset: 1 }])
    expect(await consumer.committed(T0)).toMatchObject({ offset: 1, metadata: '' })
  })

  it('accepts what committed has returned', async () => {
    const harness = filled()
    const consumer = start(harness, way)
    await consumer.poll()
    await consumer.commit()
    const committed = await consumer.committed(T0)
    await consumer.commit([{ ...T0, offset: 0, ...committed }])
    expect(harness.committed()).toBe(3)
  })

  it('rejects with the error of the store, and stores nothing', async () => {
    const harness = filled()
    const consumer = start(harness, way, { enableAutoCommit: false })
    await consumer.poll()
    harness.offsetsPartition.appendError = new Error('disk full')
    await expect(consumer.commit()).rejects.toThrow('disk full')
    expect(harness.committed()).toBeNull()
  })

  it('is done by poll when the interval is over, for the records of earlier polls', async () => {
    const harness = filled()
    const consumer = start(harness, way, { autoCommitIntervalMs: 100 })
    await consumer.poll(NO_WAIT)
    await harness.clock.advance(99)
    await consumer.poll(NO_WAIT)
    expect(harness.committed()).toBeNull()
    await harness.clock.advance(1)
    expect(harness.committed()).toBeNull()
    await consumer.poll(NO_WAIT)
    expect(harness.committed()).toBe(6)
    await consumer.poll(NO_WAIT)
    expect(harness.committed()).toBe(6)
  })

  it('is done by a waiting poll when the interval ends during the wait', async () => {
    const harness = filled()
    const consumer = start(harness, way, { autoCommitIntervalMs: 100, maxPollRecords: 20 })
    await consumer.poll(NO_WAIT)
    const poll = watch(consumer.poll({ maxWaitMs: 1000 }))
    await harness.clock.advance(100)
    expect(poll.isSettled).toBe(false)
    expect(harness.committed()).toBe(10)
    await consumer.close()
  })

  it('writes nothing when no offset is new', async () => {
    const harness = filled()
    const consumer = start(harness, way, { autoCommitIntervalMs: 10, maxPollRecords: 20 })
    await consumer.poll(NO_WAIT)
    for (let poll = 0; poll < 5; poll++) {
      await harness.clock.advance(10)
      await consumer.poll(NO_WAIT)
    }
    await consumer.close()
    expect(harness.offsetsPartition.appends).toHaveLength(1)
  })

  it('does not keep a waiting poll busy when there is nothing to commit', async () => {
    const harness = filled()
    const consumer = start(harness, way, { autoCommitIntervalMs: 0, maxPollRecords: 20 })
    await consumer.poll(NO_WAIT)
    await consumer.poll(NO_WAIT)
    const readCount = harness.partition().reads.length
    const poll = watch(consumer.poll({ maxWaitMs: 1000 }))
    await harness.clock.advance(1000)
    expect(poll.value).toEqual([])
    expect(harness.partition().reads.length - readCount).toBeLessThan(5)
  })

  it('is done by close', async () => {
    const harness = filled()
    const consumer = start(harness, way)
    await consumer.poll()
    await consumer.close()
    expect(harness.committed()).toBe(3)
  })

  it('is not done by close when automatic commits are off', async () => {
    const harness = filled()
    const consumer = start(harness, way, { enableAutoCommit: false })
    await consumer.poll()
    await consumer.close()
    expect(harness.committed()).toBeNull()
  })

  it('is done by unsubscribe, and the next poll rejects if it failed', async () => {
    const harness = filled()
    const first = start(harness, way)
    await first.poll()
    first.unsubscribe()
    await harness.clock.advance(0)
    expect(harness.committed()).toBe(3)
    const second = start(harness, way)
    await second.poll()
    harness.offsetsPartition.appendError = new Error('disk full')
    second.unsubscribe()
    expect(second.assignment()).toEqual([])
    second.subscribe(['t'])
    await expect(second.poll(NO_WAIT)).rejects.toThrow('disk full')
    harness.offsetsPartition.appendError = null
    expect(await second.poll(NO_WAIT)).toHaveLength(3)
  })

  it('is done by unsubscribe, and close rejects if it failed and no poll has reported it', async () => {
    const harness = filled()
    const consumer = start(harness, way)
    await consumer.poll()
    harness.offsetsPartition.appendError = new Error('disk full')
    consumer.unsubscribe()
    await harness.clock.advance(0)
    harness.offsetsPartition.appendError = null
    await expect(consumer.close()).rejects.toThrow('disk full')
    expect(harness.committed()).toBeNull()
    expect(harness.closed).toEqual([consumer])
  })

  it('stores the position of a reset, so that the next consumer starts there', async () => {
    const harness = filled()
    const consumer = start(harness, way, { autoOffsetReset: 'latest' })
    await consumer.poll(NO_WAIT)
    await consumer.close()
    expect(harness.committed()).toBe(10)
  })

  it('is not done automatically for a position beyond the end of the log', async () => {
    const harness = filled()
    const consumer = start(harness, way)
    await consumer.poll(NO_WAIT)
    consumer.seek(T0, 500)
    await consumer.close()
    expect(harness.committed()).toBeNull()
  })

  it('is not done for a deleted topic, even if a new one has the same name', async () => {
    const harness = filled()
    const consumer = start(harness, way)
    await consumer.poll(NO_WAIT)
    harness.deleteTopic('t')
    harness.createTopic('t', 1).partitions[0]?.append(...numbers(20))
    await consumer.close()
    expect(harness.committed()).toBeNull()
  })

  it('makes one poll reject if it fails automatically, loses no record and is retried after the interval', async () => {
    const harness = filled()
    const consumer = start(harness, way, { autoCommitIntervalMs: 100 })
    await consumer.poll(NO_WAIT)
    harness.offsetsPartition.appendError = new Error('disk full')
    await harness.clock.advance(100)
    await expect(consumer.poll(NO_WAIT)).rejects.toThrow('disk full')
    const [record] = await consumer.poll(NO_WAIT)
    expect(record?.offset).toBe(3)
    harness.offsetsPartition.appendError = null
    await harness.clock.advance(100)
    await consumer.poll(NO_WAIT)
    expect(harness.committed()).toBe(6)
  })

  it('rejects invalid arguments and unknown topics, and stores nothing', async () => {
    const harness = filled()
    const consumer = start(harness, way)
    const [record] = await consumer.poll()
    const commit = (offsets: unknown): Promise<void> => consumer.commit(offsets as [])
    await expect(commit('x')).rejects.toThrow(TypeError)
    await expect(commit(null)).rejects.toThrow(TypeError)
    await expect(commit([3])).rejects.toThrow(TypeError)
    await expect(commit([record])).rejects.toThrow(TypeError)
    await expect(commit([{ ...T0, offset: '1' }])).rejects.toThrow(TypeError)
    await expect(commit([{ ...T0, offset: -1 }])).rejects.toThrow(RangeError)
    await expect(commit([{ ...T0, offset: 1, metadata: 5 }])).rejects.toThrow(TypeError)
    await expect(commit([{ topic: 'no', partition: 0, offset: 1 }])).rejects.toThrow(
      UnknownTopicOrPartitionError,
    )
    expect(harness.committed()).toBeNull()
  })
})

describe('commit', () => {
  it('requires a groupId, as subscribe and committed do', async () => {
    const harness = filled()
    const consumer = harness.consumer()
    consumer.assign([T0])
    await consumer.poll()
    await expect(consumer.commit()).rejects.toThrow(InvalidGroupIdError)
    await expect(consumer.committed(T0)).rejects.toThrow(InvalidGroupIdError)
    expect(() => {
      consumer.subscribe(['t'])
    }).toThrow(InvalidGroupIdError)
    await consumer.close()
    expect(harness.offsetsPartition.appends).toEqual([])
  })

  it('rejects for manually assigned partitions while the group has members', async () => {
    const harness = filled()
    const member = start(harness, 'subscribe')
    await member.poll()
    const other = start(harness, 'assign')
    await other.poll()
    await expect(other.commit()).rejects.toThrow(CommitFailedError)
    await expect(other.close()).rejects.toThrow(CommitFailedError)
    expect(harness.closed).toEqual([other])
  })

  it('rejects for a member that was removed from the group', async () => {
    const harness = filled()
    const consumer = start(harness, 'subscribe', { maxPollIntervalMs: 1000 })
    await consumer.poll()
    await harness.clock.advance(1000)
    await start(harness, 'subscribe', { enableAutoCommit: false }).poll()
    await expect(consumer.commit()).rejects.toThrow(CommitFailedError)
    await consumer.close()
    expect(harness.committed()).toBeNull()
  })

  it('does not go back to a record that was held before its partition was given up', async () => {
    const harness = filled()
    const consumer = harness.consumer({ groupId: 'g', enableAutoCommit: false })
    consumer.subscribe(['t'])
    const records = consumer[Symbol.asyncIterator]()
    for (let count = 0; count < 3; count++) await records.next()
    consumer.unsubscribe()
    await harness.commit(9)
    consumer.subscribe(['t'])
    expect(offsets(await consumer.poll(NO_WAIT))).toEqual([9])
    await consumer.commit()
    expect(harness.committed()).toBe(10)
    await records.return?.()
    expect(consumer.position(T0)).toBe(10)
  })

  it('is done automatically for partitions that a new assign removes', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    harness.partition().append(...numbers(5))
    const consumer = harness.consumer({ groupId: 'g' })
    consumer.assign([T0])
    await consumer.poll()
    consumer.assign([T1])
    await consumer.poll(NO_WAIT)
    expect(harness.committed()).toBe(5)
  })
})

describe('a position that is queried while the last commit is in progress', () => {
  it.each(['assign', 'unsubscribe'])(
    'is the offset after the records that were consumed before %s',
    async (how) => {
      const harness = new ConsumerHarness({ t: 2 })
      harness.partition().append(...numbers(10))
      const consumer = harness.consumer({ groupId: 'g' })
      consumer.assign([T0])
      await consumer.poll()
      if (how === 'assign') consumer.assign([T1])
      else consumer.unsubscribe()
      consumer.assign([T0])
      expect(harness.committed()).toBeNull()
      expect(consumer.position(T0)).toBe(10)
      await consumer.poll(NO_WAIT)
      expect([harness.committed(), consumer.position(T0)]).toEqual([10, 10])
    },
  )

  it.each(['assign', 'unsubscribe'])(
    'is the offset that the application is committing as %s gives the partition up',
    async (how) => {
      const harness = new ConsumerHarness({ t: 2 })
      harness.partition().append(...numbers(10))
      const consumer = harness.consumer({ groupId: 'g', enableAutoCommit: false })
      consumer.assign([T0])
      await consumer.poll()
      const committing = consumer.commit()
      if (how === 'assign') consumer.assign([T1])
      else consumer.unsubscribe()
      consumer.assign([T0])
      expect([harness.committed(), consumer.position(T0)]).toEqual([null, 10])
      await committing
      expect([harness.committed(), consumer.position(T0)]).toEqual([10, 10])
    },
  )

  it('is the offset that the application commits after the partition was given up', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    harness.partition().append(...numbers(10))
    const consumer = harness.consumer({ groupId: 'g' })
    consumer.assign([T0])
    await consumer.poll()
    consumer.assign([T1])
    const committing = consumer.commit([{ ...T0, offset: 4 }])
    consumer.assign([T0])
    expect(consumer.position(T0)).toBe(4)
    await committing
    expect(harness.committed()).toBe(4)
    expect(offsets(await consumer.poll(NO_WAIT))).toEqual([4, 5, 6, 7, 8, 9])
  })
})

describe('a commit in progress', () => {
  function pair(options: ConsumerOptions<string, string> = {}): {
    harness: ConsumerHarness
    one: Consumer<string, string>
    two: Consumer<string, string>
  } {
    const harness = new ConsumerHarness({ t: 2 })
    harness.partition('t', 0).append(...numbers(10))
    harness.partition('t', 1).append(...numbers(10))
    const [one, two] = [0, 1].map(() =>
      harness.consumer({ groupId: 'g', enableAutoCommit: false, ...options }),
    )
    if (one === undefined || two === undefined) throw new Error('there are no consumers')
    return { harness, one, two }
  }

  /** Holds all commits until the returned function is called. */
  function holdUp(harness: ConsumerHarness): () => void {
    let store: () => void = () => undefined
    harness.offsetsPartition.gate = new Promise((resolve) => (store = resolve))
    return store
  }

  const ALL = [
    { ...T0, offset: 10 },
    { ...T1, offset: 10 },
  ]

  it.each([
    ['with an offset', ALL],
    ['of what is consumed', undefined],
  ])('%s is awaited by close, and the next owner starts at its offsets', async (_, given) => {
    const { harness, one, two } = pair()
    one.subscribe(['t'])
    await one.poll()
    const store = holdUp(harness)
    const committing = watch(one.commit(given))
    const closing = watch(one.close())
    two.subscribe(['t'])
    await two.poll(NO_WAIT)
    expect([closing.isSettled, two.assignment()]).toEqual([false, []])
    store()
    await harness.clock.advance(0)
    expect([committing.isSettled, committing.error, closing.isSettled]).toEqual([
      true,
      undefined,
      true,
    ])
    expect(await two.poll(NO_WAIT)).toEqual([])
    expect([two.position(T0), two.position(T1)]).toEqual([10, 10])
  })

  it('is awaited by the close of a consumer with manually assigned partitions or none', async () => {
    for (const isAssigned of [true, false]) {
      const { harness, one } = pair()
      if (isAssigned) one.assign([T0])
      const store = holdUp(harness)
      const committing = one.commit([{ ...T0, offset: 3 }])
      const closing = watch(one.close())
      await harness.clock.advance(0)
      expect(closing.isSettled).toBe(false)
      store()
      await committing
      await harness.clock.advance(0)
      expect(closing.isSettled).toBe(true)
    }
  })

  it('rejects when it fails, but the close that waits for it resolves', async () => {
    const { harness, one } = pair()
    one.subscribe(['t'])
    await one.poll()
    harness.offsetsPartition.appendError = new Error('disk')
    const committing = watch(one.commit(ALL))
    await one.close()
    expect(committing.error).toMatchObject({ message: 'disk' })
  })

  it('holds back the partitions given up by unsubscribe until it has ended', async () => {
    const { harness, one, two } = pair()
    one.subscribe(['t'])
    await one.poll()
    const store = holdUp(harness)
    const committing = one.commit(ALL)
    one.unsubscribe()
    two.subscribe(['t'])
    await two.poll(NO_WAIT)
    expect(two.assignment()).toEqual([])
    store()
    await committing
    expect(await two.poll(NO_WAIT)).toEqual([])
    expect(two.assignment()).toEqual([T0, T1])
  })

  it.each(['range', 'cooperative-sticky'] as const)(
    'holds back the partitions given up in a rebalance until it has ended (%s)',
    async (partitionAssignmentStrategy) => {
      const { harness, one, two } = pair({ partitionAssignmentStrategy, maxPollRecords: 30 })
      one.subscribe(['t'])
      await one.poll()
      two.subscribe(['t'])
      await two.poll(NO_WAIT)
      const store = holdUp(harness)
      const committing = one.commit(ALL)
      const polling = watch(one.poll())
      await harness.clock.advance(0)
      await two.poll(NO_WAIT)
      expect([polling.isSettled, two.assignment()]).toEqual([false, []])
      store()
      await committing
      await harness.clock.advance(1000)
      expect(polling).toMatchObject({ value: [] })
      for (let round = 0; round < 4; round += 1) {
        for (const each of [one, two]) expect(await each.poll(NO_WAIT)).toEqual([])
      }
      expect(two.assignment()).toHaveLength(1)
    },
  )

  it.each([
    ['close', 'the application'],
    ['close', 'a poll'],
    ['unsubscribe', 'the application'],
    ['unsubscribe', 'a poll'],
    ['a rebalance', 'the application'],
  ] as const)(
    'does not undo a seek back to the offset that was committed before it: %s, during a commit by %s',
    async (way, by) => {
      const { harness, one, two } = pair({ enableAutoCommit: true, autoCommitIntervalMs: 10 })
      await harness.commit(5)
      one.subscribe(['t'])
      await one.poll()
      if (way === 'a rebalance') {
        two.subscribe(['t'])
        await two.poll(NO_WAIT)
      }
      const store = holdUp(harness)
      await harness.clock.advance(10)
      watch<unknown>(by === 'a poll' ? one.poll() : one.commit())
      await harness.clock.advance(0)
      one.seek(T0, 5)
      let next: { value?: ConsumerRecord<string, string>[] } = {}
      if (way === 'a rebalance') next = watch(one.poll(NO_WAIT))
      else void one[way]()
      await harness.clock.advance(0)
      expect(harness.committed()).toBe(5)
      store()
      await harness.clock.advance(0)
      expect(harness.committed()).toBe(5)
      two.subscribe(['t'])
      const [first] = next.value ?? (await two.poll(NO_WAIT))
      expect(first).toMatchObject({ ...T0, offset: 5 })
    },
  )

  const GIVE_UP: [string, (consumer: Consumer<string, string>) => unknown][] = [
    ['close', (consumer) => consumer.close()],
    [
      'unsubscribe',
      (consumer) => {
        consumer.unsubscribe()
      },
    ],
    [
      'assign',
      (consumer) => {
        consumer.assign([T1])
      },
    ],
  ]

  it.each(GIVE_UP)(
    'is followed by one of the position if it is of an offset before it, even if that was committed: %s',
    async (_, giveUp) => {
      const { harness, one } = pair({ enableAutoCommit: true, maxPollRecords: 30 })
      one.assign([T0])
      await one.poll()
      await one.commit()
      const store = holdUp(harness)
      const committing = one.commit([{ ...T0, offset: 5 }])
      const given = giveUp(one)
      await harness.clock.advance(0)
      expect(harness.committed()).toBe(10)
      store()
      await committing
      await given
      await one.close()
      expect(harness.committed()).toBe(10)
    },
  )

  it('that fails does not hide an earlier one from a partition that looks for its start', async () => {
    const { harness, one } = pair()
    one.assign([T0])
    const store = holdUp(harness)
    const committing = one.commit([{ ...T0, offset: 4 }])
    const unknown = { topic: 'no', partition: 0, offset: 0 }
    const failing = one.commit([{ ...T0, offset: 6 }, unknown])
    await expect(failing).rejects.toThrow(UnknownTopicOrPartitionError)
    expect(one.position(T0)).toBe(4)
    store()
    await committing
  })

  it('ends before others get the partitions if a listener closes and does not await it', async () => {
    const { harness, one, two } = pair()
    let committing: Promise<void> = Promise.resolve()
    let store: () => void = () => undefined
    one.subscribe(['t'], {
      onPartitionsRevoked: async () => {
        store = holdUp(harness)
        const closing = one.close()
        committing = one.commit(ALL)
        // Anything may hold it up.
        setImmediate(store)
        await closing
      },
    })
    await one.poll()
    two.subscribe(['t'])
    await two.poll(NO_WAIT)
    await expect(one.poll()).rejects.toThrow(ClosedError)
    await committing
    expect(await two.poll(NO_WAIT)).toEqual([])
    expect([two.position(T0), two.position(T1)]).toEqual([10, 10])
  })
})

describe('a record that a poll has taken but not returned', () => {
  /** A consumer that has received 0 to 3, and calls `act` at record 6. */
  async function started(
    act: (consumer: Consumer<string, string>) => void,
    options: ConsumerOptions<string, string> = {},
  ): Promise<{ harness: ConsumerHarness; consumer: Consumer<string, string> }> {
    const harness = filled()
    let isDone = false
    const deserialize = (_topic: string, bytes: Buffer): string => {
      if (String(bytes) === '6' && !isDone) {
        isDone = true
        act(consumer)
      }
      return String(bytes)
    }
    const valueDeserializer = { deserialize }
    const consumer = start(harness, 'subscribe', {
      maxPollRecords: 4,
      valueDeserializer,
      ...options,
    })
    await consumer.poll(NO_WAIT)
    return { harness, consumer }
  }

  it('is not committed when a deserializer commits', async () => {
    let committing: Promise<void> = Promise.resolve()
    const { harness, consumer } = await started((each) => void (committing = each.commit()), {
      enableAutoCommit: false,
    })
    expect(offsets(await consumer.poll(NO_WAIT))).toEqual([4, 5, 6, 7])
    await committing
    expect(harness.committed()).toBe(4)
    await consumer.commit()
    expect(harness.committed()).toBe(8)
  })

  it('is not committed when a deserializer closes the consumer, and the poll rejects', async () => {
    let closing: Promise<void> = Promise.resolve()
    const { harness, consumer } = await started((each) => void (closing = each.close()))
    await expect(consumer.poll(NO_WAIT)).rejects.toThrow(ClosedError)
    await closing
    expect(harness.committed()).toBe(4)
  })

  it.each(['the same consumer', 'another one'])(
    'is not committed when a deserializer unsubscribes, and is delivered to the next subscriber: %s',
    async (next) => {
      const { harness, consumer } = await started((each) => {
        each.unsubscribe()
      })
      expect(await consumer.poll(NO_WAIT)).toEqual([])
      const owner =
        next === 'another one' ? start(harness, 'subscribe', { maxPollRecords: 4 }) : consumer
      owner.subscribe(['t'])
      expect(offsets(await owner.poll(NO_WAIT))).toEqual([4, 5, 6, 7])
      expect(harness.committed()).toBe(4)
    },
  )

  it('does not change the offset that a deserializer seeks to and commits', async () => {
    let committing: Promise<void> = Promise.resolve()
    const { harness, consumer } = await started((each) => {
      each.seek(T0, 9)
      committing = each.commit()
    })
    await consumer.poll(NO_WAIT)
    await committing
    expect(harness.committed()).toBe(9)
  })

  it.each([
    ['close', 'with'],
    ['close', 'without'],
    ['unsubscribe', 'with'],
    ['unsubscribe', 'without'],
  ] as const)(
    'is not committed by %s at any step of a poll that does not return it, %s deserializers',
    async (way, which) => {
      for (let steps = 0; steps < 40; steps += 1) {
        const harness = filled()
        const options = { groupId: 'g' }
        const consumer =
          which === 'with' ? harness.consumer(options) : harness.typedConsumer(options)
        consumer.assign([T0])
        const polling = watch(consumer.poll(NO_WAIT))
        for (let step = 0; step < steps; step += 1) await Promise.resolve()
        await consumer[way]()
        await harness.clock.advance(0)
        const returned = polling.value?.length ?? 0
        expect([steps, harness.committed() ?? 0]).toEqual([steps, returned])
      }
    },
  )
})

describe('a poll of many partitions with automatic commits', () => {
  it('looks up no committed offsets while it has records to return', async () => {
    const harness = new ConsumerHarness({ t: 20 })
    for (let index = 0; index < 20; index += 1) harness.partition('t', index).append(...numbers(5))
    const consumer = start(harness, 'subscribe', { maxPollRecords: 1 })
    await consumer.poll()
    const committed = vi.spyOn(harness.coordinator, 'committed')
    for (let count = 0; count < 10; count += 1) expect(await consumer.poll()).toHaveLength(1)
    expect(committed).not.toHaveBeenCalled()
  })

  it('looks up only the first partition with something to commit before it waits', async () => {
    const harness = new ConsumerHarness({ t: 20 })
    for (let index = 0; index < 20; index += 1) harness.partition('t', index).append('v')
    const consumer = start(harness, 'subscribe', { maxPollRecords: 20 })
    expect(await consumer.poll()).toHaveLength(20)
    const committed = vi.spyOn(harness.coordinator, 'committed')
    const poll = watch(consumer.poll({ maxWaitMs: 1000 }))
    await harness.clock.advance(0)
    expect(committed).toHaveBeenCalledTimes(1)
    await harness.clock.advance(1000)
    expect(poll.value).toEqual([])
  })
})
