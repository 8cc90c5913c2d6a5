import { describe, expect, it } from 'vitest'
import type { ConsumerOptions } from '../../lib/client/consumer-options.ts'
import type { Consumer } from '../../lib/client/consumer.ts'
import {
  ClosedError,
  IllegalStateError,
  InvalidGroupIdError,
  InvalidTopicError,
  UnknownTopicOrPartitionError,
  WakeupError,
} from '../../lib/errors.ts'
import {
  ConsumerHarness,
  NO_WAIT,
  T0,
  T1,
  numbers,
  offsets,
  recorder,
  watch,
} from './consumer-harness.ts'

function filled(): ConsumerHarness {
  const harness = new ConsumerHarness({ t: 1 })
  harness.partition().append(...numbers(10))
  return harness
}

interface Evicted {
  harness: ConsumerHarness
  one: Consumer<string, string>
  /** Polls `one`, as far as it goes by itself. */
  poll: () => Promise<ReturnType<typeof watch>>
}

/** `one` was removed from the group, and learns it in its next poll. */
async function evicted(): Promise<Evicted> {
  const harness = filled()
  const options = { groupId: 'g', maxPollIntervalMs: 1000 }
  const [one, two] = [harness.consumer(options), harness.consumer(options)]
  one.subscribe(['t'])
  await one.poll(NO_WAIT)
  await harness.clock.advance(1000)
  two.subscribe(['t'])
  await two.poll(NO_WAIT)
  const poll = async (): ReturnType<Evicted['poll']> => {
    const polling = watch<unknown>(one.poll(NO_WAIT))
    await harness.clock.advance(0)
    return polling
  }
  return { harness, one, poll }
}

describe('subscriptions', () => {
  it('are required for poll', async () => {
    const consumer = new ConsumerHarness().consumer({ groupId: 'g' })
    await expect(consumer.poll()).rejects.toThrow(IllegalStateError)
    consumer.subscribe(['t'])
    consumer.subscribe([])
    await expect(consumer.poll()).rejects.toThrow(IllegalStateError)
    consumer.assign([T0])
    consumer.assign([])
    await expect(consumer.poll()).rejects.toThrow(IllegalStateError)
  })

  it('cannot mix topics, a pattern and assigned partitions', () => {
    const ways = [
      (consumer: Consumer<string, string>) => {
        consumer.subscribe(['t'])
      },
      (consumer: Consumer<string, string>) => {
        consumer.subscribe(/t/)
      },
      (consumer: Consumer<string, string>) => {
        consumer.assign([T0])
      },
    ]
    for (const first of ways) {
      for (const second of ways) {
        const consumer = new ConsumerHarness().consumer({ groupId: 'g' })
        first(consumer)
        const again = (): void => {
          second(consumer)
        }
        if (first === second) expect(again).not.toThrow()
        else expect(again).toThrow(IllegalStateError)
        consumer.unsubscribe()
        expect(again).not.toThrow()
      }
    }
  })

  it('reject invalid topics, partitions and listeners', () => {
    const consumer = new ConsumerHarness().consumer({ groupId: 'g' })
    const subscribe = (topics: unknown, listener?: unknown) => () => {
      consumer.subscribe(topics as string[], listener as object)
    }
    expect(subscribe('t')).toThrow(TypeError)
    expect(subscribe(undefined)).toThrow(TypeError)
    expect(subscribe([1])).toThrow(TypeError)
    expect(subscribe([''])).toThrow(InvalidTopicError)
    expect(subscribe(['t'], 5)).toThrow(TypeError)
    expect(subscribe(['t'], null)).toThrow(TypeError)
    expect(subscribe(['t'], { onPartitionsLost: 1 })).toThrow(TypeError)
    const assign = (partitions: unknown) => () => {
      consumer.assign(partitions as [])
    }
    expect(assign(T0)).toThrow(TypeError)
    expect(assign(null)).toThrow(TypeError)
    expect(assign(['t-0'])).toThrow(TypeError)
    expect(assign([{ topic: 't', partition: -1 }])).toThrow(RangeError)
    expect(assign([T0, T1])).toThrow(UnknownTopicOrPartitionError)
    expect(assign([{ topic: 'no', partition: 0 }])).toThrow(UnknownTopicOrPartitionError)
    expect(consumer.assignment()).toEqual([])
  })

  it('count a partition that is named twice only once', () => {
    const consumer = new ConsumerHarness().consumer()
    consumer.assign([T0, T0])
    expect(consumer.assignment()).toEqual([T0])
  })
})

