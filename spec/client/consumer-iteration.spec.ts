import { Readable } from 'node:stream'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { ConsumerOptions } from '../../lib/client/consumer-options.ts'
import type { ConsumerRecord } from '../../lib/client/consumer-record.ts'
import type { Consumer } from '../../lib/client/consumer.ts'
import { promptIo } from '../../lib/platform/prompt-io.ts'
import { IllegalStateError, SerializationError, WakeupError } from '../../lib/errors.ts'
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
import { withoutTurns } from '../helpers/held-turns.ts'
import { settle } from '../helpers/settle.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

function start(
  harness: ConsumerHarness,
  options: ConsumerOptions<string, string> = {},
): Consumer<string, string> {
  const consumer = harness.consumer({ groupId: 'g', ...options })
  consumer.subscribe(['t'])
  return consumer
}

function filled(count = 10): ConsumerHarness {
  const harness = new ConsumerHarness({ t: 1 })
  if (count > 0) harness.partition().append(...numbers(count))
  return harness
}

async function take<K, V>(
  consumer: Consumer<K, V>,
  count: number,
): Promise<ConsumerRecord<K, V>[]> {
  const taken: ConsumerRecord<K, V>[] = []
  for await (const record of consumer) {
    taken.push(record)
    if (taken.length === count) break
  }
  return taken
}

