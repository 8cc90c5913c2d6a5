import { describe, expect, it, onTestFinished, vi } from 'vitest'
import {
  ClosedError,
  IllegalStateError,
  InvalidGroupIdError,
  ReadOnlyError,
  type Clock,
  type Consumer,
  type ConsumerOptions,
  type ConsumerRecord,
  type TopicPartition,
} from '../../lib/index.ts'
import { pushTo, type Push, type PushContext, type PushResult } from '../../lib/offline/index.ts'
import { promptIo } from '../../lib/platform/prompt-io.ts'
import type { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { tempBroker } from '../../lib/testing/temp-broker.ts'
import { committedOf, heldWrites, setUp, text, until } from './push-harness.ts'

describe('a push', () => {
  it('writes the records of each partition in order and commits what is acknowledged', async () => {
    const { clock, broker, consumer } = await setUp(3)
    const reader = consumer()
    const written: string[] = []
    const push = pushTo(reader, (record) => void written.push(text(record)), { clock })
    await until(clock, () => committedOf(broker).join() === '10,10,10')
    expect(await push.stop()).toEqual({ written: 30, failed: 0, retries: 0 })
    for (const partition of [0, 1, 2]) {
      const own = written.filter((value) => value.startsWith(`${partition}:`))
      expect(own).toEqual(Array.from({ length: 10 }, (_, at) => `${partition}:${at}`))
    }
    await broker.close()
  })

  it('keeps at most maxInFlight records in flight, pauses, and continues as the target acknowledges', async () => {
    const { clock, broker, consumer } = await setUp(2, 40)
    const reader = consumer({ maxPollRecords: 5 })
    const acknowledge: (() => void)[] = []
    let mostInFlight = 0
    const push = pushTo(
      reader,
      () =>
        new Promise<void>((resolve) => {
          acknowledge.push(resolve)
          mostInFlight = Math.max(mostInFlight, acknowledge.length)
        }),
      { clock, concurrency: 10, maxInFlight: 3, orderBy: 'key' },
    )
    await until(clock, () => acknowledge.length === 3)
    await clock.advance(5000)
    expect(acknowledge.length).toBe(3)
    expect(reader.paused()).toHaveLength(2)
    let done = 0
    for (let turn = 0; turn < 2000 && done < 80; turn += 1) {
      const next = acknowledge.shift()
      if (next === undefined) await clock.advance(10)
      else {
        next()
        done += 1
        await clock.advance(0)
      }
    }
    await until(clock, () => committedOf(broker).join() === '40,40')
    expect(mostInFlight).toBe(3)
    await push.stop()
    expect(reader.paused()).toEqual([])
    await broker.close()
  })

  it('commits only up to the first record that is not acknowledged', async () => {
    const { clock, broker, consumer } = await setUp(1, 6)
    const reader = consumer()
    const release: (() => void)[] = []
    const push = pushTo(
      reader,
      (record) =>
        record.offset === 1 ? new Promise<void>((resolve) => release.push(resolve)) : undefined,
      { clock, orderBy: 'key', concurrency: 3 },
    )
    await until(clock, () => release.length === 1 && committedOf(broker).join() === '1')
    await clock.advance(1000)
    expect(committedOf(broker)).toEqual([1])
    release[0]?.()
    await until(clock, () => committedOf(broker).join() === '6')
    await push.stop()
    await broker.close()
  })

  it('does not move back an offset that somebody else committed in the meantime', async () => {
    const { clock, broker, consumer } = await setUp(1, 6)
    const reader = consumer()
    const release: (() => void)[] = []
    const write = (): Promise<void> => new Promise((resolve) => void release.push(resolve))
    const push = pushTo(reader, write, { clock })
    await until(clock, () => release.length === 1)
    await reader.commit([{ topic: 't', partition: 0, offset: 5 }])
    release[0]?.()
    await until(clock, () => release.length === 2)
    expect(committedOf(broker)).toEqual([5])
    const stopped = push.stop()
    release[1]?.()
    await stopped
    expect(committedOf(broker)).toEqual([5])
    await broker.close()
  })

  it('passes up to batchRecords records of one partition to a write', async () => {
    const { clock, broker, consumer } = await setUp(2, 10)
    const batches: string[][] = []
    const write = (records: readonly ConsumerRecord[]): void => void batches.push(records.map(text))
    const push = pushTo(consumer(), write, { clock, batchRecords: 4 })
    await until(clock, () => committedOf(broker).join() === '10,10')
    await push.stop()
    expect(batches.every((batch) => batch.length <= 4)).toBe(true)
    expect(batches.some((batch) => batch.length === 4)).toBe(true)
    expect(batches.every((batch) => new Set(batch.map((each) => each[0])).size === 1)).toBe(true)
    await broker.close()
  })

  it('passes no more records to a write than maxInFlight leaves room for', async () => {
    const { clock, broker, consumer } = await setUp(2, 10)
    const sizes: number[] = []
    const release: (() => void)[] = []
    const write = (records: readonly ConsumerRecord[]): Promise<void> => {
      sizes.push(records.length)
      return new Promise((resolve) => void release.push(resolve))
    }
    const push = pushTo(consumer(), write, { clock, batchRecords: 3, maxInFlight: 5 })
    await until(clock, () => sizes.length === 2)
    await clock.advance(1000)
    expect(sizes).toEqual([3, 2])
    release[0]?.()
    await until(clock, () => sizes.length === 3)
    expect(sizes).toEqual([3, 2, 3])
    const stopped = push.stop()
    for (const each of release) each()
    await stopped
    await broker.close()
  })

  it('retries a write after delays that double, and then rejects with the error', async () => {
    const { clock, broker, consumer } = await setUp(1, 3)
    const reader = consumer()
    const times: number[] = []
    const failure = new Error('no room')
    const push = pushTo(
      reader,
      (record, { attempt }) => {
        if (record.offset === 0) return
        times.push(clock.monotonic())
        expect(attempt).toBe(times.length)
        throw failure
      },
      { clock, retries: 3, retryBackoffMs: 100 },
    )
    const ended = expect(push).rejects.toBe(failure)
    await until(clock, () => times.length === 4)
    await ended
    const [first = 0] = times
    expect(times.map((time) => time - first)).toEqual([0, 100, 300, 700])
    expect(committedOf(broker)).toEqual([1])
    expect(reader.position({ topic: 't', partition: 0 })).toBe(1)
    await broker.close()
  })

  it.each([
    ['as said', { retries: 4, retryBackoffMs: 10_000 }, [0, 10_000, 30_000, 60_000, 90_000]],
    ['as nobody says', {}, [0, 100, 300, 700]],
  ])(
    'waits 100 ms before the first retry by default, and at most 30 s before any: %s',
    async (_, options, expected) => {
      const { clock, broker, consumer } = await setUp(1, 1)
      const times: number[] = []
      const failure = new Error('no room')
      const write = (): void => {
        times.push(clock.monotonic())
        throw failure
      }
      const ended = expect(pushTo(consumer(), write, { ...options, clock })).rejects.toBe(failure)
      for (let turn = 0; turn < 100; turn += 1) await clock.advance(1000)
      const [first = 0] = times
      expect(times.map((time) => time - first)).toEqual(expected)
      await ended
      await broker.close()
    },
  )

  it('waits 0 ms before any retry if retryBackoffMs is 0, after more than 1,024 attempts too', async () => {
    const { clock, broker, consumer } = await setUp(1, 1)
    const delays: number[] = []
    const watched: Clock = {
      now: () => clock.now(),
      monotonic: () => clock.monotonic(),
      startTimer: (callback, delayMs) => {
        delays.push(delayMs)
        return clock.startTimer(callback, delayMs)
      },
    }
    let attempts = 0
    const write = (): void => {
      attempts += 1
      throw new Error('no room')
    }
    const options = { clock: watched, retries: 1100, retryBackoffMs: 0 }
    const ended = expect(pushTo(consumer(), write, options)).rejects.toThrow('no room')
    while (attempts <= 1100) await clock.advance(0)
    await ended
    expect(delays.length).toBeGreaterThanOrEqual(1100)
    expect(delays.filter((each) => each !== 0)).toEqual([])
    await broker.close()
  })

  it.each([
    [undefined, undefined, 'the write of t-0@1 threw undefined'],
    ['no room', undefined, 'the write of t-0@1 threw "no room"'],
    [null, 3, 'the write of 3 records from t-0@1 on threw null'],
  ])(
    'rejects with an error that names the records if a write throws a value that is none: %s',
    async (thrown, batchRecords, message) => {
      const { clock, broker, topic, consumer } = await setUp(1, 4)
      await topic.partition(0).deleteRecords(1)
      const write = (): void => {
        // eslint-disable-next-line @typescript-eslint/only-throw-error -- this is what is tested
        throw thrown
      }
      const push =
        batchRecords === undefined
          ? pushTo(consumer(), write, { clock, retries: 0 })
          : pushTo(consumer(), write, { clock, retries: 0, batchRecords })
      const ended = push.catch((error: unknown) => error)
      await clock.advance(1000)
      const error = await ended
      expect(error).toBeInstanceOf(Error)
      expect(error).toMatchObject({ message, cause: thrown })
      await broker.close()
    },
  )

  it('rejects with the error of a write even if it is that of another, closed client', async () => {
    const { clock, broker, consumer } = await setUp(1, 4)
    const producer = broker.producer()
    await producer.close()
    const push = pushTo(consumer(), () => producer.send({ topic: 't', value: 'x' }), {
      clock,
      retries: 0,
    })
    const ended = expect(push).rejects.toThrow(ClosedError)
    await clock.advance(1000)
    await ended
    await broker.close()
  })

  it('passes writes a signal to which any number of them may listen', async () => {
    const { clock, broker, consumer } = await setUp(1, 40)
    const warnings: unknown[] = []
    vi.spyOn(process, 'emitWarning').mockImplementation((warning) => void warnings.push(warning))
    onTestFinished(() => void vi.restoreAllMocks())
    let running = 0
    const write = async (_record: ConsumerRecord, { signal }: PushContext): Promise<void> => {
      running += 1
      await new Promise<void>((resolve) => {
        signal.addEventListener('abort', () => {
          resolve()
        })
        clock.startTimer(resolve, 50)
      })
    }
    const records = Array.from({ length: 40 }, (_, at) => ({ key: `other ${at}`, value: 'x' }))
    await broker.topic('t').partition(0).append(records)
    const push = pushTo(consumer(), write, { clock, orderBy: 'key', concurrency: 30 })
    await until(clock, () => running >= 30)
    await clock.advance(0)
    const stopped = push.stop()
    await clock.advance(1000)
    await stopped
    expect(warnings).toEqual([])
    await broker.close()
  })

  it('skips records that cannot be written, or passes them to onError, whose error ends the push', async () => {
    const { clock, broker, consumer } = await setUp(1, 4)
    const fail = (record: ConsumerRecord): void => {
      if (record.offset % 2 === 1) throw new Error(`not ${record.offset}`)
    }
    const first = pushTo(consumer(), fail, { clock, retries: 0, onError: 'skip' })
    await until(clock, () => committedOf(broker).join() === '4')
    expect(await first.stop()).toEqual({ written: 2, failed: 2, retries: 0 })
    const dead: string[] = []
    const other = consumer({ groupId: 'a' })
    const second = pushTo(other, fail, {
      clock,
      retries: 1,
      onError: (error, records) => {
        dead.push(`${(error as Error).message}: ${records.map(text).join()}`)
      },
    })
    await until(clock, () => committedOf(broker).join() === '4')
    await until(clock, () => dead.length === 2)
    expect(dead).toEqual(['not 1: 0:1', 'not 3: 0:3'])
    expect(await second.stop()).toMatchObject({ failed: 2, retries: 2 })
    const third = pushTo(consumer({ groupId: 'b' }), fail, {
      clock,
      retries: 0,
      onError: () => Promise.reject(new Error('nor there')),
    })
    const ended = expect(third).rejects.toThrow('nor there')
    await clock.advance(100)
    await ended
    await broker.close()
  })

  it('rejects with the abort reason once its writes have ended', async () => {
    const { clock, broker, consumer } = await setUp(1, 4)
    const reader = consumer()
    const abort = new AbortController()
    const reason = new Error('shutting down')
    let isWriting = false
    let ended = 0
    const push = pushTo(
      reader,
      (_record, { signal }) => {
        isWriting = true
        return new Promise<void>((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            ended += 1
            reject(new Error('interrupted'))
          })
        })
      },
      { clock, signal: abort.signal },
    )
    const rejected = expect(push).rejects.toBe(reason)
    await until(clock, () => isWriting)
    abort.abort(reason)
    await rejected
    expect(ended).toBe(1)
    expect(reader.position({ topic: 't', partition: 0 })).toBe(0)
    const again = pushTo(reader, () => undefined, { clock, signal: abort.signal })
    await expect(again).rejects.toBe(reason)
    await broker.close()
  })

  it('ends when the consumer is closed, and unacknowledged records are delivered again', async () => {
    const { clock, broker, consumer } = await setUp(1, 5)
    const reader = consumer()
    let release = (): void => undefined
    const push = pushTo(
      reader,
      (record) =>
        record.offset < 2 ? undefined : new Promise<void>((resolve) => (release = resolve)),
      { clock },
    )
    await until(clock, () => committedOf(broker).join() === '2')
    await reader.close()
    release()
    expect(await push).toMatchObject({ written: 3 })
    const seen: number[] = []
    const next = pushTo(consumer(), ({ offset }) => void seen.push(offset), { clock })
    await until(clock, () => seen.length === 3)
    await next.stop()
    expect(seen).toEqual([2, 3, 4])
    await broker.close()
  })

  it.each([1, 1000])(
    'writes what precedes a record that cannot be deserialized, and then ends there: maxInFlight %i',
    async (maxInFlight) => {
      const { clock, broker, topic } = await setUp(2, 6)
      await topic.partition(0).append([{ value: 'not JSON' }, { value: '0:7' }])
      const deserialize = (_topic: string, value: Buffer): string => {
        if (String(value) === 'not JSON') throw new Error('not JSON')
        return String(value)
      }
      const valueDeserializer = { deserialize }
      const options = { groupId: 'g', enableAutoCommit: false, maxPollRecords: 4 }
      const reader = broker.consumer({ ...options, valueDeserializer })
      reader.subscribe(['t'])
      const written: string[] = []
      const write = async ({ value }: { readonly value: string | null }): Promise<void> => {
        await new Promise<void>((resolve) => clock.startTimer(resolve, 100))
        written.push(String(value))
      }
      const onError = vi.fn()
      const push = pushTo(reader, write, { clock, maxInFlight, onError })
      const ended = push.catch((error: unknown) => error)
      await clock.advance(10_000)
      const place = { topic: 't', partition: 0 }
      expect(await ended).toMatchObject({ code: 'SERIALIZATION_ERROR', ...place, offset: 6 })
      expect(onError).not.toHaveBeenCalled()
      expect(reader.paused()).toEqual([])
      // As the error advises. Nothing before it is left out.
      expect(reader.position(place)).toBe(6)
      reader.seek(place, 7)
      const next = pushTo(reader, write, { clock })
      await until(clock, () => written.length === 13)
      await next.stop()
      expect(new Set(written).size).toBe(13)
      await broker.close()
    },
  )

  it('does not deserialize an unreadable record again and again while the writes before it take long', async () => {
    const { clock, broker, topic } = await setUp(1, 3)
    await topic.partition(0).append({ value: 'not JSON' })
    let refused = 0
    const deserialize = (_topic: string, value: Buffer): string => {
      if (String(value) !== 'not JSON') return String(value)
      refused += 1
      throw new Error('not JSON')
    }
    const settings = { groupId: 'g', enableAutoCommit: false, valueDeserializer: { deserialize } }
    const reader = broker.consumer(settings)
    reader.subscribe(['t'])
    const slow = (): Promise<void> => new Promise((resolve) => clock.startTimer(resolve, 10_000))
    const ended = pushTo(reader, slow, { clock }).catch((error: unknown) => error)
    await clock.advance(60_000)
    expect(await ended).toMatchObject({ code: 'SERIALIZATION_ERROR', offset: 3 })
    expect(refused).toBeLessThan(5)
    await broker.close()
  })

  it('repeats no record in a rebalance that drains it', async () => {
    const { clock, broker, consumer } = await setUp(2, 30)
    const written: string[] = []
    const write = async (record: ConsumerRecord): Promise<void> => {
      await new Promise<void>((resolve) => clock.startTimer(resolve, 30))
      written.push(text(record))
    }
    let push: Push | null = null
    const first = broker.consumer({ groupId: 'g', enableAutoCommit: false })
    first.subscribe(['t'], { onPartitionsRevoked: (partitions) => push?.drain(partitions) })
    push = pushTo(first, write, { clock })
    await until(clock, () => written.length > 5)
    const second = pushTo(consumer(), write, { clock })
    await until(clock, () => committedOf(broker).join() === '30,30')
    await push.stop()
    await second.stop()
    expect(written.length).toBe(60)
    expect(new Set(written).size).toBe(60)
    await broker.close()
  })

  it('repeats no record when it is drained, ordered by key', async () => {
    const { clock, broker, consumer } = await setUp(1, 12)
    const written: number[] = []
    let release = (): void => undefined
    const push = pushTo(
      consumer({ maxPollRecords: 8 }),
      async ({ offset }) => {
        if (offset === 0) await new Promise<void>((resolve) => (release = resolve))
        written.push(offset)
      },
      { clock, orderBy: 'key', concurrency: 2, maxInFlight: 8 },
    )
    // Records that wait for the first of their key precede others that are written.
    await until(clock, () => written.length === 5)
    const draining = push.drain([{ topic: 't', partition: 0 }])
    release()
    await draining
    expect(written.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
    expect(committedOf(broker)).toEqual([8])
    await until(clock, () => written.length === 12)
    expect(new Set(written).size).toBe(12)
    await push.stop()
    await broker.close()
  })

  it('repeats no record when its consumer is closed, ordered by key', async () => {
    const { clock, broker } = await setUp(1, 12)
    const written: number[] = []
    let release = (): void => undefined
    let push: Push | null = null
    const reader = broker.consumer({ groupId: 'g', enableAutoCommit: false, maxPollRecords: 8 })
    reader.subscribe(['t'], { onPartitionsRevoked: (partitions) => push?.drain(partitions) })
    push = pushTo(
      reader,
      async ({ offset }) => {
        if (offset === 0) await new Promise<void>((resolve) => (release = resolve))
        written.push(offset)
      },
      { clock, orderBy: 'key', concurrency: 2, maxInFlight: 8 },
    )
    await until(clock, () => written.length === 5)
    const closing = reader.close()
    await clock.advance(100)
    release()
    await closing
    expect(written.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
    expect(committedOf(broker)).toEqual([8])
    expect(await push).toMatchObject({ written: 8 })
    await broker.close()
  })

  it('drains a partition even if writes of other partitions never end', async () => {
    const { clock, broker, consumer } = await setUp(2, 6)
    const written: string[] = []
    const ofFirst = (): string[] => written.filter((each) => each.startsWith('0:'))
    let release = (): void => undefined
    const push = pushTo(
      consumer(),
      async (record) => {
        if (text(record) === '0:0') await new Promise<void>((resolve) => (release = resolve))
        if (record.partition === 1 && ofFirst().length >= 4) await new Promise(() => undefined)
        written.push(text(record))
      },
      { clock, orderBy: 'key', concurrency: 2, maxInFlight: 100 },
    )
    // Only the first record, and those that wait for it, are left of partition 0.
    await until(clock, () => ofFirst().length === 4)
    let isDrained = false
    void push.drain([{ topic: 't', partition: 0 }]).then(() => (isDrained = true))
    await clock.advance(100)
    release()
    await until(clock, () => isDrained)
    expect(ofFirst()).toHaveLength(6)
    void push.stop()
    void broker.close({ timeoutMs: 0 })
  })

  it('is at most maxInFlight and two polls ahead of its commits if these are slow', async () => {
    const { clock, broker, consumer } = await setUp(1, 300)
    const reader = consumer({ maxPollRecords: 20 })
    const commit = reader.commit.bind(reader)
    vi.spyOn(reader, 'commit').mockImplementation(async (...args) => {
      await new Promise<void>((resolve) => void clock.startTimer(resolve, 50))
      await commit(...args)
    })
    let most = 0
    const push = pushTo(
      reader,
      ({ offset }) => {
        most = Math.max(most, offset + 1 - (committedOf(broker)[0] ?? 0))
      },
      { clock, maxInFlight: 3 },
    )
    await until(clock, () => committedOf(broker).join() === '300')
    await push.stop()
    expect(most).toBeGreaterThan(3)
    expect(most).toBeLessThanOrEqual(3 + 2 * 20)
    await broker.close()
  })

  it('writes each record once if its partitions are drained by separate calls', async () => {
    const { clock, broker, topic, consumer } = await setUp(2, 0)
    const written: string[] = []
    const started: string[] = []
    const held = new Map<string, () => void>()
    const put = (partition: number, ...keys: string[]): Promise<unknown> =>
      topic
        .partition(partition)
        .append(keys.map((key, at) => ({ key, value: `${partition}:${at}` })))
    await put(1, 'a', 'a', 'b')
    const push = pushTo(
      consumer(),
      async (record) => {
        started.push(text(record))
        if (record.partition === 0 || text(record) === '1:0') {
          await new Promise<void>((resolve) => held.set(text(record), resolve))
        }
        written.push(text(record))
      },
      { clock, orderBy: 'key', concurrency: 2 },
    )
    await until(clock, () => written.includes('1:2'))
    await put(0, 'c', 'd')
    await until(clock, () => held.has('0:0'))
    // Its slot goes to the record that has waited longer than the next one of its key.
    held.get('1:0')?.()
    await until(clock, () => held.has('0:1'))
    const drains = Promise.all([0, 1].map((partition) => push.drain([{ topic: 't', partition }])))
    await clock.advance(100)
    for (const value of ['0:0', '0:1']) held.get(value)?.()
    await drains
    expect(committedOf(broker)).toEqual([2, 3])
    await push.stop()
    expect(started.toSorted()).toEqual(['0:0', '0:1', '1:0', '1:1', '1:2'])
    await broker.close()
  })

  it('counts the records written after an unacknowledged one towards maxInFlight', async () => {
    const { clock, broker, consumer } = await setUp(1, 300)
    const written: number[] = []
    let release = (): void => undefined
    const push = pushTo(
      consumer(),
      async ({ offset }) => {
        if (offset === 0) await new Promise<void>((resolve) => (release = resolve))
        written.push(offset)
      },
      { clock, orderBy: 'key', maxInFlight: 20 },
    )
    // Two of three keys continue. The record that is being written counts as well.
    await until(clock, () => written.length === 19)
    await clock.advance(2000)
    expect(written.length).toBe(19)
    expect(committedOf(broker)).toEqual([0])
    release()
    await until(clock, () => committedOf(broker).join() === '300')
    expect(new Set(written).size).toBe(300)
    await push.stop()
    await broker.close()
  })

  it('writes no more than maxInFlight behind an unacknowledged record, even before a record written early', async () => {
    const { clock, broker, topic, consumer } = await setUp(1, 0)
    const keys = ['a', ...Array<string>(498).fill('b'), 'c']
    await topic.partition(0).append(keys.map((key) => ({ key, value: key })))
    const { started, release, write } = heldWrites()
    const options = { clock, orderBy: 'key', maxInFlight: 3 } as const
    const push = pushTo(consumer(), write, options)
    await until(clock, () => started.length === 3)
    for (const offset of [499, 1]) await release(clock, offset)
    await clock.advance(2000)
    expect(started).toEqual([0, 1, 499])
    await release(clock, 0)
    for (let offset = 2; offset < 499; offset += 1) await release(clock, offset)
    await until(clock, () => committedOf(broker).join() === '500')
    expect(started).toEqual([0, 1, 499, ...Array.from({ length: 497 }, (_, at) => at + 2)])
    await push.stop()
    await broker.close()
  })

  it.each(Array.from({ length: 20 }, (_, at) => at + 1))(
    'writes everything without exceeding maxInFlight, whichever writes end first, seed %i',
    async (seed) => {
      const random = new SeededRandom(seed)
      const partitions = 1 + random.integer(4)
      const { clock, broker, topic, consumer } = await setUp(partitions, 0)
      const counts = topic.partitions.map(() => 1 + random.integer(60))
      const total = counts.reduce((sum, count) => sum + count, 0)
      for (const [at, count] of counts.entries()) {
        const keys = Array.from({ length: count }, () => `k${random.integer(6)}`)
        await topic.partition(at).append(keys.map((key) => ({ key, value: 'v' })))
      }
      const started = new Set<string>()
      const done = counts.map(() => new Set<number>())
      /** Records of which a write has been started, and which no commit can cover. */
      const uncommittable = (): number => {
        const ready = done.map((offsets) => {
          let end = 0
          while (offsets.has(end)) end += 1
          return end
        })
        return started.size - ready.reduce((sum, end) => sum + end, 0)
      }
      const held: (() => void)[] = []
      // A record that fails during a drain is repeated, with those after it.
      const drains = seed % 2 === 0
      const drained: Promise<void>[] = []
      let most = 0
      const write = async (
        records: readonly ConsumerRecord[],
        { attempt }: PushContext,
      ): Promise<void> => {
        for (const { partition, offset } of records) started.add(`${partition}:${offset}`)
        most = Math.max(most, uncommittable())
        await new Promise<void>((resolve, reject) => {
          const fails = !drains && attempt === 1 && random.integer(4) === 0
          held.push(
            fails
              ? () => {
                  reject(new Error('now and then'))
                }
              : resolve,
          )
        })
        for (const { partition, offset } of records) done[partition]?.add(offset)
      }
      const maxInFlight = 1 + random.integer(8)
      const reader = consumer({ maxPollRecords: 1 + random.integer(40) })
      const push = pushTo(reader, write, {
        clock,
        orderBy: 'key',
        concurrency: 1 + random.integer(8),
        maxInFlight,
        batchRecords: 1 + random.integer(4),
        retryBackoffMs: random.integer(200),
      })
      for (let step = 0; step < 3000 && committedOf(broker).join() !== counts.join(); step += 1) {
        const slot = random.integer(3) === 0 ? random.integer(held.length + 1) : held.length - 1
        held.splice(slot, 1)[0]?.()
        await clock.advance(held.length === 0 ? 20 : random.integer(3))
        if (!drains || random.integer(20) > 0) continue
        drained.push(push.drain([{ topic: 't', partition: random.integer(partitions) }]))
      }
      await Promise.all(drained)
      expect(committedOf(broker)).toEqual(counts)
      expect(most).toBeLessThanOrEqual(maxInFlight)
      expect(await push.stop()).toMatchObject({ written: total, failed: 0 })
      await broker.close()
    },
  )

  it.each(['stopped', 'drained'])(
    'does not exceed maxInFlight either while it writes what it owes when it is %s',
    async (how) => {
      const { clock, broker, topic, consumer } = await setUp(1, 0)
      const keys = ['a', ...Array<string>(5).fill('b'), 'c', ...Array<string>(3).fill('a')]
      await topic.partition(0).append(keys.map((key) => ({ key, value: key })))
      const { started, release, write } = heldWrites()
      const reader = consumer()
      const push = pushTo(reader, write, { clock, orderBy: 'key', maxInFlight: 3 })
      await until(clock, () => started.length === 3)
      for (const offset of [1, 6]) await release(clock, offset)
      const ended = how === 'stopped' ? push.stop() : push.drain(reader.assignment())
      await clock.advance(2000)
      expect(started).toEqual([0, 1, 6])
      // What precedes record 6 is still written.
      for (const offset of [0, 2, 3, 4, 5]) await release(clock, offset)
      await ended
      expect(committedOf(broker)).toEqual([7])
      expect(started.slice(0, 7)).toEqual([0, 1, 6, 2, 3, 4, 5])
      const stopped = push.stop()
      // After the drain, the push has gone on.
      await release(clock, 7)
      await stopped
      await broker.close()
    },
  )

  it('does not wait for the next retry when it is stopped or its consumer is closed', async () => {
    const { clock, broker, consumer } = await setUp(1, 5)
    let tries = 0
    const write = (): void => {
      tries += 1
      throw new Error('the target is away')
    }
    const options = { clock, retries: 9, retryBackoffMs: 10_000 }
    const reader = consumer()
    const push = pushTo(reader, write, options)
    await until(clock, () => tries === 1)
    const results: PushResult[] = []
    void push.stop().then((result) => results.push(result))
    await until(clock, () => results.length === 1)
    const other = pushTo(reader, write, options)
    await until(clock, () => tries === 2)
    void other.then((result) => results.push(result))
    void reader.close()
    await until(clock, () => results.length === 2)
    expect(results).toEqual(Array(2).fill({ written: 0, failed: 0, retries: 0 }))
    expect(committedOf(broker)).toEqual([0])
    await broker.close()
    expect([tries, clock.pendingTimers]).toEqual([2, 0])
  })

  /** Each write of offset 0 fails before the attempt `succeedsAt`, and each of the others succeeds. */
  function firstFails(succeedsAt: number) {
    const attempts: number[] = []
    const written: number[] = []
    const write = ({ offset }: ConsumerRecord, { attempt }: PushContext): void => {
      if (offset === 0) attempts.push(attempt)
      if (offset === 0 && attempt < succeedsAt) throw new Error('the target was away')
      written.push(offset)
    }
    const options = { orderBy: 'key', retries: 9, retryBackoffMs: 30_000 } as const
    return { attempts, written, write, options }
  }

  it.each(['stopped', 'stopped and drained', 'drained because its consumer is closed'])(
    'tries a record that waits for its retry once more at once when it is %s, and repeats none',
    async (how) => {
      const { clock, broker, consumer } = await setUp(1, 12)
      const { attempts, written, write, options } = firstFails(2)
      let push: Push | null = null
      const reader = consumer()
      reader.subscribe(['t'], {
        onPartitionsRevoked: (partitions) =>
          how.startsWith('drained') ? push?.drain(partitions) : undefined,
      })
      push = pushTo(reader, write, { ...options, clock, concurrency: 2 })
      // 0 waits, as do the others with its key.
      await until(clock, () => written.length === 8)
      const startedMs = clock.monotonic()
      const results: PushResult[] = []
      void push.then((result) => results.push(result))
      if (how.startsWith('stopped')) void push.stop()
      if (how === 'stopped and drained') void push.drain(reader.assignment())
      if (how.startsWith('drained')) void reader.close()
      await until(clock, () => results.length === 1)
      expect(clock.monotonic() - startedMs).toBeLessThan(1000)
      expect(attempts).toEqual([1, 2])
      // The last record has the key of 0 and no record after it.
      expect(written.slice(8)).toEqual([0, 3, 6, 9])
      expect(results).toEqual([{ written: 12, failed: 0, retries: 1 }])
      expect(committedOf(broker)).toEqual([12])
      await broker.close()
      expect(clock.pendingTimers).toBe(0)
    },
  )

  it('tries a batch once more when it is stopped, if records between those of its key are written', async () => {
    // 3 has the key of 0, and nothing follows it.
    const { clock, broker, consumer } = await setUp(1, 4)
    const written: number[] = []
    const write = (records: readonly ConsumerRecord[], { attempt }: PushContext): void => {
      const offsets = records.map(({ offset }) => offset)
      if (offsets.includes(0) && attempt === 1) throw new Error('the target was away')
      written.push(...offsets)
    }
    const options = { clock, orderBy: 'key', batchRecords: 2, retryBackoffMs: 30_000 } as const
    const push = pushTo(consumer(), write, options)
    await until(clock, () => written.length === 2)
    expect(written).toEqual([1, 2])
    expect(await push.stop()).toEqual({ written: 4, failed: 0, retries: 1 })
    expect(written).toEqual([1, 2, 0, 3])
    expect(committedOf(broker)).toEqual([4])
    await broker.close()
  })

  it('ends when it is stopped if a record that waits for its retry fails once more', async () => {
    const { clock, broker, consumer } = await setUp(1, 12)
    const { attempts, written, write, options } = firstFails(3)
    const push = pushTo(consumer(), write, { ...options, clock, concurrency: 2 })
    await until(clock, () => written.length === 8)
    const results: PushResult[] = []
    void push.stop().then((result) => results.push(result))
    await until(clock, () => results.length === 1)
    expect(attempts).toEqual([1, 2])
    expect(results).toEqual([{ written: 8, failed: 0, retries: 1 }])
    expect(committedOf(broker)).toEqual([0])
    await broker.close()
    expect(clock.pendingTimers).toBe(0)
  })

  it('tries no record once more when it is stopped if only records that wait for a retry follow it', async () => {
    const { clock, broker, consumer } = await setUp(1, 9)
    const tried: number[] = []
    const write = ({ offset }: ConsumerRecord): void => {
      tried.push(offset)
      if (offset > 0) throw new Error('the target is away')
    }
    const options = { clock, orderBy: 'key', concurrency: 3, retryBackoffMs: 30_000 } as const
    const push = pushTo(consumer(), write, options)
    // 3 has the key of 0.
    await until(clock, () => tried.length === 4)
    await push.stop()
    expect(tried).toEqual([0, 1, 2, 3])
    expect(committedOf(broker)).toEqual([1])
    await broker.close()
  })

  it.each(['aborted', 'ended by the close of its consumer', 'ended by a failed commit'])(
    'tries no record once more when it is %s',
    async (how) => {
      const { clock, broker, consumer, topic } = await setUp(1, 12)
      const { attempts, written, write, options } = firstFails(2)
      const abort = new AbortController()
      const reader = consumer()
      const { signal } = abort
      const push = pushTo(reader, write, { ...options, clock, concurrency: 2, signal })
      const ended = push.then(
        () => 'resolved',
        (error: unknown) => error,
      )
      await until(clock, () => written.length === 8)
      const error = new Error('enough')
      if (how === 'aborted') abort.abort(error)
      else if (how.includes('close')) await reader.close()
      else {
        vi.spyOn(reader, 'committed').mockRejectedValueOnce(error)
        await topic.partition(0).append({ key: 'other', value: '0:12' })
      }
      await clock.advance(1000)
      expect(await ended).toEqual(how.includes('close') ? 'resolved' : error)
      expect(attempts).toEqual([1])
      await broker.close()
    },
  )

  it('still writes the records before the last one started when it is stopped, and none after it', async () => {
    const { clock, broker, consumer } = await setUp(1, 9)
    const { started, release, write } = heldWrites()
    const push = pushTo(consumer(), write, { clock, orderBy: 'key', concurrency: 2 })
    await until(clock, () => started.length === 2)
    for (const offset of [1, 2]) await release(clock, offset)
    // 3 waits for 0, which has its key, and 4 for none of them.
    expect(started).toEqual([0, 1, 2, 4])
    const draining = push.drain([{ topic: 't', partition: 0 }])
    const stopped = push.stop()
    for (const offset of [0, 4]) await release(clock, offset)
    expect(started).toEqual([0, 1, 2, 4, 3])
    await release(clock, 3)
    await Promise.all([draining, stopped])
    expect(committedOf(broker)).toEqual([5])
    await broker.close()
  })

  it.each(['stopped', 'stopped and drained'])(
    'repeats no record when it is %s, ordered by key',
    async (how) => {
      const { clock, broker, consumer } = await setUp(1, 60)
      const written: number[] = []
      const write = async ({ offset }: ConsumerRecord): Promise<void> => {
        const delayMs = offset % 3 === 0 ? 50 : 1
        await new Promise<void>((resolve) => clock.startTimer(resolve, delayMs))
        written.push(offset)
      }
      const options = { clock, orderBy: 'key', concurrency: 3, maxInFlight: 10 } as const
      const reader = consumer()
      const push = pushTo(reader, write, options)
      await until(clock, () => written.length > 12)
      const ended: unknown[] = []
      void push.stop().then((result) => ended.push(result))
      if (how !== 'stopped') void push.drain(reader.assignment())
      await until(clock, () => ended.length === 1)
      expect(written.length).toBeLessThan(60)
      expect(committedOf(broker)).toEqual([written.length])
      const next = pushTo(reader, write, options)
      await until(clock, () => written.length === 60)
      await next.stop()
      expect(new Set(written).size).toBe(60)
      await broker.close()
    },
  )

  it.each(['stopped', 'stopped and drained'])(
    'starts no write after a failed record when it is %s, and commits the records before that one',
    async (how) => {
      const { clock, broker, consumer } = await setUp(1, 12)
      const { started, release, write } = heldWrites()
      const reader = consumer()
      const push = pushTo(reader, write, { clock, orderBy: 'key', concurrency: 3 })
      await until(clock, () => started.length === 3)
      for (const offset of [2, 5, 8]) await release(clock, offset)
      // 3 waits for 0, and 4 and 7 for 1.
      expect(started).toEqual([0, 1, 2, 5, 8, 11])
      const stopped = push.stop()
      if (how !== 'stopped') void push.drain(reader.assignment())
      await release(clock, 1, new Error('the target is away'))
      for (const offset of [11, 0]) await release(clock, offset)
      expect(await stopped).toEqual({ written: 5, failed: 0, retries: 0 })
      expect(started).toEqual([0, 1, 2, 5, 8, 11])
      expect(committedOf(broker)).toEqual([1])
      await broker.close()
    },
  )

  it('starts no more writes once it is aborted, even while it is being stopped', async () => {
    const { clock, broker, consumer } = await setUp(1, 9)
    const { started, release, write } = heldWrites()
    const abort = new AbortController()
    const options = { clock, orderBy: 'key', concurrency: 2, signal: abort.signal } as const
    const push = pushTo(consumer(), write, options)
    const ended = expect(push).rejects.toThrow('enough')
    await until(clock, () => started.length === 2)
    for (const offset of [1, 2]) await release(clock, offset)
    void push.stop().catch(() => undefined)
    abort.abort(new Error('enough'))
    for (const offset of [0, 4]) await release(clock, offset)
    await ended
    expect(started).toEqual([0, 1, 2, 4])
    expect(committedOf(broker)).toEqual([3])
    await broker.close()
  })

  it('starts no more writes if its consumer is closed while it is being stopped', async () => {
    const { clock, broker, consumer } = await setUp(1, 9)
    const { started, release, write } = heldWrites()
    const reader = consumer()
    const push = pushTo(reader, write, { clock, orderBy: 'key', concurrency: 2 })
    await until(clock, () => started.length === 2)
    for (const offset of [1, 2]) await release(clock, offset)
    const stopped = push.stop()
    await reader.close()
    for (const offset of [0, 4]) await release(clock, offset)
    await stopped
    expect(started).toEqual([0, 1, 2, 4])
    await broker.close()
  })

  it('continues after the drained records if it keeps the partition, and repeats none', async () => {
    const { clock, broker, consumer } = await setUp(1, 30)
    const written: string[] = []
    const write = async (record: ConsumerRecord): Promise<void> => {
      await new Promise<void>((resolve) => clock.startTimer(resolve, 30))
      written.push(text(record))
    }
    const push = pushTo(consumer(), write, { clock })
    await until(clock, () => written.length > 5)
    const draining = push.drain([{ topic: 't', partition: 0 }])
    // Records appended meanwhile are not delivered either.
    await broker.topic('t').partition(0).append({ value: '0:30' })
    await until(clock, () => committedOf(broker).join() === '31')
    await draining
    await push.stop()
    expect(written).toEqual(Array.from({ length: 31 }, (_, at) => `0:${at}`))
    await broker.close()
  })

  it('commits nothing unwritten if a drain ends while a poll returns a record', async () => {
    for (let steps = 0; steps <= 20; steps += 1) {
      const { clock, broker, topic, consumer } = await setUp(2, 0)
      const written: string[] = []
      let release = (): void => undefined
      const push = pushTo(
        consumer(),
        async (record) => {
          if (record.partition === 1) await new Promise<void>((resolve) => (release = resolve))
          written.push(text(record))
        },
        { clock, concurrency: 1 },
      )
      await topic.partition(1).append({ value: '1:0' })
      await clock.advance(200)
      const values = ['0:0', '0:1', '0:2'].map((value) => ({ value }))
      await topic.partition(0).append(values)
      // They wait for the only slot, and their start is committed.
      await until(clock, () => committedOf(broker).length === 2)
      const appending = topic.partition(0).append({ value: '0:3' })
      for (let step = 0; step < steps; step += 1) await Promise.resolve()
      await push.drain([{ topic: 't', partition: 0 }])
      await appending
      await clock.advance(200)
      const stopped = push.stop()
      release()
      await stopped
      expect(written).toEqual(['1:0'])
      expect(committedOf(broker), `${steps} steps`).toEqual([0, 1])
      await broker.close()
    }
  })

  it('writes a record once that is committed between the ends of two drains of its partition', async () => {
    const { clock, broker, consumer } = await setUp(2, 5)
    const started: string[] = []
    const held = new Map<string, () => void>()
    const write = async (record: ConsumerRecord): Promise<void> => {
      started.push(text(record))
      if (record.offset > 0) return
      await new Promise<void>((resolve) => held.set(text(record), resolve))
    }
    const push = pushTo(consumer(), write, { clock })
    await until(clock, () => held.size === 2)
    const [first, second] = [0, 1].map((partition) => ({ topic: 't', partition }))
    const draining = push.drain([first as TopicPartition])
    const drainingBoth = push.drain([first as TopicPartition, second as TopicPartition])
    held.get('0:0')?.()
    await draining
    await until(clock, () => committedOf(broker).join() === '5,0')
    held.get('1:0')?.()
    await drainingBoth
    await until(clock, () => committedOf(broker).join() === '5,5')
    await clock.advance(1000)
    await push.stop()
    expect(started).toHaveLength(10)
    await broker.close()
  })

  it('takes the records of other partitions while the writes of a drained one go on', async () => {
    const { clock, broker, topic, consumer } = await setUp(2, 0)
    const started: string[] = []
    const held: (() => void)[] = []
    const write = async (record: ConsumerRecord): Promise<void> => {
      started.push(text(record))
      if (record.partition === 0) await new Promise<void>((resolve) => held.push(resolve))
    }
    const reader = consumer({ fetchMaxWaitMs: 600_000 })
    const push = pushTo(reader, write, { clock, concurrency: 2, maxInFlight: 3 })
    await topic.partition(0).append(['0:0', '0:1', '0:2'].map((value) => ({ value })))
    await until(clock, () => reader.paused().length === 2)
    await topic.partition(1).append({ value: '1:0' })
    await clock.advance(1000)
    expect(started).toEqual(['0:0'])
    const draining = push.drain([{ topic: 't', partition: 0 }])
    await until(clock, () => started.includes('1:0'))
    held[0]?.()
    await draining
    const stopped = push.stop()
    await clock.advance(1000)
    for (const end of held) end()
    await stopped
    await broker.close()
  })

  it('goes on at once after it was drained behind a record that cannot be written', async () => {
    const { clock, broker, topic, consumer } = await setUp(2, 0)
    const started: string[] = []
    let release = (): void => undefined
    const write = async (record: ConsumerRecord): Promise<void> => {
      started.push(text(record))
      if (text(record) === '0:0') throw new Error('refused')
      if (record.partition === 1) await new Promise<void>((resolve) => (release = resolve))
    }
    const put = (partition: number, ...keys: string[]): Promise<unknown> =>
      topic
        .partition(partition)
        .append(keys.map((key, at) => ({ key, value: `${partition}:${at}` })))
    const reader = consumer({ fetchMaxWaitMs: 600_000 })
    const options = { orderBy: 'key', maxInFlight: 3, retries: 9, retryBackoffMs: 600_000 } as const
    const push = pushTo(reader, write, { clock, ...options })
    // One of them waits for the other, which never ends, and one waits for its retry.
    await put(1, 'a', 'a')
    await until(clock, () => started.length === 1)
    await put(0, 'b', 'c', 'd', 'e')
    await until(clock, () => reader.paused().length === 2)
    expect(started).toEqual(['1:0', '0:0', '0:1'])
    await push.drain([{ topic: 't', partition: 0 }])
    expect(started.slice(3)).toEqual(['0:0'])
    await until(clock, () => started.length > 4)
    const stopped = push.stop()
    release()
    await stopped
    await broker.close()
  })

  it('does not move the position of the consumer when it is drained after its end', async () => {
    const { clock, broker, consumer } = await setUp(1)
    const reader = consumer()
    const write = ({ offset }: ConsumerRecord): void => {
      if (offset === 3) throw new Error('the target is down')
    }
    const push = pushTo(reader, write, { clock, retries: 0 })
    const ended = expect(push).rejects.toThrow('the target is down')
    await clock.advance(1000)
    await ended
    // Its owner continues manually.
    const byHand = await reader.poll()
    expect(byHand.map(({ offset }) => offset)).toEqual([3, 4, 5, 6, 7, 8, 9])
    await reader.commit()
    await push.drain([{ topic: 't', partition: 0 }])
    expect(reader.position({ topic: 't', partition: 0 })).toBe(10)
    expect(committedOf(broker)).toEqual([10])
    await broker.close()
  })

  it('drains and commits the writes in flight when the consumer unsubscribes', async () => {
    const { clock, broker } = await setUp(2)
    let push: Push | null = null
    const reader = broker.consumer({ groupId: 'g', enableAutoCommit: false })
    reader.subscribe(['t'], { onPartitionsRevoked: (partitions) => push?.drain(partitions) })
    const written: string[] = []
    const write = async (record: ConsumerRecord): Promise<void> => {
      await new Promise<void>((resolve) => clock.startTimer(resolve, 30 + 15 * record.partition))
      written.push(text(record))
    }
    push = pushTo(reader, write, { clock, concurrency: 2 })
    const ended = expect(push).rejects.toThrow(IllegalStateError)
    await until(clock, () => written.length === 6)
    reader.unsubscribe()
    await clock.advance(200)
    await ended
    const count = (partition: string): number =>
      written.filter((each) => each.startsWith(partition)).length
    expect(committedOf(broker)).toEqual([count('0:'), count('1:')])
    expect(written.length).toBe(8)
    await broker.close()
  })

  it('rejects before any write if its consumer cannot commit because the broker is read-only', async () => {
    const fileSystem = new SimulatedFileSystem()
    const owner = await tempBroker({ fileSystem })
    await (await owner.createTopic('t')).partition(0).append({ value: 'x' })
    const reader = await tempBroker({ fileSystem, readOnly: true })
    const consumer = reader.consumer({ groupId: 'g', enableAutoCommit: false })
    consumer.assign([{ topic: 't', partition: 0 }])
    const written: ConsumerRecord[] = []
    const push = pushTo(consumer, (record) => void written.push(record))
    await expect(push).rejects.toThrow(ReadOnlyError)
    expect(written).toEqual([])
    await expect(consumer.commit([])).rejects.toThrow(ReadOnlyError)
    await reader.close()
    await owner.close()
  })

  it('refuses invalid arguments, options and consumers', async () => {
    const { clock, broker, consumer } = await setUp()
    const write = (): void => undefined
    const wrong = (options: object) => () => pushTo(consumer(), write, options)
    expect(() => pushTo({} as never, write)).toThrow('consumer must be a consumer, got an object')
    expect(() => pushTo(consumer(), 1 as never)).toThrow('write must be a function, got 1')
    expect(wrong({ concurrency: 0 })).toThrow('concurrency must be a whole number from 1 to 10000')
    expect(wrong({ maxInFlight: 0 })).toThrow('maxInFlight must be')
    expect(wrong({ batchRecords: 0.5 })).toThrow('batchRecords must be')
    expect(wrong({ orderBy: 'value' })).toThrow('orderBy must be one of "partition", "key"')
    expect(wrong({ onError: 'retry' })).toThrow("onError must be 'stop', 'skip' or a function")
    expect(wrong({ maxInflight: 1 })).toThrow("did you mean 'maxInFlight'?")
    const reader = consumer()
    const push = pushTo(reader, write, { clock })
    expect(() => pushTo(reader, write, { clock })).toThrow(
      'another pushTo() of this consumer is in progress: stop it and await it first',
    )
    for (const given of [undefined, null, {}, [null], [{ topic: 't' }]]) {
      await expect(push.drain(given as never)).rejects.toThrow(/^(a )?partitions? must be/)
    }
    await push.stop()
    await pushTo(reader, write, { clock }).stop()
    const automatic = broker.consumer({ groupId: 'h' })
    expect(() => pushTo(automatic, write)).toThrow(IllegalStateError)
    const alone = broker.consumer()
    alone.assign([{ topic: 't', partition: 0 }])
    const written: ConsumerRecord[] = []
    const keep = (record: ConsumerRecord): void => void written.push(record)
    const groupless = pushTo(alone, keep, { clock })
    await expect(groupless).rejects.toThrow(InvalidGroupIdError)
    await expect(groupless).rejects.toThrow('pushTo() needs a consumer with a groupId')
    expect(written).toEqual([])
    await expect(
      pushTo(broker.consumer({ groupId: 'x', enableAutoCommit: false }), write),
    ).rejects.toThrow(IllegalStateError)
    await broker.close()
  })
})

describe('a push with random failures, delays, restarts and rebalances', () => {
  it.each(Array.from({ length: 12 }, (_, at) => at + 1))(
    'loses no record, and as the only owner repeats few and keeps their order, seed %i',
    async (seed) => {
      const random = new SeededRandom(seed)
      const partitions = 1 + random.integer(4)
      const { clock, broker, topic, consumer } = await setUp(partitions, 15)
      const orderBy = random.integer(2) === 0 ? 'partition' : 'key'
      const written = new Map<string, number>()
      const order: ConsumerRecord[] = []
      let fails = 0.2
      const write = async (records: readonly ConsumerRecord[]): Promise<void> => {
        await new Promise<void>((resolve) => clock.startTimer(resolve, random.integer(60)))
        if (random.integer(100) < fails * 100) throw new Error('now and then')
        for (const record of records) {
          written.set(text(record), (written.get(text(record)) ?? 0) + 1)
          if (written.get(text(record)) === 1) order.push(record)
        }
      }
      const pushes: { consumer: Consumer; push: Push }[] = []
      // Two owners may overlap in what was in flight when a partition moved from one to the other.
      const isAlone = seed % 2 === 1
      let starts = 0
      const start = (): void => {
        starts += 1
        const reader = consumer({ maxPollRecords: 1 + random.integer(8) })
        const push = pushTo(reader, write, {
          clock,
          orderBy,
          concurrency: 1 + random.integer(5),
          maxInFlight: 1 + random.integer(10),
          batchRecords: 1 + random.integer(4),
          retries: random.integer(3),
          retryBackoffMs: 10,
        })
        push.catch(() => undefined)
        pushes.push({ consumer: reader, push })
      }
      start()
      for (let step = 0; step < 25; step += 1) {
        const what = random.integer(6)
        const [one] = pushes
        if (what === 0 && pushes.length < (isAlone ? 1 : 3)) start()
        if (what === 1 && one !== undefined) await closing(pushes, one, clock)
        if (what === 2) {
          const partition = topic.partition(random.integer(partitions))
          const at = partition.logEndOffset
          await partition.append([{ key: `k${at % 3}`, value: `${partition.index}:${at}` }])
        }
        await clock.advance(random.integer(300))
      }
      fails = 0
      while (pushes[0] !== undefined) await closing(pushes, pushes[0], clock)
      start()
      const ends = topic.partitions.map(({ logEndOffset }) => logEndOffset)
      await until(clock, () => committedOf(broker).join() === ends.join())
      for (const [index, end] of ends.entries()) {
        for (let at = 0; at < end; at += 1)
          expect(written.has(`${index}:${at}`), `${index}:${at}`).toBe(true)
      }
      const count = ends.reduce((sum, end) => sum + end, 0)
      expect(order.length).toBe(count)
      if (isAlone) {
        const total = [...written.values()].reduce((sum, times) => sum + times, 0)
        expect(total - count, 'repeated').toBeLessThanOrEqual(10 * (starts - 1))
        const last = new Map<string, number>()
        for (const record of order) {
          const key = orderBy === 'key' ? (record.key?.toString() ?? '') : ''
          const lane = `${record.partition}/${key}`
          expect(record.offset, lane).toBeGreaterThan(last.get(lane) ?? -1)
          last.set(lane, record.offset)
        }
      }
      await broker.close()
    },
  )
})

async function closing(
  pushes: { consumer: Consumer; push: Push }[],
  one: { consumer: Consumer; push: Push },
  clock: ManualClock,
): Promise<void> {
  pushes.splice(pushes.indexOf(one), 1)
  const closed = one.consumer.close()
  await clock.advance(200)
  await closed
  await clock.advance(200)
  await one.push.catch(() => undefined)
}

describe('a push that loses partitions or orders by key', () => {
  it('continues when one of its topics is deleted, and commits the records of the others', async () => {
    const { clock, broker } = await setUp()
    const other = await broker.createTopic('u')
    await other.partition(0).append([{ value: 'u' }, { value: 'u' }])
    const reader = broker.consumer({ groupId: 'g', enableAutoCommit: false })
    let push: Push | null = null
    reader.subscribe(['t', 'u'], {
      onPartitionsRevoked: async (partitions) => push?.drain(partitions),
    })
    let isEnded = false
    const write = (): Promise<void> => new Promise((resolve) => void clock.startTimer(resolve, 30))
    push = pushTo(reader, write, { clock, concurrency: 2 })
    push.finally(() => (isEnded = true)).catch(() => undefined)
    await clock.advance(10)
    await broker.deleteTopic('u')
    await until(clock, () => committedOf(broker).join() === '10')
    expect(isEnded).toBe(false)
    await push.stop()
    await broker.close()
  })

  it('starts no more writes for partitions that a waiting poll has given up', async () => {
    const { clock, broker, consumer } = await setUp(2, 30)
    const options: ConsumerOptions = { partitionAssignmentStrategy: 'cooperative-sticky' }
    const written: string[] = []
    const write = (record: ConsumerRecord): Promise<void> => {
      written.push(text(record))
      return new Promise((resolve) => void clock.startTimer(resolve, 30))
    }
    const concurrency = 2
    const first = pushTo(consumer(options), write, { clock, concurrency })
    await until(clock, () => written.length > 5)
    const second = pushTo(consumer(options), write, { clock, concurrency })
    await until(clock, () => committedOf(broker).join() === '30,30')
    expect(written.length - new Set(written).size).toBeLessThanOrEqual(concurrency)
    await Promise.all([first.stop(), second.stop()])
    await broker.close()
  })

  it('keeps the order of records whose keys are deserialized to bigints', async () => {
    const { clock, broker } = await setUp()
    const reader = broker.consumer({
      groupId: 'g',
      enableAutoCommit: false,
      keyDeserializer: { deserialize: (_topic: string, bytes: Buffer) => BigInt(bytes.length) },
    })
    reader.subscribe(['t'])
    const written: number[] = []
    const write = async ({ offset }: ConsumerRecord<bigint>): Promise<void> => {
      // Without the order by key, the later ones would come first.
      await new Promise<void>((resolve) => void clock.startTimer(resolve, 100 - 10 * offset))
      written.push(offset)
    }
    const push = pushTo(reader, write, { clock, orderBy: 'key', concurrency: 10 })
    await until(clock, () => committedOf(broker).join() === '10')
    expect(await push.stop()).toMatchObject({ written: 10, failed: 0 })
    expect(written).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    await broker.close()
  })

  it('keeps the order of records per key if keys are objects that contain bigints', async () => {
    const { clock, broker } = await setUp()
    const reader = broker.consumer({
      groupId: 'g',
      enableAutoCommit: false,
      keyDeserializer: {
        deserialize: (_topic: string, bytes: Buffer) => ({ id: BigInt(bytes.toString().slice(1)) }),
      },
    })
    reader.subscribe(['t'])
    const written: number[] = []
    const write = async ({ offset }: ConsumerRecord<{ id: bigint }>): Promise<void> => {
      await new Promise<void>((resolve) => void clock.startTimer(resolve, 100 - 10 * offset))
      written.push(offset)
    }
    const push = pushTo(reader, write, { clock, orderBy: 'key', concurrency: 10 })
    await until(clock, () => committedOf(broker).join() === '10')
    await push.stop()
    for (const key of [0, 1, 2]) {
      const own = written.filter((offset) => offset % 3 === key)
      expect(own).toEqual([...own].sort((a, b) => a - b))
    }
    // Records of different keys overtake one another.
    expect(written).not.toEqual([...written].sort((a, b) => a - b))
    await broker.close()
  })

  it('keeps no order among records without a key when it orders by key', async () => {
    const { clock, broker, topic, consumer } = await setUp(1, 0)
    await topic.partition(0).append([{ value: '0' }, { value: '1' }, { value: '2' }])
    const written: number[] = []
    const write = async ({ offset }: ConsumerRecord): Promise<void> => {
      await new Promise<void>((resolve) => void clock.startTimer(resolve, 100 - 10 * offset))
      written.push(offset)
    }
    const push = pushTo(consumer(), write, { clock, orderBy: 'key', concurrency: 10 })
    await until(clock, () => committedOf(broker).join() === '3')
    await push.stop()
    expect(written).toEqual([2, 1, 0])
    await broker.close()
  })
})

it('a push whose commit fails rejects with the error, even if its last commit succeeds', async () => {
  const { clock, broker, fileSystem, consumer } = await setUp()
  let acknowledge: () => void = () => undefined
  const write = ({ offset }: ConsumerRecord): unknown =>
    offset < 9 ? undefined : new Promise<void>((resolve) => (acknowledge = resolve))
  const push = pushTo(consumer(), write, { clock })
  let told: unknown = null
  push.catch((error: unknown) => (told = error))
  await until(clock, () => committedOf(broker).join() === '9')
  fileSystem.failNext('write', 'EIO', { path: /__consumer_offsets/ })
  acknowledge()
  await until(clock, () => told !== null)
  expect(told).toMatchObject({ cause: { code: 'EIO' } })
  expect(committedOf(broker)).toEqual([10])
  await broker.close()
})

it('a push looks up only the partition of each write, not all partitions every time', async () => {
  const { clock, broker, consumer } = await setUp(50, 4)
  const reader = consumer({ maxPollRecords: 20 })
  const committed = vi.spyOn(reader, 'committed')
  const assignment = vi.spyOn(reader, 'assignment')
  const push = pushTo(reader, () => undefined, { clock })
  await until(clock, () => committedOf(broker).join() === Array(50).fill(4).join())
  expect(await push.stop()).toMatchObject({ written: 200 })
  // At most one for the start and one for each record; 50 for each record would be 10,000.
  expect(committed.mock.calls.length).toBeLessThanOrEqual(250)
  expect(assignment.mock.calls.length).toBeLessThanOrEqual(2)
  await broker.close()
})

it('a push lets the event loop turn between writes that end immediately', async () => {
  const { clock, broker, consumer } = await setUp()
  let endTurn: () => void = () => undefined
  const turn = new Promise<void>((resolve) => (endTurn = resolve))
  const turnIfDue = vi.spyOn(promptIo, 'turnIfDue').mockReturnValue(null)
  onTestFinished(() => {
    turnIfDue.mockRestore()
  })
  let count = 0
  const write = (): void => {
    count += 1
    if (count === 3) turnIfDue.mockReturnValue(turn)
  }
  const push = pushTo(consumer(), write, { clock })
  await until(clock, () => count >= 3)
  await clock.advance(1000)
  expect(count).toBe(3)
  turnIfDue.mockReturnValue(null)
  endTurn()
  await until(clock, () => committedOf(broker).join() === '10')
  expect(await push.stop()).toMatchObject({ written: 10 })
  await broker.close()
})

it('a write that changes the offset of its record does not cause a commit of unwritten records', async () => {
  const { clock, broker, consumer } = await setUp()
  let acknowledge: () => void = () => undefined
  const write = (record: { -readonly [F in keyof ConsumerRecord]: unknown }): unknown => {
    const { offset } = record
    record.offset = 5
    return offset === 0 ? new Promise<void>((resolve) => (acknowledge = resolve)) : undefined
  }
  const push = pushTo(consumer(), write, { clock, orderBy: 'key', concurrency: 10 })
  await clock.advance(1000)
  expect(committedOf(broker)).toEqual([0])
  acknowledge()
  await until(clock, () => committedOf(broker).join() === '10')
  await push.stop()
  await broker.close()
})

it.each(['is tried again', 'is given to onError'])(
  'a write that removes records from its list loses none of them when it %s',
  async (how) => {
    const { clock, broker, consumer } = await setUp()
    const lists: number[][] = []
    const failedWith: number[] = []
    const write = (records: readonly ConsumerRecord[]): void => {
      lists.push(records.map(({ offset }) => offset))
      const list = records as ConsumerRecord[]
      while (list.length > 0) list.shift()
      if (lists.length === 1) throw new Error('the target is busy')
    }
    const onError = (_error: unknown, records: readonly ConsumerRecord[]): void => {
      failedWith.push(...records.map(({ offset }) => offset))
      ;(records as ConsumerRecord[]).length = 0
    }
    const retries = how === 'is tried again' ? 1 : 0
    const push = pushTo(consumer(), write, { clock, batchRecords: 10, retries, onError })
    await until(clock, () => committedOf(broker).join() === '10')
    const all = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    if (retries === 1) {
      expect(lists).toEqual([all, all])
      expect(await push.stop()).toEqual({ written: 10, failed: 0, retries: 1 })
    } else {
      expect(failedWith).toEqual(all)
      expect(await push.stop()).toEqual({ written: 0, failed: 10, retries: 0 })
    }
    await broker.close()
  },
)

it('a push keeps the order of keys that JSON cannot represent', async () => {
  const { clock, broker } = await setUp()
  const reader = broker.consumer({
    groupId: 'g',
    enableAutoCommit: false,
    keyDeserializer: {
      deserialize: (): object => {
        const key: { self?: object } = {}
        key.self = key
        return key
      },
    },
  })
  reader.subscribe(['t'])
  const written: number[] = []
  const write = async ({ offset }: { readonly offset: number }): Promise<void> => {
    await new Promise<void>((resolve) => void clock.startTimer(resolve, 100 - 10 * offset))
    written.push(offset)
  }
  const push = pushTo(reader, write, { clock, orderBy: 'key', concurrency: 10 })
  push.catch(() => undefined)
  await until(clock, () => committedOf(broker).join() === '10')
  expect(written).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  await push.stop()
  await broker.close()
})
