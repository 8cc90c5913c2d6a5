import { describe, expect, it } from 'vitest'
import type { TopicPartition } from '../../lib/broker/topic-partition.ts'
import type { ConsumerOptions } from '../../lib/client/consumer-options.ts'
import type { Consumer } from '../../lib/client/consumer.ts'
import { IllegalStateError, InconsistentGroupProtocolError } from '../../lib/errors.ts'
import {
  ConsumerHarness,
  NO_WAIT,
  T0,
  T1,
  numbers,
  offsets,
  recorder,
  values,
  watch,
} from './consumer-harness.ts'

function member(
  harness: ConsumerHarness,
  options: ConsumerOptions<string, string> = {},
): Consumer<string, string> {
  return harness.consumer({ groupId: 'g', ...options })
}

async function pollInTurn(rounds: number, ...consumers: Consumer<string, string>[]): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    for (const consumer of consumers) await consumer.poll(NO_WAIT)
  }
}

describe('a member of a group', () => {
  it('gets all partitions in its first poll when it is alone', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    harness.partition().append('a')
    const log: string[] = []
    const consumer = member(harness)
    consumer.subscribe(['t'], recorder(log))
    expect(consumer.assignment()).toEqual([])
    expect(values(await consumer.poll(NO_WAIT))).toEqual(['a'])
    expect(consumer.assignment()).toEqual([T0, T1])
    expect(log).toEqual(['assigned t-0 t-1'])
  })

  it('returns no records of revoked partitions even if its listener empties the list that it receives', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    const [one, two, three] = [member(harness), member(harness), member(harness)]
    one.subscribe(['t'], {
      onPartitionsRevoked: (partitions) => void (partitions as TopicPartition[]).splice(0),
    })
    two.subscribe(['t'])
    three.subscribe(['t'])
    await pollInTurn(2, one, two)
    await three.poll(NO_WAIT)
    harness.partition('t', 0).append('a')
    harness.partition('t', 1).append('b')
    expect(await one.poll(NO_WAIT)).toEqual([])
    expect(one.assignment()).toEqual([])
  })

  it('keeps its assignment, as does the group, when its listener changes the partitions it receives', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    const consumer = member(harness)
    consumer.subscribe(['t'], {
      onPartitionsAssigned: (partitions) => {
        for (const each of partitions) Object.assign(each, { topic: 'x', partition: 9 })
      },
    })
    await consumer.poll(NO_WAIT)
    expect(harness.coordinator.describe()[0]?.members[0]?.assignment).toEqual([T0, T1])
    expect(consumer.assignment()).toEqual([T0, T1])
  })

  it('reads a subscribed topic once it is created', async () => {
    const harness = new ConsumerHarness({})
    const consumer = member(harness)
    consumer.subscribe(['later'])
    const poll = watch(consumer.poll({ maxWaitMs: 1000 }))
    await harness.clock.advance(10)
    expect(poll.isSettled).toBe(false)
    harness.createTopic('later', 1)
    harness.partition('later').append('a')
    await harness.clock.advance(0)
    expect(values(poll.value ?? [])).toEqual(['a'])
  })

  it('keeps waiting without a topic that is deleted during its poll, and reads the others', async () => {
    const harness = new ConsumerHarness({ t: 1, u: 1 })
    const consumer = member(harness)
    consumer.subscribe(['t', 'u'])
    await consumer.poll(NO_WAIT)
    const poll = watch(consumer.poll({ maxWaitMs: 1000 }))
    await harness.clock.advance(10)
    harness.deleteTopic('t')
    await harness.clock.advance(10)
    expect(poll.isSettled).toBe(false)
    expect(consumer.assignment()).toEqual([{ topic: 'u', partition: 0 }])
    harness.partition('u').append('a')
    await harness.clock.advance(0)
    expect(values(poll.value ?? [])).toEqual(['a'])
  })

  it('gives up all partitions before any member gets new ones, with an eager strategy', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    const log: string[] = []
    const [one, two] = [member(harness), member(harness)]
    one.subscribe(['t'], recorder(log, '1 '))
    await one.poll(NO_WAIT)
    two.subscribe(['t'], recorder(log, '2 '))
    await two.poll(NO_WAIT)
    expect(two.assignment()).toEqual([])
    await pollInTurn(1, one, two)
    expect(log).toEqual([
      '1 assigned t-0 t-1',
      '1 revoked t-0 t-1',
      '1 assigned t-0',
      '2 assigned t-1',
    ])
    await one.close()
    await two.poll(NO_WAIT)
    expect(log.slice(4)).toEqual(['1 revoked t-0', '2 revoked t-1', '2 assigned t-0 t-1'])
  })

  it('calls its listener in every rebalance with an eager strategy, even without partitions', async () => {
    const harness = new ConsumerHarness({ t: 1 })
    const log: string[] = []
    const consumers = [member(harness), member(harness)]
    for (const [at, consumer] of consumers.entries()) {
      consumer.subscribe(['t'], recorder(log, `${at} `))
      await consumer.poll(NO_WAIT)
    }
    await pollInTurn(1, ...consumers)
    log.length = 0
    consumers[0]?.subscribe(['t', 'u'], recorder(log, '0 '))
    await pollInTurn(2, ...consumers)
    expect(log).toEqual(['0 revoked t-0', '1 revoked', '1 assigned', '0 assigned t-0'])
  })

  it('commits consumed records before it gives up their partitions, so that none is delivered twice', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    for (const index of [0, 1]) harness.partition('t', index).append(...numbers(10))
    const [one, two] = [member(harness, { maxPollRecords: 4 }), member(harness)]
    one.subscribe(['t'])
    await pollInTurn(2, one)
    two.subscribe(['t'])
    await two.poll(NO_WAIT)
    const rest = [
      ...(await one.poll(NO_WAIT)),
      ...(await two.poll(NO_WAIT)),
      ...(await one.poll(NO_WAIT)),
    ]
    const byPartition = [0, 1].map((index) =>
      offsets(rest.filter(({ partition }) => partition === index)),
    )
    expect(byPartition).toEqual([[4, 5, 6, 7, 8, 9], [4, 5, 6, 7, 8, 9]]) // prettier-ignore
  })

  it('can commit, seek and query positions in its listener', async () => {
    const harness = new ConsumerHarness({ t: 1 })
    harness.partition().append(...numbers(10))
    const consumer = member(harness, { enableAutoCommit: false })
    const seen: number[] = []
    consumer.subscribe(['t'], {
      onPartitionsAssigned: () => {
        consumer.seek(T0, 7)
      },
      onPartitionsRevoked: async () => {
        seen.push(consumer.position(T0))
        await consumer.commit()
      },
    })
    expect(offsets(await consumer.poll())).toEqual([7, 8, 9])
    await consumer.close()
    expect(seen).toEqual([10])
    expect(harness.committed()).toBe(10)
  })

  it('can commit and query positions in its listener until its promise settles, even during close', async () => {
    const harness = new ConsumerHarness({ t: 1 })
    harness.partition().append(...numbers(10))
    const consumer = member(harness, { enableAutoCommit: false })
    const seen: unknown[] = []
    consumer.subscribe(['t'], {
      onPartitionsRevoked: async () => {
        await Promise.resolve()
        seen.push(consumer.assignment(), consumer.position(T0))
        await consumer.commit()
      },
    })
    await consumer.poll()
    await consumer.close()
    expect(seen).toEqual([[T0], 10])
    expect(harness.committed()).toBe(10)
    expect(harness.coordinator.describe()).toMatchObject([{ state: 'Empty', members: [] }])
  })

  it('waits for its listener, in which a poll rejects', async () => {
    const harness = new ConsumerHarness()
    harness.partition().append('a')
    const consumer = member(harness)
    let finish: () => void = () => undefined
    let nested: unknown
    consumer.subscribe(['t'], {
      onPartitionsAssigned: async () => {
        nested = await consumer.poll().catch((error: unknown) => error)
        await new Promise<void>((resolve) => {
          finish = resolve
        })
      },
    })
    const poll = watch(consumer.poll())
    await harness.clock.advance(10_000)
    expect(poll.isSettled).toBe(false)
    expect(nested).toBeInstanceOf(IllegalStateError)
    finish()
    await harness.clock.advance(0)
    expect(values(poll.value ?? [])).toEqual(['a'])
  })

  it.each(['range', 'cooperative-sticky'] as const)(
    'rejects a poll with the error of its listener, and keeps the new assignment (%s)',
    async (partitionAssignmentStrategy) => {
      const harness = new ConsumerHarness({ t: 2 })
      const [one, two] = [
        member(harness, { partitionAssignmentStrategy }),
        member(harness, { partitionAssignmentStrategy }),
      ]
      one.subscribe(['t'], {
        onPartitionsAssigned: () => {
          throw new Error('not assigned')
        },
        onPartitionsRevoked: () => Promise.reject(new Error('not revoked')),
      })
      await expect(one.poll(NO_WAIT)).rejects.toThrow('not assigned')
      expect(one.assignment()).toEqual([T0, T1])
      harness.partition('t', 0).append('a')
      harness.partition('t', 1).append('b')
      expect(values(await one.poll(NO_WAIT))).toEqual(['a', 'b'])
      two.subscribe(['t'])
      await two.poll(NO_WAIT)
      const errors = []
      for (let round = 0; round < 4; round++) {
        errors.push(await one.poll(NO_WAIT).then(() => null, String))
        await two.poll(NO_WAIT)
      }
      expect(errors).toContain('Error: not revoked')
      expect(errors.at(-1)).toBeNull()
      expect([...one.assignment(), ...two.assignment()]).toHaveLength(2)
    },
  )

  it('loses its partitions to another member if it does not poll in time, and can rejoin', async () => {
    const harness = new ConsumerHarness({ t: 1 })
    harness.partition().append(...numbers(4))
    const log: string[] = []
    const options = { maxPollIntervalMs: 1000, maxPollRecords: 2 }
    const [slow, other] = [member(harness, options), member(harness)]
    slow.subscribe(['t'], recorder(log))
    await slow.poll()
    await harness.clock.advance(999)
    await slow.poll()
    await harness.clock.advance(1000)
    other.subscribe(['t'])
    expect(offsets(await other.poll(NO_WAIT))).toEqual([0, 1, 2, 3])
    await slow.poll(NO_WAIT)
    expect(log).toEqual(['assigned t-0', 'lost t-0'])
    await other.close()
    await slow.poll(NO_WAIT)
    expect(slow.assignment()).toEqual([T0])
    expect(log.at(-1)).toBe('assigned t-0')
  })

  it('calls onPartitionsRevoked for lost partitions if it has no onPartitionsLost', async () => {
    const harness = new ConsumerHarness({ t: 1 })
    const log: string[] = []
    const { onPartitionsRevoked } = recorder(log)
    const consumer = member(harness, { maxPollIntervalMs: 1000 })
    consumer.subscribe(['t'], { ...(onPartitionsRevoked && { onPartitionsRevoked }) })
    await consumer.poll(NO_WAIT)
    await harness.clock.advance(1000)
    const other = member(harness)
    other.subscribe(['t'])
    await other.poll(NO_WAIT)
    await consumer.poll(NO_WAIT)
    expect(log).toEqual(['revoked t-0'])
  })

  it('keeps its partitions during polls that wait longer than maxPollIntervalMs', async () => {
    const harness = new ConsumerHarness({ t: 1 })
    const log: string[] = []
    const consumer = member(harness, { maxPollIntervalMs: 100 })
    consumer.subscribe(['t'], recorder(log))
    for (let round = 0; round < 2; round++) {
      const poll = watch(consumer.poll({ maxWaitMs: 10_000 }))
      await harness.clock.advance(9_999)
      harness.partition().append('a')
      await harness.clock.advance(0)
      expect(poll.value).toHaveLength(1)
    }
    expect(log).toEqual(['assigned t-0'])
  })

  it('gets the partitions of its new topics when it changes its subscription', async () => {
    const harness = new ConsumerHarness({ t: 1, u: 1 })
    const consumer = member(harness)
    consumer.subscribe(['t'])
    await consumer.poll(NO_WAIT)
    consumer.subscribe(['u', 'u'])
    await consumer.poll(NO_WAIT)
    expect(consumer.assignment()).toEqual([{ topic: 'u', partition: 0 }])
    consumer.subscribe(['u', 't'])
    await consumer.poll(NO_WAIT)
    expect(consumer.assignment()).toHaveLength(2)
  })

  it('rejects a poll while its strategy differs from that of the other members', async () => {
    const harness = new ConsumerHarness()
    const one = member(harness)
    one.subscribe(['t'])
    await one.poll(NO_WAIT)
    const two = member(harness, { partitionAssignmentStrategy: 'sticky' })
    two.subscribe(['t'])
    await expect(two.poll(NO_WAIT)).rejects.toThrow(InconsistentGroupProtocolError)
    await one.close()
    await two.poll(NO_WAIT)
    expect(two.assignment()).toEqual([T0])
  })

  it('leaves the group by unsubscribe, and can join again', async () => {
    const harness = new ConsumerHarness({ t: 1 })
    const log: string[] = []
    const [one, two] = [member(harness), member(harness)]
    one.subscribe(['t'], recorder(log))
    await one.poll(NO_WAIT)
    one.unsubscribe()
    expect(log).toEqual(['assigned t-0', 'revoked t-0'])
    expect(one.assignment()).toEqual([])
    two.subscribe(['t'])
    await two.poll(NO_WAIT)
    expect(two.assignment()).toEqual([T0])
    await two.close()
    one.subscribe(['t'])
    await one.poll(NO_WAIT)
    expect(one.assignment()).toEqual([T0])
  })

  it('waits in a poll for the listener of an earlier unsubscribe, even if it subscribes meanwhile', async () => {
    const harness = new ConsumerHarness({ t: 1 })
    harness.partition().append('a')
    const consumer = member(harness)
    let finish: () => void = () => undefined
    consumer.subscribe(['t'], {
      onPartitionsRevoked: () =>
        new Promise<void>((resolve) => {
          finish = resolve
        }),
    })
    await consumer.poll(NO_WAIT)
    consumer.unsubscribe()
    consumer.subscribe(['t'])
    const poll = watch(consumer.poll())
    await harness.clock.advance(10)
    const { pendingTimers } = harness.clock
    let waits = 0
    const startTimer = harness.clock.startTimer.bind(harness.clock)
    harness.clock.startTimer = (...args) => {
      waits += 1
      return startTimer(...args)
    }
    consumer.subscribe(['t', 'u'])
    await harness.clock.advance(10)
    expect([waits, harness.clock.pendingTimers, poll.isSettled]).toEqual([1, pendingTimers, false])
    harness.partition().append('b')
    finish()
    await harness.clock.advance(10)
    expect(values(poll.value ?? [])).toEqual(['b'])
  })

  it('lets the event loop turn in polls with maxWaitMs 0 while the listener of an unsubscribe runs', async () => {
    const harness = new ConsumerHarness({ t: 1 })
    const consumer = member(harness)
    consumer.subscribe(['t'], { onPartitionsRevoked: () => new Promise<void>(setImmediate) })
    await consumer.poll(NO_WAIT)
    consumer.unsubscribe()
    consumer.subscribe(['t'])
    expect(consumer.assignment()).toEqual([])
    // Unless the event loop turns in each of them, the listener never completes.
    for (let each = 0; each < 3; each += 1) expect(await consumer.poll(NO_WAIT)).toEqual([])
    expect(consumer.assignment()).toEqual([T0])
  })

  it('can unsubscribe in its listener', async () => {
    const harness = new ConsumerHarness({ t: 1 })
    harness.partition().append('a')
    const consumer = member(harness)
    consumer.subscribe(['t'], {
      onPartitionsAssigned: () => {
        consumer.unsubscribe()
      },
    })
    expect(await consumer.poll()).toEqual([])
    expect(consumer.assignment()).toEqual([])
    expect(harness.coordinator.describe()).toMatchObject([])
  })
})
