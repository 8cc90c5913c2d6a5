import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { TimeoutError, UnknownTopicOrPartitionError } from '../../lib/errors.ts'
import { FakeTopic, observe, setUp } from './fake-topic.ts'

/** A topic that is created when the test says so. */
function createLater(name: string): {
  promise: Promise<FakeTopic>
  create: (topic?: FakeTopic) => FakeTopic
  refuse: (error: Error) => void
} {
  let resolve: (topic: FakeTopic) => void = () => undefined
  let reject: (error: Error) => void = () => undefined
  const promise = new Promise<FakeTopic>((onCreated, onRefused) => {
    resolve = onCreated
    reject = onRefused
  })
  return {
    promise,
    create: (topic = new FakeTopic(name)) => {
      for (const partition of topic.partitions) partition.isAutomatic = true
      resolve(topic)
      return topic
    },
    refuse: (error) => {
      reject(error)
    },
  }
}

describe('a topic that a producer sends to', () => {
  it('is looked up once for many sends', async () => {
    const { producer, partition, lookUps } = setUp()
    partition.isAutomatic = true
    await producer.sendBatch(['a', 'b', 'c'].map((value) => ({ topic: 't', value })))
    await producer.send({ topic: 't', value: 'd' })
    expect(lookUps).toEqual(['t'])
  })

  it('is looked up again by the next send if it was unknown', async () => {
    const { producer, topics } = setUp()
    const send = () => producer.send({ topic: 'new', value: 'a' })
    await expect(send()).rejects.toThrow(UnknownTopicOrPartitionError)
    const topic = new FakeTopic('new')
    topic.partition(0).isAutomatic = true
    topics.set('new', topic)
    expect((await send()).topic).toBe('new')
  })

  it('receives the records that are sent after it was deleted and created again', async () => {
    const { producer, topics, partition, clock } = setUp()
    const before = observe(producer.send({ topic: 't', value: 'a' }))
    await clock.advance(0)
    partition.isClosed = true
    const recreated = new FakeTopic('t')
    recreated.partition(0).isAutomatic = true
    topics.set('t', recreated)
    const after = await producer.send({ topic: 't', value: 'b' })
    expect(after.offset).toBe(0)
    expect(await recreated.partition(0).written()).toEqual([[['b']]])
    expect(before.isSettled).toBe(false)
    partition.append(0).fail(new Error('deleted'))
    await producer.close()
    expect(before.error).toMatchObject({ message: 'deleted' })
  })

  it('is still used after it was closed with its broker, and its partition rejects the appends', async () => {
    const { producer, partition, clock } = setUp()
    partition.isAutomatic = true
    await producer.send({ topic: 't', value: 'a' })
    partition.isAutomatic = false
    void producer.send({ topic: 't', value: 'b' })
    await clock.advance(0)
    partition.isClosed = true
    const sent = observe(producer.send({ topic: 't', value: 'c' }))
    await clock.advance(0)
    expect(partition.appends).toHaveLength(2)
    partition.append(1).succeed()
    await clock.advance(0)
    partition.append(2).fail(new Error('closed'))
    await clock.advance(0)
    expect(sent.error).toMatchObject({ message: 'closed' })
  })

  it('receives records in partitions that were added to it', async () => {
    const { producer, topic } = setUp()
    topic.partition(0).isAutomatic = true
    await producer.send({ topic: 't', partition: 0, value: 'a' })
    const record = { topic: 't', partition: 1, value: 'b' }
    await expect(producer.send(record)).rejects.toThrow(
      "partition of topic 't' must be an integer in [0, 1), got 1",
    )
    topic.addPartition()
    topic.partition(1).isAutomatic = true
    expect(await producer.send(record)).toMatchObject({ partition: 1, offset: 0 })
  })

  it('applies a changed configuration from the next batch on', async () => {
    const { producer, topic, partition } = setUp()
    partition.isAutomatic = true
    await producer.send({ topic: 't', value: 'a' })
    topic.config = { ...topic.config, compressionType: 'gzip', maxMessageBytes: 100 }
    await producer.send({ topic: 't', value: 'b' })
    expect(partition.log.map(({ compressionType }) => compressionType)).toEqual(['none', 'gzip'])
    const value = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'
    await expect(producer.send({ topic: 't', value })).rejects.toMatchObject({
      code: 'MESSAGE_TOO_LARGE',
    })
  })

  it('needs no new lookup after many other topics were deleted', async () => {
    const { producer, topics, lookUps } = setUp()
    const name = (number: number): string => `topic-${number}`
    for (let number = 0; number < 200; number += 1) {
      const topic = new FakeTopic(name(number))
      topic.partition(0).isAutomatic = true
      topics.set(name(number), topic)
      await producer.send({ topic: name(number), value: 'a' })
      if (number % 10 !== 0) topic.partition(0).isClosed = true
    }
    lookUps.length = 0
    await producer.send({ topic: name(10), value: 'b' })
    expect(lookUps).toEqual([])
  })

  it('is not kept in memory once it was deleted and the producer has sent to many others', async () => {
    const { producer, topics, clock } = setUp()
    const sendToNew = async (name: string): Promise<WeakRef<FakeTopic>> => {
      const topic = new FakeTopic(name)
      topic.partition(0).isAutomatic = true
      topics.set(name, topic)
      await producer.send({ topic: name, value: 'a' })
      return new WeakRef(topic)
    }
    const deleted = await sendToNew('deleted')
    const kept = await sendToNew('kept')
    for (const partition of deleted.deref()?.partitions ?? []) partition.isClosed = true
    topics.delete('deleted')
    topics.delete('kept')
    for (let number = 0; number < 100; number += 1) await sendToNew(`topic-${number}`)
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    // A WeakRef keeps what it returned alive until the end of the turn.
    await clock.advance(0)
    collect()
    expect(deleted.deref()).toBeUndefined()
    expect(kept.deref()?.name).toBe('kept')
  })
})