describe('for await', () => {
  it('delivers the records in order', async () => {
    const consumer = start(filled())
    expect(offsets(await take(consumer, 10))).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  })

  it('reads the clock once per poll, not once per record, without a group', async () => {
    const harness = filled(100)
    const consumer = harness.consumer({})
    consumer.assign([T0])
    await take(consumer, 1)
    const monotonic = vi.spyOn(harness.clock, 'monotonic')
    withoutTurns()
    expect(offsets(await take(consumer, 100))).toHaveLength(100)
    expect(monotonic.mock.calls.length).toBeLessThan(20)
  })

  it('lets the event loop turn when many records are buffered, and then continues', async () => {
    const consumer = start(filled(500))
    let endTurn = (): void => undefined
    const turn = new Promise<void>((resolve) => {
      endTurn = resolve
    })
    const taken: number[] = []
    const iterating = (async () => {
      for await (const { offset } of consumer) {
        // Waits before this record are not the ones under test.
        if (offset === 0) vi.spyOn(promptIo, 'turnIfDue').mockReturnValueOnce(turn)
        taken.push(offset)
        if (offset === 499) break
      }
    })()
    await settle()
    expect(taken.length).toBeGreaterThan(0)
    expect(taken.length).toBeLessThan(128)
    endTurn()
    await iterating
    expect(taken).toEqual(Array.from({ length: 500 }, (_, offset) => offset))
  })

  it('delivers again the record whose body was left, and those after it', async () => {
    const consumer = start(filled())
    expect(offsets(await take(consumer, 3))).toEqual([0, 1, 2])
    expect(consumer.position(T0)).toBe(2)
    expect(offsets(await take(consumer, 2))).toEqual([2, 3])
    expect(offsets(await consumer.poll(NO_WAIT))).toEqual([3, 4, 5, 6, 7, 8, 9])
  })

  it('delivers again the record whose body has thrown', async () => {
    const consumer = start(filled())
    const loop = async (): Promise<void> => {
      for await (const record of consumer) if (record.offset === 4) throw new Error('no')
    }
    await expect(loop()).rejects.toThrow('no')
    expect(offsets(await take(consumer, 1))).toEqual([4])
  })

  it('commits only records whose body is done: by close', async () => {
    const harness = filled()
    const consumer = start(harness)
    for await (const record of consumer) {
      if (record.offset !== 3) continue
      await consumer.close()
    }
    expect(harness.committed()).toBe(3)
  })

  it('commits only records whose body is done: after a break', async () => {
    const harness = filled()
    const consumer = start(harness)
    await take(consumer, 5)
    await consumer.close()
    expect(harness.committed()).toBe(4)
  })

  it('commits only records whose body is done: by commit', async () => {
    const harness = filled()
    const consumer = start(harness, { enableAutoCommit: false })
    const seen: (number | null)[] = []
    for await (const record of consumer) {
      await consumer.commit()
      seen.push(harness.committed())
      if (record.offset === 3) break
    }
    expect(seen).toEqual([0, 1, 2, 3])
  })

  it('commits only records whose body is done: at the interval', async () => {
    const harness = filled()
    const consumer = start(harness, { autoCommitIntervalMs: 100 })
    for await (const record of consumer) {
      if (record.offset === 5) break
      if (record.offset === 2) await harness.clock.advance(100)
      if (record.offset <= 2) expect(harness.committed()).toBeNull()
      else expect(harness.committed()).toBe(3)
    }
  })

  it.each(['a break', 'close', 'an interval'] as const)(
    'treats a record as done once its body has committed the offset after it: before %s',
    async (end) => {
      const harness = filled(5)
      const consumer = start(harness)
      for await (const { topic, partition, offset } of consumer) {
        await consumer.commit([{ topic, partition, offset: offset + 1 }])
        if (offset < 2) continue
        if (end === 'close') await consumer.close()
        if (end === 'an interval') {
          await harness.clock.advance(5000)
          expect(offsets(await consumer.poll(NO_WAIT))).toEqual([3, 4])
          expect(harness.committed()).toBe(3)
        }
        break
      }
      if (end === 'a break') expect(consumer.position(T0)).toBe(3)
      if (end !== 'close') await consumer.close()
      expect(harness.committed()).toBe(end === 'an interval' ? 5 : 3)
    },
  )

  it.each([
    ['close', 0],
    ['unsubscribe', 0],
    ['close', 2],
    ['unsubscribe', 2],
  ] as const)(
    'does not undo the commit of the offset after a record before its commit has ended: %s at %i',
    async (end, at) => {
      const harness = filled(5)
      const consumer = start(harness)
      let store: () => void = () => undefined
      let ending: unknown
      for await (const { topic, partition, offset } of consumer) {
        if (offset === at) {
          harness.offsetsPartition.gate = new Promise((resolve) => (store = resolve))
        }
        const committing = consumer.commit([{ topic, partition, offset: offset + 1 }])
        if (offset === at) {
          ending = consumer[end]()
          store()
        }
        await committing
        if (offset === at) break
      }
      await ending
      await harness.coordinator.commitsEnded('g')
      expect(harness.committed()).toBe(at + 1)
    },
  )

  it('still holds a record whose body has committed offsets of another partition', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    for (const partition of [0, 1]) harness.partition('t', partition).append(...numbers(5))
    const consumer = start(harness)
    for await (const { partition, offset } of consumer) {
      if (partition !== 0 || offset < 2) continue
      await consumer.commit([{ ...T1, offset: 5 }])
      await consumer.close()
    }
    expect(harness.committed()).toBe(2)
  })

  it('holds the record that a seek went back to, even when an earlier commit is stored', async () => {
    const harness = filled(5)
    const consumer = start(harness)
    let store: () => void = () => undefined
    let committing: Promise<void> | null = null
    for await (const { offset } of consumer) {
      if (committing !== null) {
        store()
        await committing
        break
      }
      if (offset < 3) continue
      harness.offsetsPartition.gate = new Promise((resolve) => (store = resolve))
      committing = consumer.commit([{ ...T0, offset: 4 }])
      consumer.seek(T0, 1)
    }
    expect(consumer.position(T0)).toBe(1)
    await consumer.close()
    expect(harness.committed()).toBe(1)
  })

  it('still holds a record whose body has committed only the offsets before it', async () => {
    const harness = filled(5)
    const consumer = start(harness)
    for await (const { offset } of consumer) {
      await consumer.commit([{ ...T0, offset }])
      if (offset === 2) break
    }
    expect(consumer.position(T0)).toBe(2)
    await consumer.close()
    expect(harness.committed()).toBe(2)
  })

  it('commits at the interval even if no further record arrives', async () => {
    const harness = filled(2)
    const consumer = start(harness, { autoCommitIntervalMs: 100 })
    const loop = take(consumer, 3)
    await harness.clock.advance(100)
    expect(harness.committed()).toBe(2)
    harness.partition().append('x')
    await loop
  })

  it('commits only records whose body is done: when the group revokes the partition', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    for (const index of [0, 1]) harness.partition('t', index).append(...numbers(4))
    const consumer = start(harness)
    const other = start(harness)
    const seen = new Map<string, number>()
    for await (const { partition, offset } of consumer) {
      const key = `${partition}-${offset}`
      seen.set(key, (seen.get(key) ?? 0) + 1)
      if (seen.size === 2) await other.poll(NO_WAIT)
      if (seen.size === 4) break
    }
    for (const { partition, offset } of await other.poll(NO_WAIT)) {
      const key = `${partition}-${offset}`
      seen.set(key, (seen.get(key) ?? 0) + 1)
    }
    expect([...seen.values()]).toEqual(Array.from({ length: 8 }, () => 1))
  })

  it('waits for records without a time limit, and ends when the consumer is closed', async () => {
    const harness = filled(1)
    const consumer = start(harness)
    const seen: number[] = []
    const loop = watch(
      (async () => {
        for await (const { offset } of consumer) seen.push(offset)
      })(),
    )
    await harness.clock.advance(60_000)
    harness.partition().append('b')
    await harness.clock.advance(0)
    expect(seen).toEqual([0, 1])
    expect(loop.isSettled).toBe(false)
    await consumer.close()
    await harness.clock.advance(0)
    expect(loop).toMatchObject({ isSettled: true })
    expect(loop.error).toBeUndefined()
    expect(harness.clock.pendingTimers).toBe(0)
    expect(harness.committed()).toBe(2)
  })

  it('rejects with WakeupError on a wakeup, and another loop continues', async () => {
    const harness = filled(1)
    const consumer = start(harness)
    const loop = watch(take(consumer, 2))
    await harness.clock.advance(10)
    consumer.wakeup()
    await harness.clock.advance(0)
    expect(loop.error).toBeInstanceOf(WakeupError)
    harness.partition().append('b')
    expect(offsets(await take(consumer, 1))).toEqual([1])
  })

  it('rejects with WakeupError on a wakeup even while records are buffered', async () => {
    const consumer = start(filled())
    const loop = async (): Promise<void> => {
      for await (const record of consumer) if (record.offset === 2) consumer.wakeup()
    }
    await expect(loop()).rejects.toThrow(WakeupError)
    expect(offsets(await consumer.poll(NO_WAIT))[0]).toBe(3)
  })

  it('applies seek and pause at once, even while records are buffered', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    for (const index of [0, 1]) harness.partition('t', index).append(...numbers(5))
    const consumer = harness.consumer()
    consumer.assign([T0, T1])
    const seen: string[] = []
    for await (const { partition, offset } of consumer) {
      seen.push(`${partition}-${offset}`)
      if (seen.length === 2) consumer.seek({ topic: 't', partition }, 0)
      if (seen.length === 4) consumer.pause([{ topic: 't', partition }])
      if (seen.length === 6) break
    }
    expect(seen).toEqual(['0-0', '0-1', '1-0', '1-1', '0-0', '0-1'])
  })

  it('keeps the position that a seek in the body has set', async () => {
    const consumer = start(filled())
    for await (const record of consumer) {
      if (record.offset !== 5) continue
      consumer.seek(T0, 8)
      break
    }
    expect(offsets(await consumer.poll(NO_WAIT))).toEqual([8, 9])
  })

  it('takes records from all partitions in turn', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    for (const index of [0, 1]) harness.partition('t', index).append(...numbers(50))
    const consumer = start(harness, { maxPollRecords: 10 })
    const seen = (await take(consumer, 50)).map(({ partition }) => partition)
    expect(seen.filter((partition) => partition === 1).length).toBeGreaterThanOrEqual(20)
  })

  it('rejects when a record cannot be deserialized, as does the next loop until a seek past it', async () => {
    const harness = new ConsumerHarness()
    harness.partition().append('1', '{', '3')
    const consumer = harness.jsonConsumer()
    consumer.assign([T0])
    for (let loop = 0; loop < 2; loop++) {
      await expect(take(consumer, 3)).rejects.toThrow(SerializationError)
      expect(consumer.position(T0)).toBe(1)
    }
    consumer.seek(T0, 2)
    expect(offsets(await take(consumer, 1))).toEqual([2])
  })

  it('keeps its partitions however long a body takes while no other member could have them', async () => {
    const harness = filled()
    const log: string[] = []
    const consumer = harness.consumer({
      ...{ groupId: 'g', maxPollIntervalMs: 1000, autoCommitIntervalMs: 500 },
    })
    consumer.subscribe(['t'], recorder(log))
    const seen: number[] = []
    for await (const { offset } of consumer) {
      seen.push(offset)
      if (seen.length === 5) break
      await harness.clock.advance(3000)
    }
    expect(log).toEqual(['assigned t-0'])
    expect(seen).toEqual([0, 1, 2, 3, 4])
    expect(harness.committed()).toBe(4)
  })

  it('loses its partitions if a body takes longer than maxPollIntervalMs and another member joins', async () => {
    const harness = filled()
    const log: string[] = []
    const consumer = harness.consumer({
      groupId: 'g',
      maxPollIntervalMs: 1000,
      autoCommitIntervalMs: 60_000,
    })
    consumer.subscribe(['t'], recorder(log))
    const seen: number[] = []
    for await (const { offset } of consumer) {
      seen.push(offset)
      if (seen.length === 7) break
      await harness.clock.advance(seen.length === 6 ? 1000 : 999)
      if (seen.length < 6) continue
      const other = harness.consumer({ groupId: 'g', enableAutoCommit: false })
      other.subscribe(['t'])
      await other.poll(NO_WAIT)
      await other.close()
    }
    expect(log).toEqual(['assigned t-0', 'lost t-0', 'assigned t-0'])
    // Nothing was committed in less than the interval, so everything is delivered again.
    expect(seen).toEqual([0, 1, 2, 3, 4, 5, 0])
  })

  it('rejects without a subscription', async () => {
    const consumer = new ConsumerHarness().consumer()
    await expect(take(consumer, 1)).rejects.toThrow(IllegalStateError)
  })

  it('allows polls in the body, whose records are delivered again when the loop is left', async () => {
    const consumer = start(filled(), { maxPollRecords: 2 })
    for await (const record of consumer) {
      if (record.offset !== 1) continue
      expect(offsets(await consumer.poll())).toEqual([2, 3])
      break
    }
    expect(offsets(await consumer.poll())).toEqual([1, 2])
  })
})

