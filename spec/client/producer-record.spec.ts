import { describe, expect, it } from 'vitest'
import { json, string } from '../../lib/client/serde.ts'
import type { Producer } from '../../lib/client/producer.ts'
import type { ProducerRecord } from '../../lib/client/producer-record.ts'
import type { RecordMetadata } from '../../lib/client/send-completion.ts'
import { InvalidRecordError, RecordTooLargeError, SerializationError } from '../../lib/errors.ts'
import { setUp } from './fake-topic.ts'

/** A record that the types would reject. */
function asRecord(record: unknown): ProducerRecord {
  return record as ProducerRecord
}

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

describe('send with an invalid record', () => {
  const misuse: [string, unknown, ErrorConstructor, string][] = [
    ['is missing', undefined, TypeError, 'a record must be an object, got undefined'],
    ['is a string', 'x', TypeError, 'a record must be an object, got "x"'],
    ['is a list', [{}], TypeError, 'a record must be an object, got an array: sendBatch()'],
    ['has no topic', { value: 'a' }, TypeError, 'topic must be a string, got undefined'],
    ['has headers of a wrong form', { topic: 't', value: 'a', headers: 5 }, TypeError, 'headers'],
    ['has a text as timestamp', { topic: 't', value: 'a', timestamp: '5' }, TypeError, 'timestamp'],
    ['has a timestamp below 0', { topic: 't', value: 'a', timestamp: -2 }, RangeError, 'timestamp'],
    ['names a partition too high', { topic: 't', value: 'a', partition: 2 }, RangeError, '[0, 2)'],
    ['names a negative partition', { topic: 't', value: 'a', partition: -1 }, RangeError, 'from 0'],
    [
      'names a partition by a text',
      { topic: 't', value: 'a', partition: '0' },
      TypeError,
      'partition must be a number, got "0"',
    ],
  ]

  it.each(misuse)(
    'throws or rejects, and sends nothing, if the record %s',
    async (_what, record, type, message) => {
      const { producer, topic, clock } = setUp({}, { partitions: 2 })
      const calls: unknown[] = []
      const throwing = () => {
        producer.send(asRecord(record), (error) => {
          calls.push(error)
        })
      }
      expect(throwing).toThrow(type)
      expect(throwing).toThrow(message)
      await expect(producer.send(asRecord(record))).rejects.toThrow(type)
      await expect(producer.send(asRecord(record))).rejects.toThrow(message)
      await clock.advance(0)
      expect(calls).toEqual([])
      expect(topic.partitions.flatMap((partition) => partition.appends)).toEqual([])
      expect(producer.usedBytes).toBe(0)
    },
  )
})

describe('a serializer', () => {
  it('receives the topic and the data, and is not called for null', async () => {
    const seen: unknown[] = []
    const keySerializer = {
      serialize(topic: string, data: number): Buffer {
        seen.push([topic, data])
        return Buffer.of(data)
      },
    }
    const { producer, partition } = setUp<number, { id: number }>({
      keySerializer,
      valueSerializer: json<{ id: number }>(),
    })
    partition.isAutomatic = true
    await producer.send({ topic: 't', key: 7, value: { id: 1 } })
    await producer.send({ topic: 't', key: null, value: null })
    await producer.send({ topic: 't', value: null })
    expect(seen).toEqual([['t', 7]])
    expect(await partition.records()).toMatchObject([
      { key: Buffer.of(7), value: Buffer.from('{"id":1}') },
      { key: null, value: null },
      { key: null, value: null },
    ])
  })

  it('stores null if it returns null, and exactly the bytes of any Uint8Array that it returns', async () => {
    const plain = new Uint8Array([9, 1, 2, 9]).subarray(1, 3)
    const results = [null, plain]
    const valueSerializer = { serialize: () => results.shift() as Buffer | null }
    const { producer, partition } = setUp({ valueSerializer })
    partition.isAutomatic = true
    await producer.send({ topic: 't', value: 'x' })
    await producer.send({ topic: 't', value: 'x' })
    const stored = await partition.records()
    expect(stored.map(({ value }) => value)).toEqual([null, Buffer.of(1, 2)])
  })

  it.each(['key', 'value'] as const)(
    'fails the send, by promise or callback, with a SerializationError if it throws on a %s',
    async (part) => {
      const { producer } = setUp<string, string>({
        keySerializer: string(),
        valueSerializer: string(),
      })
      const record = asRecord({ topic: 't', partition: 0, key: 'k', value: 'v', [part]: 5 })
      const expected = {
        code: 'SERIALIZATION_ERROR',
        topic: 't',
        partition: 0,
        offset: null,
        part,
        cause: new TypeError('string() takes a string, got number'),
      }
      const error: unknown = await producer
        .send(record as ProducerRecord<string, string>)
        .catch((reason: unknown) => reason)
      expect(error).toBeInstanceOf(SerializationError)
      expect(error).toMatchObject(expected)
      const called = await sendWithCallback(producer, record)
      expect(called.error).toMatchObject(expected)
    },
  )

  it.each([Object.create(null), Object.assign(new Error(), { message: Symbol('s') })])(
    'fails the send with what it throws as the cause, even if that has no readable message (%#)',
    async (thrown: unknown) => {
      const valueSerializer = {
        serialize: () => {
          throw thrown
        },
      }
      const { producer } = setUp({ valueSerializer })
      const error: unknown = await producer
        .send({ topic: 't', value: 'a' })
        .catch((failure: unknown) => failure)
      expect(error).toBeInstanceOf(SerializationError)
      expect((error as SerializationError).cause === thrown).toBe(true)
    },
  )

  it('fails the send if it returns anything but bytes or null', async () => {
    const valueSerializer = { serialize: () => 'text' as unknown as Buffer }
    const { producer } = setUp({ valueSerializer })
    await expect(producer.send({ topic: 't', value: 'a' })).rejects.toMatchObject({
      part: 'value',
      partition: null,
      cause: new TypeError('a serializer must return a Buffer or null, got "text"'),
    })
  })

  it('rejects a record without a value by default', async () => {
    const { producer } = setUp()
    await expect(producer.send(asRecord({ topic: 't' }))).rejects.toThrow(SerializationError)
  })
})