describe('a topic that is being created', () => {
  it('reports a failure to the callback as an Error even if its partitioner throws undefined', async () => {
    const partitioner = (): number => {
      const nothing: unknown = undefined
      throw nothing
    }
    const { producer, topics, clock } = setUp({ partitioner })
    const later = createLater('new')
    topics.set('new', later.promise)
    const told: unknown[] = []
    producer.send({ topic: 'new', value: 'a' }, (error) => told.push(error))
    later.create()
    await clock.advance(0)
    expect(told).toEqual([new Error('undefined was thrown')])
  })

  it('keeps the order of the sends to it, and does not delay sends to other topics', async () => {
    const { producer, topics, partition, lookUps, clock } = setUp()
    partition.isAutomatic = true
    const later = createLater('later')
    topics.set('later', later.promise)
    const first = observe(producer.send({ topic: 'later', value: 'a' }))
    const second = observe(producer.send({ topic: 'later', value: 'b' }))
    await producer.send({ topic: 't', value: 'x' })
    expect([first.isSettled, second.isSettled]).toEqual([false, false])
    const topic = later.create()
    await clock.advance(0)
    expect([first.metadata?.offset, second.metadata?.offset]).toEqual([0, 1])
    expect(await topic.partition(0).written()).toEqual([[['a', 'b']]])
    await producer.send({ topic: 'later', value: 'c' })
    expect(lookUps).toEqual(['later', 't'])
  })

  it('fails the waiting sends if it cannot be created, and the next send tries again', async () => {
    const { producer, topics, clock } = setUp()
    const later = createLater('later')
    topics.set('later', later.promise)
    const sent = ['a', 'b'].map((value) => observe(producer.send({ topic: 'later', value })))
    const refusal = new UnknownTopicOrPartitionError('later', null, 'there is no such topic')
    later.refuse(refusal)
    await clock.advance(0)
    expect(sent.map(({ error }) => error)).toEqual([refusal, refusal])
    const topic = new FakeTopic('later')
    topic.partition(0).isAutomatic = true
    topics.set('later', topic)
    expect((await producer.send({ topic: 'later', value: 'c' })).offset).toBe(0)
  })

  it('rejects a waiting record that names a partition which it turns out not to have', async () => {
    const { producer, topics, clock } = setUp()
    const later = createLater('later')
    topics.set('later', later.promise)
    const calls: unknown[] = []
    producer.send({ topic: 'later', partition: 5, value: 'a' }, (error) => calls.push(error))
    const next = observe(producer.send({ topic: 'later', value: 'b' }))
    later.create()
    await clock.advance(0)
    expect(calls).toEqual([expect.any(RangeError)])
    expect(next.metadata?.offset).toBe(0)
  })

  it('keeps what a callback sends on its creation behind the sends that already waited', async () => {
    const { producer, topics, clock } = setUp()
    const later = createLater('later')
    topics.set('later', later.promise)
    producer.send({ topic: 'later', partition: 5, value: 'wrong' }, () => {
      void producer.send({ topic: 'later', value: 'b' })
    })
    void producer.send({ topic: 'later', value: 'a' })
    const topic = later.create()
    await clock.advance(0)
    expect(await topic.partition(0).written()).toEqual([[['a', 'b']]])
  })

  it('fails a send that has waited maxBlockMs for it with a TimeoutError', async () => {
    const { producer, topics, clock } = setUp({ maxBlockMs: 50 })
    const later = createLater('later')
    topics.set('later', later.promise)
    const sent = observe(producer.send({ topic: 'later', value: 'a' }))
    await clock.advance(49)
    expect(sent.isSettled).toBe(false)
    await clock.advance(1)
    expect(sent.error).toBeInstanceOf(TimeoutError)
    expect(sent.error).toMatchObject({ outcome: 'not-written' })
    const next = observe(producer.send({ topic: 'later', value: 'b' }))
    const topic = later.create()
    await clock.advance(0)
    expect(next.metadata?.offset).toBe(0)
    expect(await topic.partition(0).written()).toEqual([[['b']]])
  })

  it('calls a callback only once, even if its creation fails after the timeout', async () => {
    const { producer, topics, clock } = setUp({ maxBlockMs: 50 })
    const later = createLater('later')
    topics.set('later', later.promise)
    const calls: unknown[] = []
    producer.send({ topic: 'later', value: 'a' }, (error) => calls.push(error))
    await clock.advance(50)
    later.refuse(new Error('refused'))
    await clock.advance(0)
    expect(calls).toEqual([expect.any(TimeoutError)])
  })

  it('is found with maxBlockMs 0 if the lookup takes no more than a tick', async () => {
    const { producer, topics } = setUp({ maxBlockMs: 0 })
    const later = createLater('later')
    topics.set('later', later.promise)
    later.create()
    expect((await producer.send({ topic: 'later', value: 'a' })).offset).toBe(0)
  })

  it('is waited for by flush and close', async () => {
    const { producer, topics, clock } = setUp({ lingerMs: 1000 })
    const later = createLater('later')
    topics.set('later', later.promise)
    const sent = observe(producer.send({ topic: 'later', value: 'a' }))
    const ends: string[] = []
    void producer.flush().then(() => ends.push('flush'))
    void producer.close().then(() => ends.push('close'))
    await clock.advance(0)
    expect(ends).toEqual([])
    later.create()
    await clock.advance(0)
    expect(ends).toEqual(['flush', 'close'])
    expect(sent.metadata?.offset).toBe(0)
  })

  it('receives nothing from a producer that was closed with timeoutMs 0 before', async () => {
    const { producer, topics, clock } = setUp()
    const later = createLater('later')
    topics.set('later', later.promise)
    const sent = observe(producer.send({ topic: 'later', value: 'a' }))
    await producer.close({ timeoutMs: 0 })
    expect(sent.error).toMatchObject({ code: 'CLOSED', outcome: 'not-written' })
    const topic = later.create()
    await clock.advance(0)
    expect(topic.partition(0).appends).toEqual([])
  })

  it('makes a send wait for buffer memory, like any other topic, once it exists', async () => {
    const { producer, topics, partition, clock } = setUp({ bufferMemory: 200 })
    const later = createLater('later')
    topics.set('later', later.promise)
    const value = 'x'.repeat(100)
    const sent = observe(producer.send({ topic: 'later', value }))
    void producer.send({ topic: 't', value })
    const topic = later.create()
    await clock.advance(0)
    expect(topic.partition(0).appends).toEqual([])
    partition.append(0).succeed()
    await clock.advance(0)
    expect(sent.metadata?.offset).toBe(0)
  })
})
