import { describe, expect, it, vi } from 'vitest'
import { BufferExhaustedError, ClosedError } from '../../lib/errors.ts'
import type { Producer } from '../../lib/client/producer.ts'
import type { ProducerOptions } from '../../lib/client/producer-options.ts'
import { ReadyQueues } from '../../lib/client/ready-queues.ts'
import { FakeTopic, observe, setUp, type Outcome } from './fake-topic.ts'

/** Sends records with values of 100 bytes that begin with `names`. */
function sendLarge(producer: Producer, ...names: string[]): Outcome[] {
  return names.map((name) => {
    return observe(producer.send({ topic: 't', value: name.padEnd(100, '.') }))
  })
}

/** The first letters of each append's values. */
function names(written: string[][][]): string[] {
  return written.map((batches) =>
    batches.map((values) => values.map((v) => v[0]).join('')).join('|'),
  )
}

describe('a close during a send', () => {
  it.each(['serializer', 'partitioner'])('makes the send reject if a %s calls it', async (by) => {
    const closing: Promise<void>[] = []
    const close = (): void => void closing.push(producer.close())
    const { producer, partition, clock } = setUp({
      partitioner: () => {
        if (by === 'partitioner') close()
        return 0
      },
      valueSerializer: {
        serialize: (_: string, value: unknown) => {
          if (by === 'serializer') close()
          return Buffer.from(String(value))
        },
      },
    })
    await expect(producer.send({ topic: 't', value: 'a' })).rejects.toThrow(ClosedError)
    await clock.advance(0)
    await Promise.all(closing)
    expect(partition.appends).toEqual([])
    expect(clock.pendingTimers).toBe(0)
  })
})

describe('an abort by the partitioner of a record that has waited for its topic', () => {
  it('fails the record as not written, and does not write it', async () => {
    const { producer, topics } = setUp({
      partitioner: () => {
        void producer.close({ timeoutMs: 0 })
        return 0
      },
    })
    const created = new FakeTopic('new')
    created.partition(0).isAutomatic = true
    topics.set('new', Promise.resolve(created))
    const told: unknown[] = []
    producer.send({ topic: 'new', value: 'a' }, (error) => {
      told.push((error as ClosedError | null)?.outcome)
    })
    await producer.close()
    expect(told).toEqual(['not-written'])
    expect(created.partition(0).appends).toEqual([])
    expect(producer.usedBytes).toBe(0)
  })
})

describe('an abort', () => {
  it('fails the records in batches before those that wait for memory', async () => {
    const { producer } = setUp({ bufferMemory: 300, lingerMs: 10 })
    const settled: string[] = []
    for (const name of ['a', 'b', 'c', 'd']) {
      producer.send({ topic: 't', value: name.repeat(100) }, (error) => {
        settled.push(`${name} ${(error as ClosedError).code}`)
      })
    }
    await producer.close({ timeoutMs: 0 })
    expect(settled).toEqual(['a CLOSED', 'b CLOSED', 'c CLOSED', 'd CLOSED'])
  })

  it('creates one error for all records that were not written, however many wait', async () => {
    const { producer, topics, clock } = setUp({ bufferMemory: 400, batchRecords: 1 })
    topics.set('new', new Promise(() => undefined))
    const inFlight = sendLarge(producer, 'a')
    await clock.advance(0)
    const waiting = sendLarge(producer, 'b', 'c', 'd', 'e')
    for (const value of ['f', 'g']) waiting.push(observe(producer.send({ topic: 'new', value })))
    await producer.close({ timeoutMs: 0 })
    expect(inFlight[0]?.error).toMatchObject({ outcome: 'unknown' })
    expect(waiting.map(({ error }) => (error as ClosedError | null)?.outcome)).toEqual(
      waiting.map(() => 'not-written'),
    )
    expect(new Set(waiting.map(({ error }) => error)).size).toBe(1)
  })
})