describe('an iterator', () => {
  it('gives its record back to a waiting poll at once when return is called', async () => {
    const harness = filled(1)
    const consumer = start(harness)
    const iterator = consumer[Symbol.asyncIterator]()
    expect((await iterator.next()).value).toMatchObject({ offset: 0 })
    const polled = watch(consumer.poll({ maxWaitMs: 60_000 }))
    await harness.clock.advance(0)
    await iterator.return?.()
    await harness.clock.advance(0)
    expect(offsets(polled.value ?? [])).toEqual([0])
    await consumer.close()
  })

  it('holds its record until next or return is called, whatever is polled meanwhile', async () => {
    const harness = filled(3)
    const consumer = start(harness, { autoCommitIntervalMs: 100 })
    const iterator = consumer[Symbol.asyncIterator]()
    expect((await iterator.next()).value).toMatchObject({ offset: 0 })
    expect(offsets(await consumer.poll(NO_WAIT))).toEqual([1, 2])
    await harness.clock.advance(100)
    await consumer.poll(NO_WAIT)
    await consumer.commit()
    expect(harness.committed()).toBe(0)
    await iterator.return?.()
    expect(offsets(await consumer.poll(NO_WAIT))).toEqual([0, 1, 2])
    await consumer.commit()
    expect(harness.committed()).toBe(3)
  })

  it('answers overlapping calls of next in order', async () => {
    const iterator = start(filled())[Symbol.asyncIterator]()
    const results = await Promise.all([iterator.next(), iterator.next(), iterator.next()])
    expect(results.map(({ value }) => (value as ConsumerRecord).offset)).toEqual([0, 1, 2])
  })

  it('stays done after return', async () => {
    const iterator = start(filled())[Symbol.asyncIterator]()
    await iterator.next()
    expect(await iterator.return?.()).toEqual({ done: true, value: undefined })
    expect(await iterator.next()).toEqual({ done: true, value: undefined })
    expect(await iterator.return?.()).toEqual({ done: true, value: undefined })
  })

  it('ends a waiting call of next when return is called, and leaves no timer', async () => {
    const harness = filled(0)
    const consumer = harness.consumer()
    consumer.assign([T0])
    const iterator = consumer[Symbol.asyncIterator]()
    const next = watch(iterator.next())
    await harness.clock.advance(10)
    await iterator.return?.()
    expect(next.value).toEqual({ done: true, value: undefined })
    expect(harness.clock.pendingTimers).toBe(0)
    harness.partition().append('a')
    expect(await consumer.poll(NO_WAIT)).toHaveLength(1)
  })

  it('gives back a record that arrives after return was called', async () => {
    const harness = filled()
    const openGate = harness.partition().closeGate()
    const consumer = start(harness)
    const iterator = consumer[Symbol.asyncIterator]()
    const next = watch(iterator.next())
    await harness.clock.advance(0)
    const returned = iterator.return?.()
    openGate()
    await returned
    await harness.clock.advance(0)
    expect(next.value).toEqual({ done: true, value: undefined })
    expect(offsets(await consumer.poll(NO_WAIT))[0]).toBe(0)
  })

  it.each(['the iteration', 'another iteration'])(
    'delivers every record once when a deserializer asks %s for the next one',
    async (which) => {
      // A concurrent poll makes the other call fail.
      withoutTurns()
      const harness = filled(6)
      const asked: Promise<IteratorResult<ConsumerRecord<string, string>>>[] = []
      let hasAsked = false
      const consumer = harness.consumer({
        groupId: 'g',
        valueDeserializer: {
          deserialize: (_topic: string, bytes: Buffer): string => {
            const value = bytes.toString()
            if (value === '2' && !hasAsked) {
              hasAsked = true
              asked.push((which === 'the iteration' ? iterator : other).next())
            }
            return value
          },
        },
      })
      consumer.subscribe(['t'])
      const iterator = consumer[Symbol.asyncIterator]()
      const other = consumer[Symbol.asyncIterator]()
      const next = async (): Promise<unknown> =>
        ((await iterator.next()).value as ConsumerRecord).offset
      expect([await next(), await next(), await next()]).toEqual([0, 1, 2])
      expect((await asked[0])?.value).toMatchObject({ offset: 3 })
      expect([await next(), await next()]).toEqual([4, 5])
    },
  )

  it.each<
    [string, (record: { -readonly [F in keyof ConsumerRecord<string, string>]: unknown }) => void]
  >([
    ['topic', (record) => (record.topic = 'other')],
    ['partition', (record) => (record.partition = 7)],
    ['offset', (record) => (record.offset = 9)],
    ['offset, as a text,', (record) => (record.offset = String(record.offset))],
  ])(
    'holds back its record from commits even if the loop changes its %s',
    async (_field, change) => {
      const harness = filled()
      const consumer = start(harness)
      const iterator = consumer[Symbol.asyncIterator]()
      for (let count = 0; count < 4; count += 1) {
        const next = (await iterator.next()) as {
          done: false
          value: ConsumerRecord<string, string>
        }
        change(next.value)
      }
      await consumer.commit()
      expect(harness.committed()).toBe(3)
      // A loop that was left has not consumed it.
      await iterator.return?.()
      expect(consumer.position(T0)).toBe(3)
    },
  )

  it('can be read as a stream, which ends when the consumer is closed', async () => {
    const harness = filled(3)
    const consumer = start(harness)
    const stream = Readable.from(consumer)
    const seen: number[] = []
    stream.on('data', (record: ConsumerRecord) => seen.push(record.offset))
    const ended = watch(new Promise((resolve) => stream.on('end', resolve)))
    await harness.clock.advance(10)
    expect(seen).toEqual([0, 1, 2])
    await consumer.close()
    await harness.clock.advance(0)
    expect(ended.isSettled).toBe(true)
  })

  it('leaves no timer behind when a stream over it is destroyed', async () => {
    const harness = filled(1)
    const consumer = harness.consumer()
    consumer.assign([T0])
    const stream = Readable.from(consumer)
    stream.resume()
    await harness.clock.advance(10)
    stream.destroy()
    await harness.clock.advance(0)
    expect(harness.clock.pendingTimers).toBe(0)
  })
})

it('an iteration after one that a deserializer has failed commits the records it has returned', async () => {
  const harness = new ConsumerHarness()
  harness.partition().append(...numbers(5))
  let failures = 1
  const consumer = harness.typedConsumer({
    groupId: 'g',
    enableAutoCommit: false,
    valueDeserializer: {
      deserialize: (_topic, bytes) => {
        failures -= 1
        if (failures >= 0) throw new Error('not yet')
        return bytes.toString()
      },
    },
  })
  consumer.assign([T0])
  await expect(consumer[Symbol.asyncIterator]().next()).rejects.toThrow(SerializationError)
  const records = consumer[Symbol.asyncIterator]()
  for (let each = 0; each < 3; each += 1) await records.next()
  await consumer.commit()
  expect(harness.committed()).toBe(2)
  await consumer.close()
})