describe('options', () => {
  it('limit groupId to 32767 bytes', () => {
    const groupId = 'g'.repeat(32_768)
    const create = (): unknown => new ConsumerHarness().consumer({ groupId })
    expect(create).toThrow('groupId must have at most 32767 bytes, got 32768')
  })

  it.each([
    [{ groupId: '' }, InvalidGroupIdError],
    [{ groupId: 'a\ud800' }, InvalidGroupIdError],
    [{ groupId: 5 }, TypeError],
    [{ enableAutoCommit: true }, InvalidGroupIdError],
    [{ groupId: 'g', enableAutoCommit: 'yes' }, TypeError],
    [{ autoOffsetReset: 'first' }, TypeError],
    [{ autoOffsetReset: null }, TypeError],
    [{ partitionAssignmentStrategy: 'mine' }, TypeError],
    [{ maxPollRecords: 0 }, RangeError],
    [{ maxPollRecords: '5' }, TypeError],
    [{ maxPollRecords: null }, TypeError],
    [{ fetchMinBytes: -1 }, RangeError],
    [{ fetchMaxWaitMs: 0.5 }, RangeError],
    [{ fetchMaxBytes: -1 }, RangeError],
    [{ maxPartitionFetchBytes: Infinity }, RangeError],
    [{ autoCommitIntervalMs: -1 }, RangeError],
    [{ maxPollIntervalMs: 0 }, RangeError],
    [{ keyDeserializer: {} }, TypeError],
    [{ valueDeserializer: null }, TypeError],
    [{ maxPolRecords: 5 }, TypeError],
    [5, TypeError],
  ])('%o are refused', (options, error) => {
    const harness = new ConsumerHarness()
    expect(() => harness.typedConsumer(options as ConsumerOptions)).toThrow(error)
  })

  it.each([
    [{ maxWaitMs: -1 }, RangeError],
    [{ maxWaitMs: '1' }, TypeError],
    [{ signal: {} }, TypeError],
    [{ wait: 1 }, TypeError],
    [5, TypeError],
  ])(
    // prettier-ignore
    'of poll %o are refused',
    async (options, error) => {
      const consumer = new ConsumerHarness().consumer()
      consumer.assign([T0])
      await expect(consumer.poll(options as object)).rejects.toThrow(error)
    },
  )
})

describe('wakeup', () => {
  it('interrupts a waiting poll', async () => {
    const harness = new ConsumerHarness()
    const consumer = harness.consumer()
    consumer.assign([T0])
    const poll = watch(consumer.poll({ maxWaitMs: 1000 }))
    await harness.clock.advance(10)
    consumer.wakeup()
    await harness.clock.advance(0)
    expect(poll.error).toBeInstanceOf(WakeupError)
    expect(harness.clock.pendingTimers).toBe(0)
  })

  it('interrupts the next poll if none is waiting, only once, and keeps buffered records', async () => {
    const harness = filled()
    const consumer = harness.consumer({ maxPollRecords: 5 })
    consumer.assign([T0])
    await consumer.poll()
    consumer.wakeup()
    consumer.wakeup()
    await expect(consumer.poll()).rejects.toThrow(WakeupError)
    expect(offsets(await consumer.poll())).toEqual([5, 6, 7, 8, 9])
    expect(harness.partition().reads).toHaveLength(1)
  })

  it('keeps the records that were being read', async () => {
    const harness = filled()
    const openGate = harness.partition().closeGate()
    const consumer = harness.consumer()
    consumer.assign([T0])
    const poll = watch(consumer.poll({ maxWaitMs: 1000 }))
    await harness.clock.advance(1)
    consumer.wakeup()
    openGate()
    await harness.clock.advance(0)
    expect(poll.error).toBeInstanceOf(WakeupError)
    expect(await consumer.poll(NO_WAIT)).toHaveLength(10)
    expect(harness.partition().reads).toHaveLength(1)
  })
})

