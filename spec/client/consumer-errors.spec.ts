import { describe, expect, it } from 'vitest'
import type { OffsetReset } from '../../lib/client/consumer-options.ts'
import type { Consumer } from '../../lib/client/consumer.ts'
import { CorruptRecordError, SerializationError } from '../../lib/errors.ts'
import {
  ConsumerHarness,
  NO_WAIT,
  T0,
  T1,
  numbers,
  values,
  type FakePartition,
} from './consumer-harness.ts'

function assigned(harness: ConsumerHarness): Consumer<string, string> {
  const consumer = harness.consumer()
  const partitions = harness.topics.get('t')?.partitions ?? []
  consumer.assign(partitions.map(({ index }) => ({ topic: 't', partition: index })))
  return consumer
}

describe('a failed read', () => {
  it('makes one poll reject, and is repeated by the next poll', async () => {
    const harness = new ConsumerHarness()
    harness.partition().append('a')
    harness.partition().damage = { offset: 0, error: new Error('EIO') }
    const consumer = assigned(harness)
    await expect(consumer.poll()).rejects.toThrow('EIO')
    harness.partition().damage = null
    expect(values(await consumer.poll())).toEqual(['a'])
  })
})

describe('a damaged batch', () => {
  const error = new CorruptRecordError('a bit has flipped', { path: 'x.log', position: 61 })

  it('is reported after the records before it, by every poll until a seek past it', async () => {
    const harness = new ConsumerHarness()
    const partition = harness.partition()
    for (const value of numbers(4)) partition.append(value)
    partition.damage = { offset: 2, error }
    const consumer = assigned(harness)
    expect(values(await consumer.poll())).toEqual(['0', '1'])
    for (let poll = 0; poll < 3; poll++) {
      await expect(consumer.poll()).rejects.toBe(error)
      expect(consumer.position(T0)).toBe(2)
    }
    partition.damage = null
    consumer.seek(T0, 3)
    expect(values(await consumer.poll())).toEqual(['3'])
  })

  it('holds up the other partitions only until its partition is paused', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    harness.partition('t', 0).append('a')
    harness.partition('t', 0).damage = { offset: 0, error }
    harness.partition('t', 1).append('b')
    const consumer = assigned(harness)
    await expect(consumer.poll(NO_WAIT)).rejects.toBe(error)
    await expect(consumer.poll(NO_WAIT)).rejects.toBe(error)
    consumer.pause([T0])
    expect(values(await consumer.poll(NO_WAIT))).toEqual(['b'])
  })

  it('is no longer reported once its records are deleted', async () => {
    const harness = new ConsumerHarness()
    const partition = harness.partition()
    for (const value of numbers(3)) partition.append(value)
    partition.damage = { offset: 0, error }
    const consumer = assigned(harness)
    await expect(consumer.poll(NO_WAIT)).rejects.toBe(error)
    partition.damage = null
    partition.deleteRecords(2)
    expect(values(await consumer.poll(NO_WAIT))).toEqual(['2'])
  })

  it('is no longer reported once its log is no longer damaged', async () => {
    const harness = new ConsumerHarness()
    const partition = harness.partition()
    partition.append('a')
    partition.damage = { offset: 0, error }
    partition.log.damage = error
    const consumer = assigned(harness)
    await expect(consumer.poll(NO_WAIT)).rejects.toBe(error)
    partition.damage = null
    partition.log.damage = null
    expect(values(await consumer.poll(NO_WAIT))).toEqual(['a'])
  })

  it('is reported in the same way when decoding finds it', async () => {
    const harness = new ConsumerHarness()
    harness.partition().append('a')
    harness.partition().appendUndecodable()
    harness.partition().append('c')
    const consumer = assigned(harness)
    expect(values(await consumer.poll())).toEqual(['a'])
    for (let poll = 0; poll < 2; poll++) {
      await expect(consumer.poll()).rejects.toMatchObject({
        code: 'CORRUPT_MESSAGE',
        firstOffset: 1,
      })
    }
    consumer.seek(T0, 2)
    expect(values(await consumer.poll())).toEqual(['c'])
  })
})