/** What sends are entered in, and queues marked, while each of many is followed by a flush. */
async function workOfFlushes(
  count: number,
  options: ProducerOptions,
): Promise<{ work: number; flushed: number }> {
  const { producer, partition } = setUp(options)
  partition.isAutomatic = true
  const mark = vi.spyOn(ReadyQueues.prototype, 'mark')
  // A spy would add its calls to a list itself.
  const { push } = Array.prototype
  let work = 0
  let flushed = 0
  Array.prototype.push = function (this: unknown[], ...items: unknown[]) {
    work += items.length
    return push.apply(this, items)
  }
  try {
    for (let each = 0; each < count; each += 1) {
      void observe(producer.send({ topic: 't', value: 'a' }))
      void producer.flush().then(() => (flushed += 1))
    }
  } finally {
    Array.prototype.push = push
  }
  work += mark.mock.calls.length
  mark.mockRestore()
  await producer.close()
  return { work, flushed }
}

describe('flush', () => {
  it('resolves when everything sent before it is settled, and not earlier', async () => {
    const { producer, topic, clock } = setUp({ lingerMs: 1000 }, { partitions: 2 })
    for (const partition of [0, 1]) void producer.send({ topic: 't', partition, value: 'a' })
    const flushed = observeEnd(producer.flush())
    await clock.advance(0)
    topic.partition(0).append(0).succeed()
    await clock.advance(0)
    expect(flushed.isOver).toBe(false)
    topic.partition(1).append(0).succeed()
    await clock.advance(0)
    expect(flushed.isOver).toBe(true)
  })

  it('does not wait for what is sent after it', async () => {
    const { producer, partition, clock } = setUp()
    void producer.send({ topic: 't', value: 'a' })
    const flushed = observeEnd(producer.flush())
    await clock.advance(0)
    const later = observe(producer.send({ topic: 't', value: 'b' }))
    partition.append(0).succeed()
    await clock.advance(0)
    expect([flushed.isOver, later.isSettled]).toEqual([true, false])
  })

  it('does not reject when a record fails', async () => {
    const { producer, partition, clock } = setUp()
    const sent = observe(producer.send({ topic: 't', value: 'a' }))
    const flushed = observeEnd(producer.flush())
    await clock.advance(0)
    partition.append(0).fail(new Error('broken'))
    await clock.advance(0)
    expect(flushed.isOver).toBe(true)
    expect(sent.error).toMatchObject({ message: 'broken' })
  })

  it('ends the linger of records sent since another flush that is not over', async () => {
    const { producer, topic, clock } = setUp({ lingerMs: 1000 }, { partitions: 2 })
    const flushes = [0, 1].map((partition) => {
      void producer.send({ topic: 't', partition, value: 'a' })
      return observeEnd(producer.flush())
    })
    await clock.advance(0)
    topic.partition(1).append(0).succeed()
    await clock.advance(0)
    expect(flushes.map(({ isOver }) => isOver)).toEqual([false, false])
    topic.partition(0).append(0).succeed()
    await clock.advance(0)
    expect(flushes.map(({ isOver }) => isOver)).toEqual([true, true])
  })

  it('includes records that wait for memory, and ends their linger', async () => {
    const { producer, partition, clock } = setUp({ bufferMemory: 200, lingerMs: 1000 })
    sendLarge(producer, 'a', 'b')
    const flushed = observeEnd(producer.flush())
    await clock.advance(0)
    partition.append(0).succeed()
    await clock.advance(0)
    expect(flushed.isOver).toBe(false)
    partition.append(1).succeed()
    await clock.advance(0)
    expect(flushed.isOver).toBe(true)
  })

  it('no longer waits for a record that has waited maxBlockMs for memory', async () => {
    const { producer, partition, clock } = setUp({ bufferMemory: 200, maxBlockMs: 10 })
    const [, waits] = sendLarge(producer, 'a', 'b')
    const flushed = observeEnd(producer.flush())
    await clock.advance(10)
    expect(waits?.error).toBeInstanceOf(BufferExhaustedError)
    expect(flushed.isOver).toBe(false)
    partition.append(0).succeed()
    await clock.advance(0)
    expect(flushed.isOver).toBe(true)
    expect(names(await partition.written())).toEqual(['a'])
  })

  it('includes a record that has waited for memory and then fails', async () => {
    const { producer, partition, clock } = setUp({ bufferMemory: 200 })
    const [, waits] = sendLarge(producer, 'a', 'b')
    const flushed = observeEnd(producer.flush())
    await clock.advance(0)
    partition.append(0).succeed()
    sendLarge(producer, 'c')
    await clock.advance(0)
    partition.append(1).fail(new Error('broken'))
    await clock.advance(0)
    expect([flushed.isOver, waits?.isSettled]).toEqual([true, true])
  })

  it('resolves at once if nothing is pending, and does not end the linger of later records', async () => {
    const { producer, partition, clock } = setUp({ lingerMs: 10 })
    partition.isAutomatic = true
    await producer.flush()
    void producer.send({ topic: 't', value: 'a' })
    await producer.flush()
    const next = observe(producer.send({ topic: 't', value: 'b' }))
    await clock.advance(9)
    expect(next.isSettled).toBe(false)
    await clock.advance(1)
    expect(next.isSettled).toBe(true)
  })

  it.each([
    { what: 'that waits for memory', options: { bufferMemory: 200 } },
    { what: 'in a batch of its own', options: { batchRecords: 1 } },
  ])('costs the same per flush with few and with many sends, each $what', async ({ options }) => {
    const [few, many] = [await workOfFlushes(20, options), await workOfFlushes(200, options)]
    expect(few.flushed).toBe(20)
    expect(many.flushed).toBe(200)
    expect(many.work / 200).toBeLessThan((few.work / 20) * 1.5)
  })

  it('calls all callbacks before it resolves', async () => {
    const { producer, partition } = setUp()
    partition.isAutomatic = true
    const calls: string[] = []
    producer.send({ topic: 't', value: 'a' }, () => calls.push('callback'))
    await producer.flush()
    expect(calls).toEqual(['callback'])
  })
})

