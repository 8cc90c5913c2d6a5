import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { WritableStream } from 'node:stream/web'
import { describe, expect, it } from 'vitest'
import {
  RecordTooLargeError,
  UnknownTopicOrPartitionError,
  type Broker,
  type ConsumerRecord,
} from '../../lib/index.ts'
import {
  toReadable,
  toReadableStream,
  toWritable,
  toWritableStream,
} from '../../lib/offline/index.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { tempBroker } from '../../lib/testing/temp-broker.ts'

async function setUp(count = 6) {
  const broker = await tempBroker({ fileSystem: new SimulatedFileSystem() })
  const topic = await broker.createTopic('t')
  const values = Array.from({ length: count }, (_, at) => ({ value: `${at}` }))
  if (count > 0) await topic.partition(0).append(values)
  const consumer = () => {
    const made = broker.consumer({ groupId: 'g' })
    made.subscribe(['t'])
    return made
  }
  return { broker, partition: topic.partition(0), consumer }
}

function committed(broker: Broker): number | undefined {
  return broker.describe().groups[0]?.offsets[0]?.offset
}

async function valuesIn(broker: Broker): Promise<string[]> {
  const values: string[] = []
  for await (const { value } of broker.topic('t').partition(0).records({ until: 'end' })) {
    values.push(value?.toString() ?? '')
  }
  return values
}

describe('a readable stream', () => {
  it('returns the records of a partition and then ends', async () => {
    const { broker, partition } = await setUp()
    const seen: number[] = []
    for await (const each of toReadable(partition.records({ until: 'end' }))) {
      seen.push(each.offset)
    }
    for await (const each of toReadableStream(partition.records({ until: 'end' }))) {
      seen.push(each.offset)
    }
    expect(seen).toEqual([0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5])
    await broker.close()
  })

  it('fails if its source yields null, instead of ending there', async () => {
    async function* values(): AsyncGenerator<number | null> {
      yield* [1, null, 2]
      await Promise.resolve()
    }
    const seen: unknown[] = []
    const reading = (async () => {
      for await (const each of toReadable(values())) seen.push(each)
    })()
    await expect(reading).rejects.toThrow('a stream cannot carry null')
    expect(seen).toEqual([1])
  })

  it('counts a record of a consumer as done when the next one is requested', async () => {
    const { broker, consumer } = await setUp()
    const reader = consumer()
    for await (const each of toReadable(reader)) {
      if (each.offset === 2) break
    }
    await reader.close()
    expect(committed(broker)).toBe(2)
    const other = consumer()
    for await (const each of toReadableStream(other)) {
      if (each.offset === 4) break
    }
    await other.close()
    expect(committed(broker)).toBe(4)
    await broker.close()
  })

  it('commits no record of a consumer that a target which accepts one at a time has not written', async () => {
    const { broker, consumer } = await setUp()
    const failure = new Error('no room')
    const reader = consumer()
    const failing = new Writable({
      objectMode: true,
      highWaterMark: 1,
      write: (record: ConsumerRecord, _encoding, done) => {
        setImmediate(() => {
          done(record.offset === 3 ? failure : null)
        })
      },
    })
    await expect(pipeline(toReadable(reader), failing)).rejects.toBe(failure)
    await reader.close()
    expect(committed(broker)).toBe(3)
    const other = consumer()
    const web = new WritableStream<ConsumerRecord>({
      write: async (record) => {
        await new Promise((resolve) => setImmediate(resolve))
        if (record.offset === 5) throw failure
      },
    })
    await expect(toReadableStream(other).pipeTo(web)).rejects.toBe(failure)
    await other.close()
    expect(committed(broker)).toBe(5)
    await broker.close()
  })

  it('is destroyed or cancelled immediately while it waits for a record', async () => {
    const { broker, consumer } = await setUp(0)
    const stream = toReadable(consumer())
    const closed = new Promise((resolve) => stream.once('close', resolve))
    stream.on('data', () => undefined)
    stream.destroy()
    await closed
    const reader = toReadableStream(consumer()).getReader()
    const read = reader.read()
    await reader.cancel()
    expect(await read).toMatchObject({ done: true })
    await broker.close()
  })

  it('passes on the errors of its source', async () => {
    const failing = {
      [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(new Error('rot')) }),
    }
    await expect(toReadable(failing).toArray()).rejects.toThrow('rot')
    await expect(toReadableStream(failing).getReader().read()).rejects.toThrow('rot')
    const stuck = {
      [Symbol.asyncIterator]: () => ({
        next: () => new Promise<never>(() => undefined),
        return: () => Promise.reject(new Error('stuck')),
      }),
    }
    const stream = toReadable(stuck)
    const error = new Promise((resolve) => stream.once('error', resolve))
    stream.destroy()
    expect(await error).toMatchObject({ message: 'stuck' })
    expect(() => toReadable([1] as never)).toThrow('source must be an async iterable, got an array')
  })
})

