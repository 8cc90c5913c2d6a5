import { describe, expect, it } from 'vitest'
import { BufferExhaustedError, StorageError, TimeoutError } from '../../lib/errors.ts'
import type { Producer } from '../../lib/client/producer.ts'
import { observe, setUp, type Outcome } from './fake-topic.ts'

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

describe('bufferMemory', () => {
  it('counts records from their send until they are settled, also if they fail', async () => {
    const { producer, partition, clock } = setUp()
    sendLarge(producer, 'a', 'b')
    expect(producer.usedBytes).toBeGreaterThan(200)
    expect(producer.usedBytes).toBeLessThan(300)
    await clock.advance(0)
    const inFlight = producer.usedBytes
    expect(inFlight).toBe(partition.append(0).batches[0]?.sizeBytes)
    sendLarge(producer, 'c')
    partition.append(0).fail(new Error('broken'))
    await clock.advance(0)
    expect(producer.usedBytes).toBe(partition.append(1).batches[0]?.sizeBytes)
    partition.append(1).succeed()
    await clock.advance(0)
    expect(producer.usedBytes).toBe(0)
  })

  it('makes sends wait when it is full, and admits them one after another', async () => {
    const { producer, partition, clock } = setUp({ bufferMemory: 500, batchRecords: 1 })
    const sent = sendLarge(producer, 'a', 'b', 'c', 'd', 'e')
    await clock.advance(0)
    expect(names(await partition.written())).toEqual(['a|b'])
    expect(producer.usedBytes).toBeLessThanOrEqual(500)
    partition.append(0).succeed()
    await clock.advance(0)
    partition.append(1).succeed()
    await clock.advance(0)
    partition.append(2).succeed()
    await clock.advance(0)
    expect(names(await partition.written())).toEqual(['a|b', 'c|d', 'e'])
    expect(sent.map(({ metadata }) => metadata?.offset)).toEqual([0, 1, 2, 3, 4])
    expect(producer.usedBytes).toBe(0)
    await producer.close()
    expect(clock.pendingTimers).toBe(0)
  })

  it('fails the sends that wait for it when the disk fails the records before them', async () => {
    const { producer, partition, clock } = setUp({ bufferMemory: 500, batchRecords: 1 })
    const failed = new StorageError('EIO', { path: '/data', outcome: 'not-written' })
    const [a, b, ...waiting] = sendLarge(producer, 'a', 'b', 'c', 'd')
    await clock.advance(0)
    partition.append(0).fail(failed)
    await clock.advance(0)
    expect([a?.error, b?.error]).toEqual([failed, failed])
    for (const { error } of waiting) {
      expect(error).toMatchObject({ outcome: 'not-written', cause: failed })
    }
    const [later] = sendLarge(producer, 'e')
    await clock.advance(0)
    partition.append(1).succeed()
    await clock.advance(0)
    expect(names(await partition.written())).toEqual(['a|b', 'e'])
    expect(later?.metadata?.offset).toBe(0)
  })

  it('keeps a small record waiting behind a large one, even for another partition', async () => {
    const { producer, topic, clock } = setUp({ bufferMemory: 500 }, { partitions: 2 })
    const send = (partition: number, size: number): Outcome =>
      observe(producer.send({ topic: 't', partition, value: 'x'.repeat(size) }))
    send(0, 300)
    send(0, 300)
    send(1, 1)
    await clock.advance(0)
    expect(topic.partition(1).appends).toEqual([])
    topic.partition(0).append(0).succeed()
    await clock.advance(0)
    expect(topic.partition(1).appends).toHaveLength(1)
  })

  it('ends the linger of batches when it is full', async () => {
    const { producer, partition, clock } = setUp({ bufferMemory: 500, lingerMs: 1000 })
    sendLarge(producer, 'a', 'b', 'c')
    await clock.advance(0)
    expect(partition.appends).toEqual([])
    sendLarge(producer, 'd', 'e')
    await clock.advance(0)
    expect(names(await partition.written())).toEqual(['abc'])
    partition.append(0).succeed()
    await clock.advance(0)
    expect(partition.appends).toHaveLength(1)
    await clock.advance(1000)
    expect(names(await partition.written())).toEqual(['abc', 'de'])
  })

  it('accepts a record that fills it to the byte, and rejects a larger one at once', async () => {
    const overhead = 61 + 2 + 1 + 1 + 1 + 1 + 2 + 1
    const { producer, partition, clock } = setUp({ bufferMemory: 200 })
    const fits = observe(producer.send({ topic: 't', value: 'x'.repeat(200 - overhead) }))
    expect(producer.usedBytes).toBe(200)
    const tooLarge = producer.send({ topic: 't', value: 'x'.repeat(201 - overhead) })
    await expect(tooLarge).rejects.toMatchObject({
      code: 'MESSAGE_TOO_LARGE',
      sizeBytes: 201,
      maxBytes: 200,
    })
    const waits = observe(producer.send({ topic: 't', value: 'x'.repeat(200 - overhead) }))
    await clock.advance(0)
    partition.append(0).succeed()
    await clock.advance(0)
    partition.append(1).succeed()
    await clock.advance(0)
    expect([fits.metadata?.offset, waits.metadata?.offset]).toEqual([0, 1])
  })
})

