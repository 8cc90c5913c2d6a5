import { describe, expect, it } from 'vitest'
import type { ResolvedTopicConfig } from '../../lib/config.ts'
import { RecordTooLargeError, StorageError, type TimeoutError } from '../../lib/errors.ts'
import type { ProducerOptions } from '../../lib/client/producer-options.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { setUp, type Bench } from './fake-topic.ts'

type Text = string | Uint8Array

/** A producer whose batches wait, and a topic that can be altered meanwhile. */
function setUpWaiting(
  options: ProducerOptions = {},
): Bench<Text, Text> & { alter(config: Partial<ResolvedTopicConfig>): void } {
  const bench = setUp({ lingerMs: 10, ...options })
  return {
    ...bench,
    alter(config) {
      bench.topic.config = { ...bench.topic.config, ...config }
    },
  }
}

/** Logs the order in which sends settle. */
function sendInOrder({ producer }: Bench<Text, Text>, values: readonly string[]): string[] {
  const settled: string[] = []
  for (const value of values) {
    producer.send({ topic: 't', value, key: 'k', headers: { h: value[0] ?? '' } }, (error, at) => {
      const outcome = error === null ? String(at?.offset) : (error as { code?: string }).code
      settled.push(`${value[0]} ${outcome}`)
    })
  }
  return settled
}

function large(...names: string[]): string[] {
  return names.map((name) => name.padEnd(100, '.'))
}

/** The first letters of each append's values. */
async function written({ partition }: Bench<Text, Text>): Promise<string[]> {
  const appends = await partition.written()
  return appends.map((batches) =>
    batches.map((values) => values.map((v) => v[0]).join('')).join('|'),
  )
}

const LIMITS = ['maxMessageBytes', 'segmentBytes'] as const