it('resolves with timestamp 0 for a record that is sent with timestamp -0', async () => {
  const { producer, partition } = setUp()
  partition.isAutomatic = true
  const sent = await producer.send({ topic: 't', value: 'a', timestamp: -0 })
  expect(sent.timestamp).toBe(0)
})

describe('the partition of a record', () => {
  it('is the one that the record names, otherwise the one that its key hashes to', async () => {
    const { producer, topic } = setUp({}, { partitions: 10 })
    for (const partition of topic.partitions) partition.isAutomatic = true
    const named = await producer.send({ topic: 't', key: 'foobar', partition: 3, value: 'a' })
    expect(named.partition).toBe(3)
    const hashed = await producer.send({ topic: 't', key: 'foobar', value: 'a' })
    expect(hashed.partition).toBe(6)
  })

  it('is chosen by the partitioner, which receives the serialized record and the partition count', async () => {
    const seen: unknown[] = []
    const { producer, topic } = setUp(
      {
        partitioner: (record, count, load) => {
          seen.push({ ...record, count, load: [...(load ?? [])] })
          return 1
        },
      },
      { partitions: 3 },
    )
    topic.partition(1).isAutomatic = true
    const sent = await producer.send({ topic: 't', key: 'k', value: 'v' })
    expect(sent.partition).toBe(1)
    const [key, value] = [Buffer.from('k'), Buffer.from('v')]
    expect(seen).toEqual([expect.objectContaining({ topic: 't', key, value, count: 3 })])
    expect(seen).toMatchObject([{ load: [0, 0, 0] }])
  })

  it('is chosen by a partitioner that receives the number of unsettled batches per partition', async () => {
    const loads: (readonly number[])[] = []
    const { producer, topic, clock } = setUp(
      {
        batchRecords: 1,
        partitioner: (_record, _count, load = []) => {
          loads.push([...load])
          return 1
        },
      },
      { partitions: 2 },
    )
    for (const value of ['a', 'b', 'c']) void producer.send({ topic: 't', value })
    await clock.advance(0)
    topic.partition(1).append(0).succeed()
    await clock.advance(0)
    void producer.send({ topic: 't', value: 'd' })
    expect(loads).toEqual([
      [0, 0],
      [0, 1],
      [0, 2],
      [0, 0],
    ])
  })

  it.each([2, -1, 0.5, undefined, '0'])(
    'is refused with a RangeError if the partitioner returns %j',
    async (said) => {
      const { producer } = setUp({ partitioner: () => said as number }, { partitions: 2 })
      await expect(producer.send({ topic: 't', value: 'a' })).rejects.toThrow(RangeError)
      expect(producer.usedBytes).toBe(0)
    },
  )

  it.each([
    ['an error of its own', new Error('mine')],
    ['one of ours', new InvalidRecordError('theirs')],
  ])(
    'is not determined if the partitioner throws %s, and the send fails with that error',
    async (_, mine) => {
      const { producer } = setUp({
        partitioner: () => {
          throw mine
        },
      })
      await expect(producer.send({ topic: 't', value: 'a' })).rejects.toBe(mine)
      expect(() => {
        producer.send({ topic: 't', value: 'a' }, () => undefined)
      }).toThrow(mine)
    },
  )
})

describe('a record that its topic cannot accept', () => {
  it('is rejected at once if it exceeds maxMessageBytes, while one of exactly that size is sent', async () => {
    const { producer, partition } = setUp({}, { config: { maxMessageBytes: 200 } })
    partition.isAutomatic = true
    const overhead = 61 + 2 + 1 + 1 + 1 + 1 + 2 + 1
    await producer.send({ topic: 't', value: 'x'.repeat(200 - overhead) })
    expect(partition.append(0).batches[0]?.sizeBytes).toBe(200)
    const tooLarge = producer.send({ topic: 't', value: 'x'.repeat(201 - overhead) })
    await expect(tooLarge).rejects.toMatchObject({
      code: 'MESSAGE_TOO_LARGE',
      message: "the batch would take 201 bytes, maxMessageBytes of topic 't' allows 200",
      sizeBytes: 201,
      maxBytes: 200,
      outcome: 'not-written',
    })
    const record = { topic: 't', value: 'x'.repeat(201 - overhead) }
    expect((await sendWithCallback(producer, record)).error).toBeInstanceOf(RecordTooLargeError)
    expect(partition.appends).toHaveLength(1)
    expect(producer.usedBytes).toBe(0)
  })

  it('is rejected at once if it exceeds segmentBytes', async () => {
    const { producer } = setUp({}, { config: { segmentBytes: 100 } })
    const sent = producer.send({ topic: 't', value: 'x'.repeat(50) })
    await expect(sent).rejects.toMatchObject({ maxBytes: 100 })
  })

  it('is rejected alone if it has no key and the topic is compacted', async () => {
    const { producer, partition } = setUp({}, { config: { cleanupPolicy: 'compact' } })
    partition.isAutomatic = true
    const keyed = producer.send({ topic: 't', key: 'k', value: 'a' })
    const keyless = producer.send({ topic: 't', value: 'b' })
    await expect(keyless).rejects.toThrow(InvalidRecordError)
    expect((await keyed).offset).toBe(0)
  })
})