describe.each<[string, (partition: FakePartition) => void]>([
  [
    'a damaged batch',
    (partition) => {
      const error = new CorruptRecordError('a bit has flipped', { path: 'x.log', position: 61 })
      partition.append('3')
      partition.damage = { offset: 2, error }
    },
  ],
  [
    'a batch that cannot be decoded',
    (partition) => {
      partition.appendUndecodable()
    },
  ],
  [
    'a record that cannot be deserialized',
    (partition) => {
      partition.append('{')
    },
  ],
])('%s that was reported', (_, appendBad) => {
  const resets: OffsetReset[] = []

  function failing(): { harness: ConsumerHarness; consumer: Consumer<string, unknown> } {
    resets.length = 0
    const harness = new ConsumerHarness()
    for (const value of ['1', '2']) harness.partition().append(value)
    appendBad(harness.partition())
    const consumer = harness.jsonConsumer({ onOffsetReset: (reset) => resets.push(reset) })
    consumer.assign([T0])
    return { harness, consumer }
  }

  /** Truncates the log to `offset`, after which other records take the place of the removed ones. */
  function repair(partition: FakePartition, offset: number): void {
    partition.damage = null
    partition.truncate(offset)
    for (let at = offset; at < 4; at += 1) partition.append(String(at + 11))
  }

  it('is not reported again once other records have taken its place', async () => {
    const { harness, consumer } = failing()
    expect(values(await consumer.poll())).toEqual([1, 2])
    for (let poll = 0; poll < 2; poll++) await expect(consumer.poll()).rejects.toThrow()
    repair(harness.partition(), 2)
    expect(values(await consumer.poll())).toEqual([13, 14])
    expect(resets).toEqual([])
  })

  it('is not reported again to an iteration once other records have taken its place', async () => {
    const { harness, consumer } = failing()
    const next = (): Promise<unknown> => consumer[Symbol.asyncIterator]().next()
    for (const value of [1, 2]) expect(await next()).toMatchObject({ value: { value } })
    for (let each = 0; each < 2; each++) await expect(next()).rejects.toThrow()
    repair(harness.partition(), 2)
    expect(await next()).toMatchObject({ value: { value: 13 } })
    await consumer.close()
  })

  it('does not hide that the log was truncated below the position', async () => {
    const { harness, consumer } = failing()
    expect(values(await consumer.poll())).toEqual([1, 2])
    await expect(consumer.poll()).rejects.toThrow()
    repair(harness.partition(), 1)
    expect(values(await consumer.poll())).toEqual([12, 13, 14])
    expect(resets).toEqual([{ ...T0, from: 2, to: 1, reason: 'truncated' }])
  })

  it('is not reported again once it is deleted', async () => {
    const { harness, consumer } = failing()
    expect(values(await consumer.poll())).toEqual([1, 2])
    await expect(consumer.poll()).rejects.toThrow()
    harness.partition().append('5')
    const { logEndOffset } = harness.partition()
    harness.partition().damage = null
    harness.partition().deleteRecords(logEndOffset - 1)
    expect(values(await consumer.poll())).toEqual([5])
  })
})

describe('a record that cannot be deserialized', () => {
  it('is reported after the records before it, by every poll until a seek past it', async () => {
    const harness = new ConsumerHarness()
    harness.partition().append({ value: '1' }, { value: '2' }, { value: '{' }, { value: '4' })
    const consumer = harness.jsonConsumer()
    consumer.assign([T0])
    expect(values(await consumer.poll())).toEqual([1, 2])
    for (let poll = 0; poll < 2; poll++) {
      const error: unknown = await consumer.poll().catch((reason: unknown) => reason)
      expect(error).toBeInstanceOf(SerializationError)
      expect(error).toMatchObject({ topic: 't', partition: 0, offset: 2, part: 'value' })
      expect(error).toHaveProperty('cause', expect.any(SyntaxError))
      expect(consumer.position(T0)).toBe(2)
    }
    consumer.seek(T0, 3)
    expect(values(await consumer.poll())).toEqual([4])
  })

  it.each<[string, unknown, string]>([
    ['a text', 'mine', '(mine)'],
    ['an object without a prototype', Object.create(null), '(an object)'],
    ['what has no text', { toString: () => { throw new Error('no') } }, '(an object)'], // prettier-ignore
    ['an error with a symbol', Object.assign(new Error(), { message: Symbol('s') }), '(an instance of Error)'], // prettier-ignore
    ['what may not be looked at', new Proxy({}, { getPrototypeOf: () => { throw new Error('no') } }), '(an object)'], // prettier-ignore
  ])(
    'is reported with its partition and offset, also when %s is thrown',
    async (_what, thrown, reason) => {
      const harness = new ConsumerHarness()
      harness.partition().append('v')
      const consumer = harness.consumer({
        valueDeserializer: {
          deserialize() {
            throw thrown
          },
        },
      })
      consumer.assign([T0])
      const error: unknown = await consumer.poll().catch((failure: unknown) => failure)
      expect(error).toBeInstanceOf(SerializationError)
      expect(error).toMatchObject({ topic: 't', partition: 0, offset: 0, part: 'value' })
      expect((error as SerializationError).cause === thrown).toBe(true)
      expect((error as SerializationError).message).toContain(reason)
    },
  )

  it('is reported with the key as its part if the key deserializer throws', async () => {
    const harness = new ConsumerHarness()
    harness.partition().append({ key: 'k', value: 'v' })
    const consumer = harness.typedConsumer({
      keyDeserializer: {
        deserialize() {
          throw new Error('no key of mine')
        },
      },
    })
    consumer.assign([T0])
    await expect(consumer.poll()).rejects.toMatchObject({ part: 'key', offset: 0 })
  })

  it('is reported if the deserializer is asynchronous, because its errors would be lost', async () => {
    const harness = new ConsumerHarness()
    harness.partition().append('v')
    const consumer = harness.typedConsumer({
      valueDeserializer: { deserialize: () => Promise.reject(new Error('later')) },
    })
    consumer.assign([T0])
    await expect(consumer.poll()).rejects.toThrow('(a deserializer must not be asynchronous, got')
  })

  it('is reported after the records of other partitions before it, and before later ones', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    harness.partition('t', 0).append('1')
    harness.partition('t', 1).append('{')
    const consumer = harness.jsonConsumer()
    consumer.assign([T0, T1])
    expect(values(await consumer.poll())).toEqual([1])
    await expect(consumer.poll()).rejects.toThrow(SerializationError)
    harness.partition('t', 0).append('2')
    await expect(consumer.poll()).rejects.toThrow(SerializationError)
  })
})