describe('close', () => {
  it('waits for the records sent, without lingering, then notifies the broker once', async () => {
    const { producer, partition, clock, closed } = setUp({ lingerMs: 1000 })
    const sent = observe(producer.send({ topic: 't', value: 'a' }))
    const ends = [observeEnd(producer.close()), observeEnd(producer.close())]
    await clock.advance(0)
    expect(ends.map(({ isOver }) => isOver)).toEqual([false, false])
    expect(closed).toEqual([])
    partition.append(0).succeed()
    await clock.advance(0)
    expect(sent.metadata?.offset).toBe(0)
    expect(ends.map(({ isOver }) => isOver)).toEqual([true, true])
    await producer.close()
    expect(closed).toEqual([producer])
    expect(clock.pendingTimers).toBe(0)
  })

  it('makes sends reject from its call on', async () => {
    const { producer, partition, clock } = setUp()
    partition.isAutomatic = true
    const closing = producer.close()
    await expect(producer.send({ topic: 't', value: 'a' })).rejects.toThrow(ClosedError)
    await expect(producer.sendBatch([{ topic: 't', value: 'a' }])).rejects.toThrow(ClosedError)
    await closing
    await producer.flush()
    await clock.advance(0)
    expect(partition.appends).toEqual([])
  })

  it('gives up after timeoutMs: batches in flight as unknown, later records as not written', async () => {
    const { producer, partition, clock } = setUp({ bufferMemory: 400, batchRecords: 1 })
    const [inFlight] = sendLarge(producer, 'a')
    await clock.advance(0)
    const [queued, waiting] = sendLarge(producer, 'b', 'c')
    const end = observeEnd(producer.close({ timeoutMs: 50 }))
    await clock.advance(49)
    expect(end.isOver).toBe(false)
    await clock.advance(1)
    expect(end.isOver).toBe(true)
    for (const sent of [inFlight, queued, waiting]) expect(sent?.error).toBeInstanceOf(ClosedError)
    expect(inFlight?.error).toMatchObject({ outcome: 'unknown' })
    expect(queued?.error).toMatchObject({ outcome: 'not-written' })
    expect(waiting?.error).toMatchObject({ outcome: 'not-written' })
    partition.append(0).succeed()
    await clock.advance(0)
    expect(names(await partition.written())).toEqual(['a'])
    expect([producer.usedBytes, clock.pendingTimers]).toEqual([0, 0])
  })

  it('gives up at once with timeoutMs 0 what has not been written', async () => {
    const { producer, partition, clock, closed } = setUp()
    const sent = observe(producer.send({ topic: 't', value: 'a' }))
    await producer.close({ timeoutMs: 0 })
    expect(sent.error).toMatchObject({ code: 'CLOSED', outcome: 'not-written' })
    await clock.advance(0)
    expect(partition.appends).toEqual([])
    expect(closed).toEqual([producer])
  })

  it('can be cut short by another call with timeoutMs 0', async () => {
    const { producer, clock } = setUp()
    const sent = observe(producer.send({ topic: 't', value: 'a' }))
    const patient = observeEnd(producer.close())
    await clock.advance(1000)
    await producer.close({ timeoutMs: 0 })
    await clock.advance(0)
    expect(patient.isOver).toBe(true)
    expect(sent.error).toMatchObject({ outcome: 'unknown' })
  })

  it('leaves no timer if it ends within timeoutMs', async () => {
    const { producer, partition, clock } = setUp()
    partition.isAutomatic = true
    const sent = observe(producer.send({ topic: 't', value: 'a' }))
    await producer.close({ timeoutMs: 50 })
    expect(clock.pendingTimers).toBe(0)
    expect(sent.metadata?.offset).toBe(0)
  })

  it('can be awaited in a callback', async () => {
    const { producer, partition, clock } = setUp({ batchRecords: 1 })
    let isClosed = false
    producer.send({ topic: 't', value: 'a' }, () => {
      void producer.close().then(() => {
        isClosed = true
      })
    })
    const next = observe(producer.send({ topic: 't', value: 'b' }))
    await clock.advance(0)
    partition.append(0).succeed()
    await clock.advance(0)
    expect([isClosed, next.metadata?.offset]).toEqual([true, 1])
  })

  it.each([-1, 0.5, Number.NaN])(
    'rejects with a timeoutMs of %d, and the producer stays open',
    async (timeoutMs) => {
      const { producer, partition } = setUp()
      partition.isAutomatic = true
      await expect(producer.close({ timeoutMs })).rejects.toThrow(RangeError)
      await expect(producer.close({ timeoutMs })).rejects.toThrow('timeoutMs')
      await producer.send({ topic: 't', value: 'a' })
    },
  )

  it('rejects unknown options', async () => {
    const { producer } = setUp()
    const options = { timeout: 5 } as { timeoutMs?: number }
    await expect(producer.close(options)).rejects.toThrow('unknown key "timeout" in close options')
  })

  it('is called at the end of an await using block', async () => {
    const { producer, partition, closed } = setUp({ lingerMs: 1000 })
    partition.isAutomatic = true
    const sent = producer.send({ topic: 't', value: 'a' })
    await producer[Symbol.asyncDispose]()
    expect((await sent).offset).toBe(0)
    expect(closed).toEqual([producer])
  })
})

/** Lets a test check whether a promise has resolved. */
function observeEnd(promise: Promise<void>): { readonly isOver: boolean } {
  const state = { isOver: false }
  void promise.then(() => {
    state.isOver = true
  })
  return state
}