describe('maxBlockMs', () => {
  it('ends the wait for memory with BufferExhaustedError, in the order of the sends', async () => {
    const { producer, partition, clock } = setUp({ bufferMemory: 200, maxBlockMs: 50 })
    sendLarge(producer, 'a')
    const [first] = sendLarge(producer, 'b')
    await clock.advance(20)
    const [second] = sendLarge(producer, 'c')
    await clock.advance(29)
    expect(first?.isSettled).toBe(false)
    await clock.advance(1)
    expect(first?.error).toBeInstanceOf(BufferExhaustedError)
    expect(first?.error).toMatchObject({ outcome: 'not-written' })
    expect(second?.isSettled).toBe(false)
    await clock.advance(20)
    expect(second?.error).toBeInstanceOf(BufferExhaustedError)
    partition.append(0).succeed()
    await clock.advance(0)
    expect(names(await partition.written())).toEqual(['a'])
    expect(producer.usedBytes).toBe(0)
  })

  it('ends waits for the same thing that expire at the same moment with one shared error', async () => {
    const { producer, topics, clock } = setUp({ bufferMemory: 200, maxBlockMs: 50 })
    const send = (topic: string): Outcome => observe(producer.send({ topic, value: 'x' }))
    sendLarge(producer, 'a')
    for (const topic of ['new', 'newer']) topics.set(topic, new Promise(() => undefined))
    const waits = [...sendLarge(producer, 'b', 'c'), send('new'), send('newer'), send('new')]
    await clock.advance(50)
    const errors = waits.map(({ error }) => error)
    expect(errors[0]).toBeInstanceOf(BufferExhaustedError)
    expect(errors[2]).toMatchObject({ message: expect.stringContaining("'new'") as string })
    expect(errors[3]).toMatchObject({ message: expect.stringContaining("'newer'") as string })
    expect([errors[1], errors[4]]).toEqual([errors[0], errors[2]])
    expect(new Set(errors).size).toBe(3)
  })

  it('ends the next wait in time even if a callback starts another one', async () => {
    const { producer, clock } = setUp({ bufferMemory: 200, maxBlockMs: 50 })
    sendLarge(producer, 'a')
    const again: Outcome[] = []
    producer.send({ topic: 't', value: 'b'.padEnd(100, '.') }, () => {
      again.push(...sendLarge(producer, 'b'))
    })
    await clock.advance(20)
    const [next] = sendLarge(producer, 'c')
    await clock.advance(49)
    expect([again.length, next?.isSettled]).toEqual([1, false])
    await clock.advance(1)
    expect([again[0]?.isSettled, next?.isSettled]).toEqual([false, true])
  })

  it('no longer applies once the record is in a batch', async () => {
    const { producer, partition, clock } = setUp({ bufferMemory: 200, maxBlockMs: 50 })
    sendLarge(producer, 'a')
    const [waits] = sendLarge(producer, 'b')
    await clock.advance(49)
    partition.append(0).succeed()
    await clock.advance(100)
    expect(waits?.isSettled).toBe(false)
    partition.append(1).succeed()
    await clock.advance(0)
    expect(waits?.metadata?.offset).toBe(1)
  })

  it('admits a small record when the large one before it has timed out', async () => {
    const { producer, topic, clock } = setUp(
      { bufferMemory: 500, maxBlockMs: 50 },
      { partitions: 2 },
    )
    const send = (partition: number, size: number): Outcome =>
      observe(producer.send({ topic: 't', partition, value: 'x'.repeat(size) }))
    send(0, 300)
    const large = send(0, 300)
    await clock.advance(1)
    send(1, 1)
    await clock.advance(49)
    expect(large.error).toBeInstanceOf(BufferExhaustedError)
    expect(topic.partition(1).appends).toHaveLength(1)
  })

  it('of 0 makes a send reject at once if there is no memory', async () => {
    const { producer, clock } = setUp({ bufferMemory: 200, maxBlockMs: 0 })
    const [, refused] = sendLarge(producer, 'a', 'b')
    await clock.advance(0)
    expect(refused?.error).toBeInstanceOf(BufferExhaustedError)
  })

  it('leaves no timer behind once no send waits', async () => {
    const { producer, partition, clock } = setUp({ bufferMemory: 200 })
    sendLarge(producer, 'a', 'b')
    await clock.advance(0)
    const withWaiter = clock.pendingTimers
    partition.append(0).succeed()
    await clock.advance(0)
    expect(clock.pendingTimers).toBe(withWaiter - 1)
  })
})