describe('a batch that has become too large for its topic', () => {
  it.each(LIMITS)(
    'is split into several batches of one append if %s was lowered',
    async (limit) => {
      const bench = setUpWaiting()
      bench.partition.isAutomatic = true
      const settled = sendInOrder(bench, large('a', 'b', 'c', 'd', 'e'))
      bench.alter({ [limit]: 330 })
      await bench.clock.advance(10)
      expect(settled).toEqual(['a 0', 'b 1', 'c 2', 'd 3', 'e 4'])
      expect(await written(bench)).toEqual(['ab|cd|e'])
      const sizes = bench.partition.log.map(({ sizeBytes }) => sizeBytes)
      expect(Math.max(...sizes)).toBeLessThanOrEqual(330)
      expect(bench.producer.usedBytes).toBe(0)
    },
  )

  it('is split into several appends if maxBytes was lowered', async () => {
    const bench = setUpWaiting()
    bench.partition.isAutomatic = true
    const settled = sendInOrder(bench, large('a', 'b', 'c'))
    bench.alter({ maxBytes: 330 })
    await bench.clock.advance(10)
    expect(settled).toEqual(['a 0', 'b 1', 'c 2'])
    expect(await written(bench)).toEqual(['ab', 'c'])
  })

  it('is written in parts if its append is refused because maxBytes was lowered while it was queued', async () => {
    const bench = setUpWaiting({ batchRecords: 1 })
    const settled = sendInOrder(bench, large('a', 'b', 'c'))
    await bench.clock.advance(10)
    bench.alter({ maxBytes: 330 })
    bench.partition.isAutomatic = true
    bench.partition.append(0).fail(new RecordTooLargeError(540, 330, 'maxBytes'))
    await bench.clock.advance(10)
    expect(settled).toEqual(['a 0', 'b 1', 'c 2'])
    expect(bench.producer.usedBytes).toBe(0)
  })

  it('writes no further part of a refused append after one part fails with a disk error', async () => {
    const bench = setUpWaiting({ batchRecords: 1 })
    const settled = sendInOrder(bench, large('a', 'b', 'c'))
    await bench.clock.advance(10)
    bench.alter({ maxBytes: 330 })
    bench.partition.append(0).fail(new RecordTooLargeError(540, 330, 'maxBytes'))
    await bench.clock.advance(10)
    bench.partition.isAutomatic = true
    bench.partition.append(1).fail(new StorageError('EIO', { path: '/t', outcome: 'unknown' }))
    await bench.clock.advance(10)
    expect(settled.map((each) => each.slice(0, 15))).toEqual([
      ...['a STORAGE_ERROR', 'b STORAGE_ERROR', 'c STORAGE_ERROR'],
    ])
    expect(bench.partition.log).toEqual([])
    expect(bench.producer.usedBytes).toBe(0)
  })

  it('keeps keys, headers and timestamps when it is split', async () => {
    const bench = setUpWaiting()
    bench.partition.isAutomatic = true
    sendInOrder(bench, large('a'))
    await bench.clock.advance(1)
    sendInOrder(bench, large('b'))
    bench.alter({ maxMessageBytes: 200 })
    await bench.clock.advance(10)
    const records = await bench.partition.records()
    expect(records.map(({ key }) => String(key))).toEqual(['k', 'k'])
    expect(records.map(({ headers }) => String(headers[0]?.value))).toEqual(['a', 'b'])
    expect(records.map(({ timestamp }) => timestamp)).toEqual([1_000_000, 1_000_001])
    expect(bench.partition.log).toHaveLength(2)
  })

  it('rejects only the records that are too large themselves, and settles all in the order of the sends', async () => {
    const bench = setUpWaiting()
    bench.partition.isAutomatic = true
    const values = [...large('a'), 'B'.repeat(300), ...large('c'), 'D'.repeat(300)]
    const settled = sendInOrder(bench, values)
    bench.alter({ maxMessageBytes: 330 })
    await bench.clock.advance(10)
    expect(settled).toEqual(['a 0', 'B MESSAGE_TOO_LARGE', 'c 1', 'D MESSAGE_TOO_LARGE'])
    expect(bench.producer.usedBytes).toBe(0)
    await bench.producer.close()
  })

  it('is compressed again after it is split', async () => {
    const bench = setUpWaiting({ compressionType: 'gzip' })
    bench.partition.isAutomatic = true
    const random = new SeededRandom(1)
    const values = Array.from({ length: 10 }, () => random.bytes(200))
    const sent = bench.producer.sendBatch(values.map((value) => ({ topic: 't', value })))
    bench.alter({ maxMessageBytes: 1000 })
    await bench.clock.advance(10)
    const places = await sent
    expect(places.map(({ offset }) => offset)).toEqual(values.map((_, slot) => slot))
    const { log } = bench.partition
    expect(new Set(log.map(({ compressionType }) => compressionType))).toEqual(new Set(['gzip']))
    expect(Math.max(...log.map(({ sizeBytes }) => sizeBytes))).toBeLessThanOrEqual(1000)
    const records = await bench.partition.records()
    expect(records.map(({ value }) => value)).toEqual(values)
  })

  it('is also split and written with acks 0', async () => {
    const bench = setUpWaiting({ acks: 0 })
    bench.partition.isAutomatic = true
    sendInOrder(bench, large('a', 'b', 'c'))
    bench.alter({ maxMessageBytes: 330 })
    await bench.clock.advance(10)
    expect(await written(bench)).toEqual(['ab|c'])
    expect(bench.producer.usedBytes).toBe(0)
  })

  it('is flushed only when all its parts are settled', async () => {
    const bench = setUpWaiting()
    sendInOrder(bench, large('a', 'b', 'c'))
    bench.alter({ maxBytes: 330, maxMessageBytes: 330 })
    let isFlushed = false
    const flushed = bench.producer.flush().then(() => (isFlushed = true))
    await bench.clock.advance(0)
    bench.partition.append(0).succeed()
    await bench.clock.advance(0)
    expect(isFlushed).toBe(false)
    bench.partition.append(1).succeed()
    await flushed
    expect(await written(bench)).toEqual(['ab', 'c'])
  })

  it('times out as a whole at the deadline of its first record, before younger batches', async () => {
    const bench = setUpWaiting({ deliveryTimeoutMs: 100, batchRecords: 3 })
    const errors: unknown[] = []
    const send = (value: string): void => {
      bench.producer.send({ topic: 't', value: value.padEnd(100, '.') }, (error) => {
        errors.push(value, (error as TimeoutError | null)?.outcome)
      })
    }
    for (const value of ['a', 'b']) send(value)
    await bench.clock.advance(5)
    bench.alter({ maxBytes: 330, maxMessageBytes: 330 })
    for (const value of ['c', 'd']) send(value)
    await bench.clock.advance(94)
    expect(errors).toEqual([])
    await bench.clock.advance(1)
    expect(errors).toEqual(['a', 'unknown', 'b', 'unknown', 'c', 'not-written'])
    await bench.clock.advance(5)
    expect(errors.slice(6)).toEqual(['d', 'not-written'])
    expect(bench.producer.usedBytes).toBe(0)
  })
})

describe('a batch whose topic has become compacted', () => {
  it.each(['none', 'gzip'] as const)(
    'is written in one append without its keyless records, which are rejected (%s)',
    async (compressionType) => {
      const bench = setUpWaiting({ compressionType })
      bench.partition.isAutomatic = true
      const settled: string[] = []
      for (const key of ['a', null, 'b', 'c', null]) {
        bench.producer.send({ topic: 't', key, value: 'v' }, (error, place) => {
          settled.push(`${key} ${error === null ? String(place?.offset) : String(error)}`)
        })
      }
      bench.alter({ cleanupPolicy: 'compact' })
      await bench.producer.flush()
      const refused =
        "null InvalidRecordError: compacted topic 't' cannot accept a record without a key"
      expect(settled).toEqual(['a 0', 'b 1', 'c 2', refused, refused])
      const records = await bench.partition.records()
      expect(records.map(({ key }) => String(key))).toEqual(['a', 'b', 'c'])
      expect(bench.partition.appends).toHaveLength(1)
      expect(bench.producer.usedBytes).toBe(0)
    },
  )
})