describe('a writable stream', () => {
  it('sends text, bytes and records, and finishes when they are acknowledged', async () => {
    const { broker } = await setUp(0)
    const options = { topic: 't' }
    const chunks = ['a', Buffer.from('b'), { value: 'c', key: 'k' }, { topic: 't', value: 'd' }]
    await pipeline(Readable.from(chunks), toWritable(broker.producer(), options))
    const writer = toWritableStream(broker.producer(), options).getWriter()
    for (const chunk of chunks) await writer.write(chunk)
    await writer.close()
    expect(await valuesIn(broker)).toEqual(['a', 'b', 'c', 'd', 'a', 'b', 'c', 'd'])
    await broker.close()
  })

  it('sends records whose fields are getters, as a producer does, and rejects a Map and a null record', async () => {
    const { broker } = await setUp(0)
    class Getters {
      readonly topic: string | undefined = undefined
      readonly #value: string
      constructor(value: string) {
        this.#value = value
      }
      get value(): string {
        return this.#value
      }
    }
    const producer = broker.producer()
    const chunk = new Getters('a')
    await pipeline(Readable.from([chunk]), toWritable(producer, { topic: 't' }))
    const toRecord = (value: string) => new Getters(value) as { value: string }
    await pipeline(Readable.from(['b']), toWritable(producer, { topic: 't', toRecord }))
    expect(await valuesIn(broker)).toEqual(['a', 'b'])
    const map = pipeline(Readable.from([new Map()]), toWritable(producer, { topic: 't' }))
    await expect(map).rejects.toThrow(
      'a written chunk must be a string, a Uint8Array or a record, got an instance of Map',
    )
    const plain = pipeline(Readable.from([{ a: 1 }]), toWritable(producer, { topic: 't' }))
    await expect(plain).rejects.toThrow(
      /^unknown key "a" in a written record; known keys are topic, .*; to write other chunks, set toRecord$/,
    )
    const none = toWritable(producer, { topic: 't', toRecord: () => null as never })
    const nothing = pipeline(Readable.from(['c']), none)
    await expect(nothing).rejects.toThrow('toRecord must return a record, got null')
    await broker.close()
  })

  it('makes records with toRecord, and rejects if that returns a promise', async () => {
    const { broker } = await setUp(0)
    const options = { topic: 't', toRecord: (each: number) => ({ value: `n${each}` }) }
    await pipeline(Readable.from([1, 2]), toWritable(broker.producer(), options))
    await toReadableStream(numbers(3)).pipeTo(toWritableStream(broker.producer(), options))
    expect(await valuesIn(broker)).toEqual(['n1', 'n2', 'n0', 'n1', 'n2'])
    const unready = { topic: 't', toRecord: () => Promise.resolve({ value: 'x' }) as never }
    const sending = pipeline(Readable.from([1]), toWritable(broker.producer(), unready))
    await expect(sending).rejects.toThrow('toRecord must return a record, got')
    expect(await valuesIn(broker)).toHaveLength(5)
    await broker.close()
  })

  it('makes its source wait while highWaterMark chunks are in flight', async () => {
    const { broker } = await setUp(0)
    const stream = toWritable(broker.producer(), { topic: 't', highWaterMark: 2 })
    expect([stream.write('a'), stream.write('b')]).toEqual([true, false])
    await new Promise((resolve) => stream.once('drain', resolve))
    expect(await valuesIn(broker)).toEqual(['a', 'b'])
    const web = toWritableStream(broker.producer(), {
      topic: 't',
      highWaterMark: 3,
      toRecord: (each: number) => ({ value: `${each}` }),
    })
    await toReadableStream(numbers(20)).pipeTo(web)
    expect(await valuesIn(broker)).toHaveLength(22)
    await broker.close()
  })

  it('reports for each write whether its record was accepted if highWaterMark is 1', async () => {
    const { broker } = await setUp(0)
    const options = { topic: 't', highWaterMark: 1 }
    const writer = toWritableStream(broker.producer(), options).getWriter()
    const closed = expect(writer.closed).rejects.toThrow(RecordTooLargeError)
    await writer.write('a')
    expect(await valuesIn(broker)).toEqual(['a'])
    await expect(writer.write('x'.repeat(2_000_000))).rejects.toThrow(RecordTooLargeError)
    await closed
    await broker.close()
  })

  it('sends what was written before a chunk that is not a record', async () => {
    const { broker } = await setUp(0)
    const stream = toWritable(broker.producer(), { topic: 't' })
    const failed = new Promise((resolve) => stream.once('error', resolve))
    // The others queue up while the first one is in flight.
    for (const chunk of ['a', 'b', 'c', 7, 'd']) stream.write(chunk)
    expect(await failed).toMatchObject({ message: expect.stringContaining('got 7') as string })
    expect(await valuesIn(broker)).toEqual(['a', 'b', 'c'])
    await broker.close()
  })

  it.each([null, undefined, 0, '', false, 'text'])(
    'fails even if toRecord throws something that is not an error: %s',
    async (thrown) => {
      const { broker } = await setUp(0)
      const refuse = (): never => {
        throw thrown as unknown as Error
      }
      const toRecord = (each: number) => (each === 2 ? refuse() : { value: `${each}` })
      const stream = toWritable(broker.producer(), { topic: 't', toRecord })
      await expect(pipeline(Readable.from([1, 2, 3]), stream)).rejects.toMatchObject({
        cause: thrown,
      })
      expect(await valuesIn(broker)).toEqual(['1'])
      await broker.close()
    },
  )

  it('fails with the error of the first record that could not be sent', async () => {
    const { broker } = await setUp(0)
    const unknown = toWritable(broker.producer(), { topic: 'none' })
    await expect(pipeline(Readable.from(['a']), unknown)).rejects.toThrow(
      UnknownTopicOrPartitionError,
    )
    const wrong = toWritable(broker.producer(), { topic: 't' })
    await expect(pipeline(Readable.from([7]), wrong)).rejects.toThrow('got 7')
    const web = toWritableStream(broker.producer(), { topic: 'none' }).getWriter()
    const closed = expect(web.closed).rejects.toThrow(UnknownTopicOrPartitionError)
    await web.write('a').catch(() => undefined)
    await closed
    const large = toWritableStream(broker.producer(), { topic: 't' }).getWriter()
    const writing = large.write('x'.repeat(2_000_000))
    const closing = large.close()
    await expect(Promise.all([writing, closing])).rejects.toThrow(RecordTooLargeError)
    await broker.close()
  })

  it('throws for an invalid producer or invalid options', async () => {
    const { broker } = await setUp(0)
    const producer = broker.producer()
    expect(() => toWritable(producer, {} as never)).toThrow('topic must be a non-empty string')
    for (const make of [toWritable, toWritableStream]) {
      expect(() => make(null as never, { topic: 't' })).toThrow('producer must be an object with')
    }
    expect(() => toWritable(producer, { topic: 't', highWaterMark: 0 })).toThrow(
      'highWaterMark must',
    )
    expect(() => toWritableStream(producer, { topc: 't' } as never)).toThrow(
      "did you mean 'topic'?",
    )
    await broker.close()
  })
})

async function* numbers(count: number): AsyncGenerator<number> {
  for (let each = 0; each < count; each += 1) yield await Promise.resolve(each)
}