describe('deliveryTimeoutMs', () => {
  it('expires a batch in flight as unknown, and ignores its later success', async () => {
    const { producer, partition, clock } = setUp({ deliveryTimeoutMs: 100 })
    const calls: unknown[] = []
    producer.send({ topic: 't', value: 'a' }, (error) => calls.push(error))
    await clock.advance(99)
    expect(calls).toEqual([])
    await clock.advance(1)
    expect(calls).toEqual([expect.any(TimeoutError)])
    expect(calls[0]).toMatchObject({ outcome: 'unknown' })
    expect(producer.usedBytes).toBe(0)
    partition.append(0).succeed()
    await clock.advance(0)
    expect(calls).toHaveLength(1)
    const next = observe(producer.send({ topic: 't', value: 'b' }))
    await clock.advance(0)
    partition.append(1).succeed()
    await clock.advance(0)
    expect(next.metadata?.offset).toBe(1)
  })

  it('expires queued batches in order as not written, and never writes them', async () => {
    const { producer, partition, clock } = setUp({ deliveryTimeoutMs: 100, batchRecords: 1 })
    const order: string[] = []
    const send = (value: string): void => {
      producer.send({ topic: 't', value }, (error) => {
        order.push(`${value} ${error instanceof TimeoutError ? error.outcome : 'written'}`)
      })
    }
    send('a')
    await clock.advance(10)
    send('b')
    send('c')
    await clock.advance(40)
    send('d')
    await clock.advance(60)
    expect(order).toEqual(['a unknown', 'b not-written', 'c not-written'])
    partition.append(0).succeed()
    await clock.advance(0)
    partition.append(1).succeed()
    await clock.advance(0)
    expect(order).toEqual(['a unknown', 'b not-written', 'c not-written', 'd written'])
    expect(await partition.written()).toEqual([[['a']], [['d']]])
    expect(producer.usedBytes).toBe(0)
  })

  it('adds no new records to an expired batch', async () => {
    const { producer, partition, clock } = setUp({ deliveryTimeoutMs: 100 })
    void producer.send({ topic: 't', value: 'a' }).catch(() => undefined)
    await clock.advance(0)
    const expired = observe(producer.send({ topic: 't', value: 'b' }))
    await clock.advance(100)
    expect(expired.error).toMatchObject({ outcome: 'not-written' })
    const next = observe(producer.send({ topic: 't', value: 'c' }))
    partition.append(0).succeed()
    await clock.advance(0)
    partition.append(1).succeed()
    await clock.advance(0)
    expect(await partition.written()).toEqual([[['a']], [['c']]])
    expect(next.metadata?.offset).toBe(1)
  })

  it('does not add a record that a callback sends to the batch that has just expired', async () => {
    const { producer, partition, clock } = setUp({ deliveryTimeoutMs: 100 })
    void producer.send({ topic: 't', value: 'a' }).catch(() => undefined)
    await clock.advance(0)
    const again: Outcome[] = []
    producer.send({ topic: 't', value: 'b' }, () => {
      again.push(observe(producer.send({ topic: 't', value: 'again' })))
    })
    await clock.advance(100)
    partition.append(0).succeed()
    await clock.advance(0)
    partition.append(1).succeed()
    await clock.advance(0)
    expect(await partition.written()).toEqual([[['a']], [['again']]])
    expect(again[0]?.metadata?.offset).toBe(1)
    expect(producer.usedBytes).toBe(0)
  })

  it('expires the next batch in time even if a callback starts another one', async () => {
    const { producer, clock } = setUp({ deliveryTimeoutMs: 100 }, { partitions: 2 })
    const again: Outcome[] = []
    producer.send({ topic: 't', partition: 0, value: 'a' }, () => {
      again.push(observe(producer.send({ topic: 't', partition: 0, value: 'again' })))
    })
    await clock.advance(50)
    const next = observe(producer.send({ topic: 't', partition: 1, value: 'b' }))
    await clock.advance(99)
    expect([again.length, next.isSettled]).toEqual([1, false])
    await clock.advance(1)
    expect([again[0]?.isSettled, next.isSettled]).toEqual([false, true])
  })

  it('admits a send that waits for the memory of an expired batch', async () => {
    const { producer, clock } = setUp({ bufferMemory: 200, deliveryTimeoutMs: 100 })
    const [, waits] = sendLarge(producer, 'a', 'b')
    await clock.advance(100)
    expect(waits?.isSettled).toBe(false)
    expect(producer.usedBytes).toBeGreaterThan(0)
  })
})

describe('timestamp limits', () => {
  it('do not apply to sends without a timestamp, however long they wait for memory', async () => {
    const { producer, partition, clock } = setUp(
      { bufferMemory: 200 },
      { config: { messageTimestampBeforeMaxMs: 0 } },
    )
    const [first, second] = sendLarge(producer, 'a', 'b')
    const dated = observe(producer.send({ topic: 't', value: 'c', timestamp: clock.now() }))
    await clock.advance(5)
    partition.isAutomatic = true
    partition.append(0).succeed()
    await clock.advance(0)
    expect([first?.metadata?.offset, second?.metadata?.offset]).toEqual([0, 1])
    expect(dated.error).toMatchObject({ code: 'INVALID_TIMESTAMP' })
  })
})
