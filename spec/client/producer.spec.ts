import { afterEach, describe, expect, it, vi } from 'vitest'
import type { Producer } from '../../lib/client/producer.ts'
import type { ProducerRecord } from '../../lib/client/producer-record.ts'
import type { RecordMetadata, SendCallback } from '../../lib/client/send-completion.ts'
import { ClosedError, StorageError, UnknownTopicOrPartitionError } from '../../lib/errors.ts'
import { observe, setUp } from './fake-topic.ts'
import { holdTurns } from '../helpers/held-turns.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

/** The outcome of the callback form, as a promise of what the callback was called with. */
function sendWithCallback(
  producer: Producer,
  record: ProducerRecord,
): Promise<{ error: Error | null; metadata: RecordMetadata | null }> {
  return new Promise((resolve) => {
    producer.send(record, (error, metadata) => {
      resolve({ error, metadata })
    })
  })
}

const writeError = new StorageError('the disk is full', { path: '/d', outcome: 'not-written' })

describe('send', () => {
  it('resolves with topic, partition, offset and timestamp once the append is acknowledged', async () => {
    const { producer, partition, clock } = setUp()
    const first = observe(producer.send({ topic: 't', value: 'a' }))
    const second = observe(producer.send({ topic: 't', value: 'b', timestamp: 7 }))
    await clock.advance(0)
    expect(first.isSettled).toBe(false)
    partition.append(0).succeed()
    await clock.advance(0)
    expect(first.metadata).toEqual({ topic: 't', partition: 0, offset: 0, timestamp: 1_000_000 })
    expect(second.metadata).toEqual({ topic: 't', partition: 0, offset: 1, timestamp: 7 })
    void producer.send({ topic: 't', value: 'c', timestamp: -1 })
    await clock.advance(0)
    partition.append(1).succeed()
    const [, , third] = await partition.records()
    expect(third).toMatchObject({ offset: 2, timestamp: 1_000_000 })
  })

  it('stores key, value, headers and timestamp as they were given', async () => {
    const { producer, partition } = setUp()
    partition.isAutomatic = true
    await producer.send({
      topic: 't',
      key: 'k',
      value: Buffer.from('v'),
      headers: { trace: '1', none: null },
      timestamp: 5,
    })
    await producer.send({ topic: 't', value: null })
    await producer.send({ topic: 't', key: '', value: '' })
    expect(await partition.records()).toEqual([
      {
        topic: 't',
        partition: 0,
        offset: 0,
        timestamp: 5,
        key: Buffer.from('k'),
        value: Buffer.from('v'),
        headers: [
          { key: 'trace', value: Buffer.from('1') },
          { key: 'none', value: null },
        ],
      },
      expect.objectContaining({ key: null, value: null, headers: [] }),
      expect.objectContaining({ key: Buffer.alloc(0), value: Buffer.alloc(0) }),
    ])
  })

  it('copies the bytes of a record during the call if there is memory for it', async () => {
    const { producer, partition } = setUp()
    partition.isAutomatic = true
    const value = Buffer.from('before')
    const sent = producer.send({ topic: 't', value })
    value.fill('x')
    await sent
    expect(await partition.written()).toEqual([[['before']]])
  })

  it('reports the append time if the topic uses LogAppendTime', async () => {
    const { producer, partition, clock } = setUp(
      {},
      { config: { messageTimestampType: 'LogAppendTime' } },
    )
    const sent = observe(producer.send({ topic: 't', value: 'a', timestamp: 7 }))
    await clock.advance(0)
    partition.append(0).succeed(123)
    await clock.advance(0)
    expect(sent.metadata?.timestamp).toBe(123)
  })

  it('passes acks to the append', async () => {
    for (const acks of [1, 'all'] as const) {
      const { producer, partition, clock } = setUp({ acks })
      void producer.send({ topic: 't', value: 'a' })
      await clock.advance(0)
      expect(partition.append(0).acks).toBe(acks)
      partition.append(0).succeed()
    }
  })

  it('resolves without an offset while the write is still under way if acks is 0', async () => {
    const { producer, partition, clock } = setUp({ acks: 0 })
    const metadata = { topic: 't', partition: 0, offset: -1, timestamp: 3 }
    expect(await producer.send({ topic: 't', value: 'a', timestamp: 3 })).toEqual(metadata)
    const record = { topic: 't', value: 'b', timestamp: 3 }
    expect(await sendWithCallback(producer, record)).toEqual({ error: null, metadata })
    partition.append(0).succeed()
    await clock.advance(0)
    expect(await partition.append(1).values()).toEqual([['b']])
    expect(producer.usedBytes).toBeGreaterThan(0)
    partition.append(1).succeed()
    await clock.advance(0)
    expect(producer.usedBytes).toBe(0)
  })

  it('resolves at the end of the tick if acks is 0, however long a batch lingers', async () => {
    const { producer, partition } = setUp({ acks: 0, lingerMs: 1000 })
    await producer.send({ topic: 't', value: 'a' })
    expect(partition.appends).toEqual([])
  })

  it.each(['flush', 'close'] as const)(
    'calls all callbacks before %s resolves if acks is 0, even if the event loop is busy',
    async (how) => {
      const { producer, partition, clock } = setUp({ acks: 0 })
      holdTurns()
      const told: unknown[] = []
      for (const value of ['a', 'b']) {
        producer.send({ topic: 't', value }, (error) => {
          told.push(error)
        })
      }
      let hasEnded = false
      void producer[how]().then(() => {
        hasEnded = true
      })
      await clock.advance(0)
      partition.append(0).succeed()
      await clock.advance(0)
      expect([hasEnded, told]).toEqual([true, [null, null]])
    },
  )

  it('rejects all records of a failed append and those queued behind it, and sends later ones', async () => {
    const { producer, partition, clock } = setUp()
    const failed = [
      observe(producer.send({ topic: 't', value: 'a' })),
      observe(producer.send({ topic: 't', value: 'b' })),
    ]
    await clock.advance(0)
    const next = observe(producer.send({ topic: 't', value: 'c' }))
    partition.append(0).fail(writeError)
    await clock.advance(0)
    expect(failed.map(({ error }) => error)).toEqual([writeError, writeError])
    // Otherwise there would be a gap in what this producer sent.
    expect(next.error).toMatchObject({ outcome: 'not-written', cause: writeError })
    const later = observe(producer.send({ topic: 't', value: 'd' }))
    await clock.advance(0)
    partition.append(1).succeed()
    await clock.advance(0)
    expect(later.metadata?.offset).toBe(0)
    expect(await partition.written()).toEqual([[['a', 'b']], [['d']]])
  })

  it('wraps the reason in an Error if a partition rejects with something else', async () => {
    const { producer, partition, clock } = setUp()
    const sent = observe(producer.send({ topic: 't', value: 'a' }))
    await clock.advance(0)
    partition.append(0).fail('broken')
    await clock.advance(0)
    expect(sent.error).toMatchObject({ message: 'the append failed', cause: 'broken' })
  })
})