describe('an AbortSignal', () => {
  it('interrupts a poll with its reason, before and during the wait, and loses no record', async () => {
    const harness = new ConsumerHarness()
    const consumer = harness.consumer()
    consumer.assign([T0])
    const reason = new Error('enough')
    await expect(consumer.poll({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    const controller = new AbortController()
    const poll = watch(consumer.poll({ maxWaitMs: 1000, signal: controller.signal }))
    await harness.clock.advance(10)
    harness.partition().append('a')
    controller.abort(reason)
    await harness.clock.advance(0)
    expect(poll.error).toBe(reason)
    expect(harness.clock.pendingTimers).toBe(0)
    expect(await consumer.poll(NO_WAIT)).toHaveLength(1)
  })
})

describe('a listener that unsubscribe calls', () => {
  /** It runs until `finish` is called. */
  async function unsubscribed(): Promise<{
    harness: ConsumerHarness
    consumer: ReturnType<ConsumerHarness['consumer']>
    finish: () => void
  }> {
    const harness = filled()
    const consumer = harness.consumer({ groupId: 'g' })
    let finish: () => void = () => undefined
    const onPartitionsRevoked = (): Promise<void> => new Promise((resolve) => (finish = resolve))
    consumer.subscribe(['t'], { onPartitionsRevoked })
    await consumer.poll()
    consumer.unsubscribe()
    return { harness, consumer, finish }
  }

  it('must not poll, which rejects at once', async () => {
    const harness = filled()
    let inner: ReturnType<typeof watch> | null = null
    const consumer = harness.consumer({ groupId: 'g' })
    consumer.subscribe(['t'], {
      onPartitionsRevoked: async () => {
        const polling = consumer.poll()
        inner = watch(polling)
        await polling
      },
    })
    await consumer.poll()
    consumer.unsubscribe()
    consumer.subscribe(['t'])
    await harness.clock.advance(0)
    expect(inner).toMatchObject({
      isSettled: true,
      error: expect.any(IllegalStateError) as unknown,
    })
    await expect(consumer.poll()).rejects.toThrow('a rebalance listener must not poll')
    expect(await consumer.poll(NO_WAIT)).toEqual([])
    expect(consumer.assignment()).toEqual([T0])
    await consumer.close()
  })

  it.each([0, 100])(
    'does not block later polls forever when it polls after an await, for %i ms',
    async (maxWaitMs) => {
      const harness = filled()
      const consumer = harness.consumer({ groupId: 'g' })
      let inner: ReturnType<typeof watch> | null = null
      consumer.subscribe(['t'], {
        onPartitionsRevoked: async () => {
          await Promise.resolve()
          const polling = consumer.poll({ maxWaitMs })
          inner = watch(polling)
          await polling
        },
      })
      await consumer.poll()
      consumer.unsubscribe()
      consumer.subscribe(['t'])
      await harness.clock.advance(maxWaitMs)
      expect(inner).toMatchObject({ value: [] })
      await consumer.poll(NO_WAIT)
      expect(consumer.assignment()).toEqual([T0])
      await consumer.close()
    },
  )

  it.each(['close', 'wakeup'] as const)(
    'is no longer awaited by a poll that %s interrupts',
    async (end) => {
      const { harness, consumer, finish } = await unsubscribed()
      consumer.subscribe(['t'])
      const polling = watch(consumer.poll({ maxWaitMs: 1000 }))
      await harness.clock.advance(0)
      expect(polling.isSettled).toBe(false)
      const ended = watch(Promise.resolve(consumer[end]()))
      await harness.clock.advance(0)
      expect(polling.error).toBeInstanceOf(end === 'close' ? ClosedError : WakeupError)
      finish()
      await harness.clock.advance(0)
      expect(ended.isSettled).toBe(true)
      await consumer.close()
    },
  )

  it('is awaited by the next poll, which then reads on', async () => {
    const { harness, consumer, finish } = await unsubscribed()
    harness.partition().append('10')
    consumer.assign([T0])
    const polling = watch(consumer.poll({ maxWaitMs: 1000 }))
    await harness.clock.advance(1)
    consumer.pause([])
    await harness.clock.advance(998)
    expect(polling.isSettled).toBe(false)
    finish()
    await harness.clock.advance(0)
    expect(offsets(polling.value ?? [])).toEqual([10])
    await consumer.close()
  })
})

describe('a listener that a poll tells of lost partitions', () => {
  it.each(['unsubscribe', 'close'] as const)('is told once if it calls %s', async (way) => {
    const { one, poll } = await evicted()
    const log: string[] = []
    one.subscribe(['t'], {
      ...recorder(log),
      onPartitionsLost: () => {
        log.push('lost')
        void one[way]()
      },
    })
    await poll()
    expect(log).toEqual(['lost'])
    await one.close()
    expect(log).toEqual(['lost'])
  })

  it('is told once if the application unsubscribes while it runs', async () => {
    const { harness, one, poll } = await evicted()
    const log: string[] = []
    let finish: () => void = () => undefined
    one.subscribe(['t'], {
      onPartitionsLost: () => {
        log.push('lost')
        return new Promise((resolve) => (finish = resolve))
      },
    })
    const polling = await poll()
    one.unsubscribe()
    finish()
    await harness.clock.advance(0)
    expect(polling.value).toEqual([])
    expect(log).toEqual(['lost'])
  })
})

describe('close', () => {
  const CALLS: [string, (consumer: Consumer<string, string>) => unknown][] = [
    ['poll', (consumer) => consumer.poll()],
    ['subscribe', (consumer) => { consumer.subscribe(['t']) }], // prettier-ignore
    ['assign', (consumer) => { consumer.assign([T0]) }], // prettier-ignore
    ['unsubscribe', (consumer) => { consumer.unsubscribe() }], // prettier-ignore
    ['position', (consumer) => consumer.position(T0)],
    ['committed', (consumer) => consumer.committed(T0)],
    ['commit', (consumer) => consumer.commit()],
    ['seek', (consumer) => { consumer.seek(T0, 0) }], // prettier-ignore
    ['seekToBeginning', (consumer) => { consumer.seekToBeginning() }], // prettier-ignore
    ['seekToEnd', (consumer) => { consumer.seekToEnd() }], // prettier-ignore
    ['seekToTimestamp', (consumer) => consumer.seekToTimestamp([T0], 0)],
    ['pause', (consumer) => { consumer.pause([T0]) }], // prettier-ignore
    ['resume', (consumer) => { consumer.resume([T0]) }], // prettier-ignore
    ['paused', (consumer) => consumer.paused()],
    ['assignment', (consumer) => consumer.assignment()],
    ['lag', (consumer) => consumer.lag()],
    ['beginningOffsets', (consumer) => consumer.beginningOffsets([T0])],
    ['endOffsets', (consumer) => consumer.endOffsets([T0])],
    ['offsetsForTimes', (consumer) => consumer.offsetsForTimes([{ ...T0, timestamp: 0 }])],
    ['an iteration', (consumer) => consumer[Symbol.asyncIterator]()],
  ]

  it.each(CALLS)('makes %s fail with ClosedError', async (_name, call) => {
    const consumer = filled().consumer({ groupId: 'g' })
    consumer.subscribe(['t'])
    await consumer.poll()
    await consumer.close()
    await expect(Promise.resolve().then(() => call(consumer))).rejects.toThrow(ClosedError)
  })

  it('makes wakeup do nothing, as a signal may arrive at any time', async () => {
    const consumer = filled().consumer({ groupId: 'g' })
    const closing = consumer.close()
    consumer.wakeup()
    await closing
    consumer.wakeup()
    await expect(consumer.poll()).rejects.toThrow(ClosedError)
  })

  it('interrupts a poll in progress, and leaves no timer and no partition listener', async () => {
    const harness = new ConsumerHarness()
    const consumer = harness.consumer({ groupId: 'g' })
    consumer.subscribe(['t'])
    const poll = watch(consumer.poll({ maxWaitMs: 1000 }))
    await harness.clock.advance(10)
    await consumer.close()
    expect(poll.error).toBeInstanceOf(ClosedError)
    expect(harness.clock.pendingTimers).toBe(0)
    expect(harness.partition().listenerCount).toBe(0)
  })

  it.each([0, 1, 2, 3, 4, 5, 6, 8, 12])(
    'leaves no group member behind, %i steps after the start of a poll',
    async (steps) => {
      const harness = filled()
      const consumer = harness.consumer({ groupId: 'g' })
      consumer.subscribe(['t'])
      const poll = watch(consumer.poll())
      for (let step = 0; step < steps; step += 1) await Promise.resolve()
      await consumer.close()
      await harness.clock.advance(0)
      expect(poll.isSettled).toBe(true)
      const members = harness.coordinator.describe().flatMap((group) => group.members)
      expect(members).toEqual([])
    },
  )

  it('leaves no group member behind while a poll waits for the commit of an earlier unsubscribe', async () => {
    const harness = filled()
    const log: string[] = []
    const consumer = harness.consumer({ groupId: 'g' })
    consumer.subscribe(['t'])
    await consumer.poll()
    consumer.unsubscribe()
    consumer.subscribe(['t'], recorder(log))
    const poll = watch(consumer.poll())
    await consumer.close()
    await harness.clock.advance(0)
    expect(poll.error).toBeInstanceOf(ClosedError)
    expect(log).toEqual([])
    expect(harness.coordinator.describe()).toMatchObject([{ state: 'Empty', members: [] }])
  })

  it('does everything once, however often it is called', async () => {
    const harness = filled()
    const log: string[] = []
    const consumer = harness.consumer({ groupId: 'g' })
    consumer.subscribe(['t'], recorder(log))
    await consumer.poll()
    await Promise.all([consumer.close(), consumer.close()])
    await consumer[Symbol.asyncDispose]()
    expect(log).toEqual(['assigned t-0', 'revoked t-0'])
    expect(harness.closed).toEqual([consumer])
    expect(harness.offsetsPartition.appends).toHaveLength(1)
    expect(harness.coordinator.describe()).toMatchObject([{ state: 'Empty', members: [] }])
  })

  it('lets other members have the partitions only after its listener and its commit have ended', async () => {
    const harness = filled()
    const [one, two] = [harness.consumer({ groupId: 'g' }), harness.consumer({ groupId: 'g' })]
    let finish: () => void = () => undefined
    one.subscribe(['t'], {
      onPartitionsRevoked: () =>
        new Promise((resolve) => {
          finish = resolve
        }),
    })
    await one.poll()
    const closing = watch(one.close())
    await harness.clock.advance(0)
    two.subscribe(['t'])
    await two.poll(NO_WAIT)
    expect(two.assignment()).toEqual([])
    finish()
    await harness.clock.advance(0)
    expect(closing.isSettled).toBe(true)
    expect(await two.poll(NO_WAIT)).toEqual([])
    expect(two.position(T0)).toBe(10)
  })

  it.each([
    ['an offset', [{ ...T0, offset: 3 }], 3],
    ['where it stands', undefined, 10],
  ])(
    'lets others have the partitions a poll is giving up only after a listener has committed %s',
    async (_, given, expected) => {
      const harness = new ConsumerHarness({ t: 1 })
      harness.partition().append(...numbers(10))
      const [one, two] = [0, 1].map(() =>
        harness.consumer({ groupId: 'g', enableAutoCommit: false }),
      )
      if (one === undefined || two === undefined) throw new Error('there are no consumers')
      let finish: () => void = () => undefined
      let committing: Promise<void> = Promise.resolve()
      one.subscribe(['t'], {
        onPartitionsRevoked: async () => {
          await new Promise<void>((resolve) => (finish = resolve))
          await (committing = one.commit(given))
        },
      })
      await one.poll()
      two.subscribe(['t'])
      await two.poll(NO_WAIT)
      const polling = watch(one.poll())
      await harness.clock.advance(0)
      await one.close()
      await two.poll(NO_WAIT)
      expect(two.assignment()).toEqual([])
      finish()
      await harness.clock.advance(0)
      await committing
      expect(harness.committed()).toBe(expected)
      const seen = offsets(await two.poll(NO_WAIT))
      expect(seen[0] ?? two.position(T0)).toBe(expected)
      expect(polling.error).toBeInstanceOf(ClosedError)
      await two.close()
    },
  )

  it('rejects with the error of the listener or of the commit, but closes the consumer', async () => {
    for (const fail of ['listener', 'commit']) {
      const harness = filled()
      const consumer = harness.consumer({ groupId: 'g' })
      consumer.subscribe(['t'], {
        onPartitionsRevoked: () => {
          if (fail === 'listener') throw new Error('listener')
        },
      })
      await consumer.poll()
      if (fail === 'commit') harness.offsetsPartition.appendError = new Error('commit')
      await expect(consumer.close()).rejects.toThrow(fail)
      expect(harness.closed).toEqual([consumer])
      expect(harness.clock.pendingTimers).toBe(0)
      await expect(consumer.poll()).rejects.toThrow(ClosedError)
    }
  })

  it('rejects with both errors if the listener throws and the commit fails', async () => {
    const harness = filled()
    const consumer = harness.consumer({ groupId: 'g' })
    const [ofCommit, ofListener] = [new Error('commit'), new Error('listener')]
    consumer.subscribe(['t'], { onPartitionsRevoked: () => Promise.reject(ofListener) })
    await consumer.poll()
    harness.offsetsPartition.appendError = ofCommit
    const error = await consumer.close().catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(AggregateError)
    expect(error).toMatchObject({ message: 'commit; listener', errors: [ofCommit, ofListener] })
    expect(harness.closed).toEqual([consumer])
  })

  it('rejects with both errors even if the listener throws an object without a message', async () => {
    const harness = filled()
    const consumer = harness.consumer({ groupId: 'g' })
    consumer.subscribe(['t'], {
      onPartitionsRevoked: () => {
        throw Object.create(null)
      },
    })
    await consumer.poll()
    harness.offsetsPartition.appendError = new Error('commit')
    await expect(consumer.close()).rejects.toMatchObject({ message: 'commit; an object' })
  })

  it('waits for the commit of an earlier unsubscribe, even if the listener throws', async () => {
    const harness = filled()
    const consumer = harness.consumer({ groupId: 'g' })
    consumer.assign([T0])
    await consumer.poll()
    let store: () => void = () => undefined
    harness.offsetsPartition.gate = new Promise((resolve) => (store = resolve))
    consumer.unsubscribe()
    consumer.subscribe(['t'], {
      onPartitionsAssigned: () => Promise.reject(new Error('assigned')),
      onPartitionsRevoked: () => Promise.reject(new Error('revoked')),
    })
    await expect(consumer.poll(NO_WAIT)).rejects.toThrow('assigned')
    const closing = watch(consumer.close())
    await harness.clock.advance(0)
    expect(closing.isSettled).toBe(false)
    store()
    await harness.clock.advance(0)
    expect(closing.error).toMatchObject({ message: 'revoked' })
    expect(harness.committed()).toBe(10)
  })

  it('reports lost partitions if the member was removed from the group, and commits nothing', async () => {
    const harness = filled()
    const log: string[] = []
    const consumer = harness.consumer({ groupId: 'g', maxPollIntervalMs: 10 })
    consumer.subscribe(['t'], recorder(log))
    await consumer.poll()
    await harness.clock.advance(10)
    const other = harness.consumer({ groupId: 'g', enableAutoCommit: false })
    other.subscribe(['t'])
    await other.poll()
    await consumer.close()
    expect(log).toEqual(['assigned t-0', 'lost t-0'])
    expect(harness.committed()).toBeNull()
  })

  it('can be called and awaited by a listener in a poll', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    const [one, two] = [harness.consumer({ groupId: 'g' }), harness.consumer({ groupId: 'g' })]
    const log: string[] = []
    one.subscribe(['t'], {
      onPartitionsRevoked: async () => {
        log.push('revoked')
        await one.close()
        log.push('closed')
      },
    })
    await one.poll(NO_WAIT)
    two.subscribe(['t'])
    await two.poll(NO_WAIT)
    await expect(one.poll(NO_WAIT)).rejects.toThrow(ClosedError)
    expect(log).toEqual(['revoked', 'closed'])
    await two.poll(NO_WAIT)
    expect(two.assignment()).toEqual([T0, T1])
  })

  it.each(['onPartitionsLost', 'onPartitionsRevoked'])(
    'can be awaited by a listener that a poll tells of lost partitions, once: %s',
    async (callback) => {
      const { one, poll } = await evicted()
      const log: string[] = []
      one.subscribe(['t'], {
        [callback]: async () => {
          log.push('lost')
          await one.close()
          log.push('closed')
        },
      })
      expect((await poll()).error).toBeInstanceOf(ClosedError)
      expect(log).toEqual(['lost', 'closed'])
    },
  )

  it('waits for the listener that it calls while one runs in a poll, even if it is called again', async () => {
    const harness = filled()
    const consumer = harness.consumer({ groupId: 'g' })
    const finish: (() => void)[] = []
    const hold = (): Promise<void> => new Promise((resolve) => finish.push(resolve))
    consumer.subscribe(['t'], { onPartitionsAssigned: hold, onPartitionsRevoked: hold })
    const polling = watch(consumer.poll())
    await harness.clock.advance(0)
    const closing = watch(consumer.close())
    await harness.clock.advance(0)
    finish[0]?.()
    await harness.clock.advance(0)
    expect(finish).toHaveLength(2)
    const again = watch(consumer.close())
    await harness.clock.advance(0)
    expect([closing.isSettled, again.isSettled]).toEqual([false, false])
    finish[1]?.()
    await harness.clock.advance(0)
    expect([closing.isSettled, again.isSettled]).toEqual([true, true])
    expect(polling.error).toBeInstanceOf(ClosedError)
  })

  it('resolves for a consumer that was never used', async () => {
    const harness = new ConsumerHarness()
    const consumer = harness.consumer()
    await consumer.close()
    expect(harness.closed).toEqual([consumer])
  })
})