describe('send with a callback', () => {
  it('calls it once with the metadata, after send has returned, and returns undefined', async () => {
    const { producer, partition, clock } = setUp()
    partition.isAutomatic = true
    const calls: unknown[] = []
    const send = producer.send.bind(producer) as (...args: unknown[]) => unknown
    const returned = send({ topic: 't', value: 'a' }, (...args: unknown[]) => {
      calls.push(args)
    })
    expect(returned).toBeUndefined()
    expect(calls).toEqual([])
    await clock.advance(0)
    expect(calls).toEqual([[null, { topic: 't', partition: 0, offset: 0, timestamp: 1_000_000 }]])
  })

  it('calls the callbacks in the order of the sends, across batches, successes and failures', async () => {
    const { producer, partition, clock } = setUp({ batchRecords: 2 })
    const calls: string[] = []
    const send = (...sent: string[]): void => {
      for (const value of sent) {
        producer.send({ topic: 't', value }, (error, metadata) => {
          calls.push(`${value} ${error?.name ?? metadata?.offset ?? 'nothing'}`)
        })
      }
    }
    send('a', 'b', 'c')
    await clock.advance(0)
    send('d', 'e', 'f')
    partition.append(0).succeed()
    await clock.advance(0)
    send('g')
    partition.append(1).fail(writeError)
    await clock.advance(0)
    send('h')
    await clock.advance(0)
    partition.append(2).succeed()
    await clock.advance(0)
    const failed = ['d', 'e', 'f', 'g'].map((value) => `${value} StorageError`)
    expect(calls).toEqual(['a 0', 'b 1', 'c 2', ...failed, 'h 3'])
  })

  it('settles the following records if a callback throws', async () => {
    vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
    const { producer, partition, clock } = setUp()
    partition.isAutomatic = true
    producer.send({ topic: 't', value: 'a' }, () => {
      throw new Error('mine')
    })
    const next = observe(producer.send({ topic: 't', value: 'b' }))
    await clock.advance(0)
    expect(next.metadata?.offset).toBe(1)
    producer.send({ topic: 'missing', value: 'a' }, () => {
      throw new Error('mine')
    })
    await clock.advance(0)
    await producer.close()
  })

  it('handles the rejection of an async callback', async () => {
    const { producer, partition, clock } = setUp()
    partition.isAutomatic = true
    const returned = Promise.reject(new Error('mine'))
    const handled = vi.spyOn(returned, 'catch')
    producer.send({ topic: 't', value: 'a' }, (() => returned) as SendCallback)
    await clock.advance(0)
    expect(handled).toHaveBeenCalledOnce()
    await expect(returned).rejects.toThrow('mine')
  })

  it('accepts sends from within a callback, and settles them in order', async () => {
    const { producer, partition, clock } = setUp()
    partition.isAutomatic = true
    const calls: string[] = []
    const chain: SendCallback = (_error, metadata) => {
      calls.push(`offset ${metadata?.offset ?? 'none'}`)
      if (calls.length < 4) producer.send({ topic: 't', value: 'next' }, chain)
    }
    producer.send({ topic: 't', value: 'first' }, chain)
    await clock.advance(0)
    expect(calls).toEqual(['offset 0', 'offset 1', 'offset 2', 'offset 3'])
  })

  it('reports an unknown topic and a closed producer to the callback instead of throwing', async () => {
    const { producer } = setUp()
    const unknown = await sendWithCallback(producer, { topic: 'missing', value: 'a' })
    expect(unknown.error).toBeInstanceOf(UnknownTopicOrPartitionError)
    expect(unknown.metadata).toBeNull()
    await producer.close()
    const closed = await sendWithCallback(producer, { topic: 't', value: 'a' })
    expect(closed.error).toBeInstanceOf(ClosedError)
  })

  it('throws if the callback is not a function', () => {
    const { producer } = setUp()
    const attempt = () => {
      producer.send({ topic: 't', value: 'a' }, null as unknown as SendCallback)
    }
    expect(attempt).toThrow('callback must be a function, got null')
  })
})

describe('sendBatch', () => {
  it('resolves with the metadata in the order of the records, and batches them per partition', async () => {
    const { producer, topic } = setUp({}, { partitions: 2 })
    for (const partition of topic.partitions) partition.isAutomatic = true
    const records = [0, 1, 0].map((partition) => ({ topic: 't', partition, value: 'v' }))
    const places = await producer.sendBatch(records)
    expect(places.map(({ partition, offset }) => [partition, offset])).toEqual([
      [0, 0],
      [1, 0],
      [0, 1],
    ])
    expect(await topic.partition(0).written()).toEqual([[['v', 'v']]])
  })

  it('gives all records without a timestamp the same one', async () => {
    const { producer, partition, clock } = setUp()
    partition.isAutomatic = true
    let nowMs = 5000
    vi.spyOn(clock, 'now').mockImplementation(() => nowMs++)
    const values = [
      { topic: 't', value: 'a' },
      { topic: 't', value: 'b', timestamp: 7 },
    ]
    const places = await producer.sendBatch([...values, { topic: 't', value: 'c' }])
    expect(places.map(({ timestamp }) => timestamp)).toEqual([5000, 7, 5000])
  })

  it('resolves with an empty array for an empty array', async () => {
    expect(await setUp().producer.sendBatch([])).toEqual([])
  })

  it('rejects with the error of the first record that failed, once all are settled', async () => {
    const { producer, partition, clock } = setUp()
    const batch = producer.sendBatch([
      { topic: 't', value: 'a' },
      { topic: 'missing', value: 'b' },
      { topic: 't', value: 'c', timestamp: -5 },
    ])
    let error: unknown = null
    batch.catch((reason: unknown) => {
      error = reason
    })
    await clock.advance(0)
    expect(error).toBeNull()
    partition.append(0).succeed()
    await clock.advance(0)
    expect(error).toBeInstanceOf(UnknownTopicOrPartitionError)
    expect(await partition.written()).toEqual([[['a']]])
  })

  it('rejects with the error that is first in record order, not in time', async () => {
    const { producer, partition, clock } = setUp()
    const batch = producer.sendBatch([
      { topic: 't', value: 'a' },
      { topic: 'missing', value: 'b' },
    ])
    const rejected = expect(batch).rejects.toBe(writeError)
    await clock.advance(0)
    partition.append(0).fail(writeError)
    await rejected
  })

  it('rejects when the producer is closed', async () => {
    const { producer } = setUp()
    await producer.close()
    await expect(producer.sendBatch([{ topic: 't', value: 'a' }])).rejects.toThrow(ClosedError)
  })

  it('rejects an array with holes', async () => {
    const records = new Array<ProducerRecord>(2)
    await expect(setUp().producer.sendBatch(records)).rejects.toThrow('a record must be an object')
  })

  it('rejects anything but an array', async () => {
    const { producer } = setUp()
    const records = { topic: 't', value: 'a' } as unknown as ProducerRecord[]
    await expect(producer.sendBatch(records)).rejects.toThrow('records must be an array')
  })
})
