import { describe, expect, it } from 'vitest'
import { IllegalStateError } from '../../lib/errors.ts'
import type { Consumer } from '../../lib/client/consumer.ts'
import { bytes } from '../../lib/client/serde.ts'
import {
  ConsumerHarness,
  NO_WAIT,
  T0,
  T1,
  numbers,
  offsets,
  values,
  watch,
} from './consumer-harness.ts'

function assigned(
  harness: ConsumerHarness,
  options: Parameters<ConsumerHarness['consumer']>[0] = {},
): Consumer<string, string> {
  const consumer = harness.consumer(options)
  const partitions = [...harness.topics.values()].flatMap((topic) =>
    topic.partitions.map(({ index }) => ({ topic: topic.name, partition: index })),
  )
  consumer.assign(partitions)
  return consumer
}

describe('poll', () => {
  it('returns records with topic, partition, offset, timestamp, key, value and headers', async () => {
    const harness = new ConsumerHarness()
    harness.partition().append({ key: 'k', value: 'v', timestamp: 7 }, { value: null })
    const records = await assigned(harness).poll()
    expect(records).toEqual([
      { topic: 't', partition: 0, offset: 0, timestamp: 7, key: 'k', value: 'v', headers: [] },
      { topic: 't', partition: 0, offset: 1, timestamp: -1, key: null, value: null, headers: [] },
    ])
  })

  it('returns Buffers without deserializers', async () => {
    const harness = new ConsumerHarness()
    harness.partition().append({ key: 'k', value: '' })
    const consumer = harness.typedConsumer({})
    consumer.assign([T0])
    const [record] = await consumer.poll()
    expect(record?.key).toEqual(Buffer.from('k'))
    expect(record?.value).toEqual(Buffer.alloc(0))
  })

  it('returns keys as Buffers if only values have a deserializer', async () => {
    const harness = new ConsumerHarness()
    harness.partition().append({ key: 'k', value: 'v' })
    const consumer = harness.typedConsumer({ valueDeserializer: bytes() })
    consumer.assign([T0])
    expect(await consumer.poll()).toMatchObject([
      { key: Buffer.from('k'), value: Buffer.from('v') },
    ])
  })

  it.each([
    ['that end where a batch ends', 4, [4, 4, 2]],
    ['that end inside of a batch', 3, [3, 3, 3, 1]],
    ['of one record', 1, Array.from({ length: 10 }, () => 1)],
  ])(
    'returns at most maxPollRecords, in polls %s, and skips no record',
    async (_name, max, sizes) => {
      const harness = new ConsumerHarness()
      for (let batch = 0; batch < 5; batch++) harness.partition().append(...numbers(2, batch * 2))
      const consumer = assigned(harness, { maxPollRecords: max })
      const polls = []
      while (polls.length < sizes.length) polls.push(await consumer.poll(NO_WAIT))
      expect(polls.map((records) => records.length)).toEqual(sizes)
      expect(polls.flatMap(values)).toEqual(numbers(10))
      expect(harness.partition().reads).toHaveLength(1)
    },
  )

  it('returns the records of several batches at once, also of compressed ones', async () => {
    const harness = new ConsumerHarness()
    const partition = harness.partition()
    await partition.appendCompressed('gzip', ...numbers(3))
    partition.append(...numbers(3, 3))
    await partition.appendCompressed('gzip', ...numbers(3, 6))
    const consumer = assigned(harness, { maxPollRecords: 8 })
    expect(values(await consumer.poll())).toEqual(numbers(8))
    expect(consumer.position(T0)).toBe(8)
    expect(values(await consumer.poll())).toEqual(['8'])
  })

  it('returns records only from its position on if the batch begins before it', async () => {
    const harness = new ConsumerHarness()
    harness.partition().append(...numbers(5))
    await harness.partition().appendCompressed('gzip', ...numbers(5, 5))
    const consumer = assigned(harness)
    consumer.seek(T0, 3)
    expect(offsets(await consumer.poll())).toEqual([3, 4, 5, 6, 7, 8, 9])
    consumer.seek(T0, 7)
    expect(offsets(await consumer.poll())).toEqual([7, 8, 9])
  })

  it('skips gaps in the offsets, and batches that compaction has emptied', async () => {
    const harness = new ConsumerHarness()
    const partition = harness.partition()
    partition.appendCompacted(10, new Map([[2, 'a'], [7, 'b']])) // prettier-ignore
    partition.appendCompacted(5, new Map())
    partition.append('c')
    const consumer = assigned(harness, { maxPollRecords: 1 })
    expect(offsets(await consumer.poll())).toEqual([2])
    expect(consumer.position(T0)).toBe(3)
    expect(offsets(await consumer.poll())).toEqual([7])
    expect(consumer.position(T0)).toBe(10)
    expect(offsets(await consumer.poll())).toEqual([15])
  })

  it('moves its position past control batches at the end, and returns none of them', async () => {
    const harness = new ConsumerHarness()
    const partition = harness.partition()
    partition.appendControl()
    partition.append('a')
    partition.appendControl()
    partition.appendControl()
    const consumer = assigned(harness)
    expect(offsets(await consumer.poll(NO_WAIT))).toEqual([1])
    expect(await consumer.poll(NO_WAIT)).toEqual([])
    expect(consumer.position(T0)).toBe(4)
  })

  it('skips buffered control batches and returns the records after them, without waiting', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    harness.partition('t', 0).append(...numbers(2))
    harness.partition('t', 1).appendControl()
    harness.partition('t', 1).append('behind')
    const consumer = assigned(harness, { maxPollRecords: 2, maxPartitionFetchBytes: 1 })
    expect(values(await consumer.poll(NO_WAIT))).toEqual(['0', '1'])
    expect(values(await consumer.poll(NO_WAIT))).toEqual(['behind'])
  })

  it('waits until a record arrives', async () => {
    const harness = new ConsumerHarness()
    const consumer = assigned(harness)
    const poll = watch(consumer.poll({ maxWaitMs: 1000 }))
    await harness.clock.advance(999)
    expect(poll.isSettled).toBe(false)
    harness.partition().append('a')
    await harness.clock.advance(0)
    expect(values(poll.value ?? [])).toEqual(['a'])
    expect(harness.clock.pendingTimers).toBe(0)
    expect(harness.partition().listenerCount).toBe(0)
  })

  it('returns nothing after maxWaitMs, which defaults to fetchMaxWaitMs', async () => {
    const harness = new ConsumerHarness()
    const consumer = assigned(harness, { fetchMaxWaitMs: 50 })
    for (const [options, waitMs] of [
      [{ maxWaitMs: 20 }, 20],
      [{}, 50],
    ] as const) {
      // prettier-ignore
      const poll = watch(consumer.poll(options))
      await harness.clock.advance(waitMs - 1)
      expect(poll.isSettled).toBe(false)
      await harness.clock.advance(1)
      expect(poll.value).toEqual([])
    }
    expect(harness.clock.pendingTimers).toBe(0)
  })

  it('keeps waiting when only a control batch arrives', async () => {
    const harness = new ConsumerHarness()
    const consumer = assigned(harness)
    const poll = watch(consumer.poll({ maxWaitMs: 100 }))
    await harness.clock.advance(10)
    harness.partition().appendControl()
    await harness.clock.advance(10)
    expect(poll.isSettled).toBe(false)
    harness.partition().append('a')
    await harness.clock.advance(0)
    expect(offsets(poll.value ?? [])).toEqual([1])
  })

  it('waits for fetchMinBytes over all partitions, but returns less when maxWaitMs is over', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    const consumer = assigned(harness, { fetchMinBytes: 150 })
    harness.partition('t', 0).append('a')
    const poll = watch(consumer.poll({ maxWaitMs: 100 }))
    await harness.clock.advance(50)
    expect(poll.isSettled).toBe(false)
    harness.partition('t', 1).append('b'.repeat(60))
    await harness.clock.advance(0)
    expect(poll.value).toHaveLength(2)
    harness.partition('t', 0).append('c')
    const late = watch(consumer.poll({ maxWaitMs: 100 }))
    await harness.clock.advance(100)
    expect(values(late.value ?? [])).toEqual(['c'])
  })

  it('keeps waiting for fetchMinBytes after a seek and an automatic commit', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    const consumer = harness.consumer({
      groupId: 'g',
      fetchMinBytes: 200,
      autoCommitIntervalMs: 20,
    })
    consumer.subscribe(['t'])
    harness.partition('t', 0).append('a')
    const poll = watch(consumer.poll({ maxWaitMs: 100 }))
    await harness.clock.advance(10)
    consumer.seek(T1, 0)
    await harness.clock.advance(80)
    expect(harness.committed()).toBe(0)
    expect(poll.isSettled).toBe(false)
    harness.partition('t', 0).append('b'.repeat(200))
    await harness.clock.advance(0)
    expect(poll.value).toHaveLength(2)
  })

  it.each([
    [60_000, 40_000],
    [1_000_000, 300_000],
    [5_000_000, 300_000],
  ])(
    'does not wait for %d bytes if one partition has them, in batches of %d',
    async (fetchMinBytes, batchBytes) => {
      const harness = new ConsumerHarness({ t: 80 })
      const [first, ...rest] = harness.topics.get('t')?.partitions ?? []
      for (let batch = 0; batch < 40; batch++) first?.append('x'.repeat(batchBytes))
      for (const partition of rest) partition.append('y')
      const consumer = assigned(harness, { fetchMinBytes, maxPartitionFetchBytes: 16_000_000 })
      const poll = watch(consumer.poll({ maxWaitMs: 100 }))
      await harness.clock.advance(0)
      expect(poll.value?.length).toBeGreaterThan(0)
    },
  )

  it.each([
    { fetchMinBytes: 1000, maxPartitionFetchBytes: 1000 },
    { fetchMinBytes: 1000, fetchMaxBytes: 1000 },
    { fetchMinBytes: 5000, maxPartitionFetchBytes: 1000 },
  ])('does not wait for more bytes than it may read from a partition: %o', async (limits) => {
    const harness = new ConsumerHarness()
    for (let batch = 0; batch < 40; batch++) harness.partition().append('x'.repeat(300))
    const consumer = assigned(harness, limits)
    const poll = watch(consumer.poll({ maxWaitMs: 100 }))
    await harness.clock.advance(0)
    expect(poll.value).toHaveLength(2)
  })

  it('stops waiting once a partition has as many bytes as may be read from it', async () => {
    const harness = new ConsumerHarness()
    harness.partition().append('x'.repeat(300))
    const consumer = assigned(harness, { fetchMinBytes: 5000, maxPartitionFetchBytes: 1000 })
    const poll = watch(consumer.poll({ maxWaitMs: 100 }))
    await harness.clock.advance(10)
    expect(poll.isSettled).toBe(false)
    for (let batch = 0; batch < 9; batch++) harness.partition().append('x'.repeat(300))
    await harness.clock.advance(0)
    expect(poll.value).toHaveLength(2)
  })

  it('never waits with maxWaitMs 0, and returns what is available', async () => {
    const harness = new ConsumerHarness()
    const consumer = assigned(harness, { fetchMinBytes: 1_000_000 })
    expect(await consumer.poll(NO_WAIT)).toEqual([])
    harness.partition().append('a')
    expect(values(await consumer.poll(NO_WAIT))).toEqual(['a'])
  })

  it('lets the event loop turn when repeated calls with maxWaitMs 0 find nothing', async () => {
    const harness = new ConsumerHarness()
    const consumer = assigned(harness)
    let hasWorked = false
    setImmediate(() => {
      hasWorked = true
    })
    for (let poll = 0; poll < 10; poll++) await consumer.poll(NO_WAIT)
    expect(hasWorked).toBe(true)
  })

  it('takes records from all partitions in turn', async () => {
    const harness = new ConsumerHarness({ t: 3 })
    for (const { index } of harness.topics.get('t')?.partitions ?? []) {
      harness.partition('t', index).append(...numbers(6))
    }
    const consumer = assigned(harness, { maxPollRecords: 2 })
    const turns = []
    for (let poll = 0; poll < 9; poll++) turns.push((await consumer.poll(NO_WAIT))[0]?.partition)
    expect(turns).toEqual([0, 1, 2, 0, 1, 2, 0, 1, 2])
  })

  it('reads a partition that gets its first records while another has many buffered', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    harness.partition('t', 0).append(...numbers(100))
    const consumer = assigned(harness, { maxPollRecords: 5 })
    await consumer.poll(NO_WAIT)
    harness.partition('t', 1).append('late')
    const partitions = []
    for (let poll = 0; poll < 3; poll++) {
      partitions.push(...(await consumer.poll(NO_WAIT)).map(({ partition }) => partition))
    }
    expect(partitions).toContain(1)
  })

  it('reads a partition with its first records even if the others have filled the read-ahead', async () => {
    const harness = new ConsumerHarness({ t: 5 })
    const [late, ...others] = harness.topics.get('t')?.partitions ?? []
    for (const partition of others) {
      for (let batch = 0; batch < 20; batch++)
        partition.append(...Array.from({ length: 1000 }, () => 'x'.repeat(100)))
    }
    const consumer = assigned(harness, { maxPollRecords: 50 })
    await consumer.poll(NO_WAIT)
    late?.append('late')
    const partitions = []
    for (let poll = 0; poll < 5; poll++) {
      partitions.push(...(await consumer.poll(NO_WAIT)).map(({ partition }) => partition))
    }
    expect(partitions).toContain(late?.index)
  })

  it('buffers at most fetchMaxBytes, and reads at most maxPartitionFetchBytes of a partition at once', async () => {
    const harness = new ConsumerHarness({ t: 4 })
    const partitions = harness.topics.get('t')?.partitions ?? []
    const text = 'x'.repeat(100)
    for (const partition of partitions) {
      for (let batch = 0; batch < 10; batch++) partition.append(text)
    }
    const consumer = assigned(harness, {
      fetchMaxBytes: 1000,
      maxPartitionFetchBytes: 400,
      maxPollRecords: 1,
    })
    const seen = new Map<number, number>()
    for (let poll = 0; poll < 40; poll++) {
      const [record] = await consumer.poll(NO_WAIT)
      if (record === undefined) throw new Error(`poll ${poll} found nothing`)
      seen.set(record.partition, record.offset)
    }
    expect([...seen.values()]).toEqual([9, 9, 9, 9])
    for (const { reads } of partitions) {
      for (const read of reads) expect(read.sizeBytes).toBeLessThanOrEqual(400)
    }
    const first = partitions.map(({ reads }) => reads[0]?.sizeBytes ?? 0)
    expect(first[0]).toBeGreaterThan(200)
    expect((first[0] ?? 0) + (first[1] ?? 0)).toBeLessThanOrEqual(1000)
  })

  it('reads at most 4 MiB ahead, shared by the partitions with data, and nothing more while it is buffered', async () => {
    const harness = new ConsumerHarness({ t: 40 })
    const partitions = harness.topics.get('t')?.partitions ?? []
    const withData = partitions.slice(0, 3)
    for (const partition of withData) {
      for (let batch = 0; batch < 6; batch++) partition.append('x'.repeat(500_000))
    }
    const consumer = assigned(harness, { maxPollRecords: 1, maxPartitionFetchBytes: 10_000_000 })
    await consumer.poll(NO_WAIT)
    const read = withData.flatMap(({ reads }) => reads)
    expect(read.map(({ maxBytes }) => maxBytes)).toEqual(
      withData.map(() => Math.floor((4 * 1024 * 1024) / 3)),
    )
    expect(read.map(({ sizeBytes }) => Math.floor(sizeBytes / 500_000))).toEqual([2, 2, 2])
    await consumer.poll(NO_WAIT)
    expect(partitions.flatMap(({ reads }) => reads)).toHaveLength(partitions.length)
    let count = 2
    while ((await consumer.poll(NO_WAIT)).length > 0) count += 1
    expect(count).toBe(18)
  })

  it('looks at only as many partitions as there is room for, those that have waited longest first', async () => {
    const harness = new ConsumerHarness({ t: 600 })
    const partitions = harness.topics.get('t')?.partitions ?? []
    for (const partition of partitions) partition.append('x'.repeat(50_000))
    const consumer = assigned(harness, { maxPollRecords: 100 })
    const seen = (await consumer.poll(NO_WAIT)).map(({ partition }) => partition)
    // The first check of all partitions looks for the starting positions.
    for (const partition of partitions) partition.looks = 0
    seen.push(...(await consumer.poll(NO_WAIT)).map(({ partition }) => partition))
    expect(partitions.filter(({ looks }) => looks > 0).length).toBeGreaterThan(0)
    expect(partitions.at(-1)?.looks).toBe(0)
    for (let records = await consumer.poll(NO_WAIT); records.length > 0;) {
      seen.push(...records.map(({ partition }) => partition))
      records = await consumer.poll(NO_WAIT)
    }
    expect(seen).toEqual(partitions.map(({ index }) => index))
  })

  it('reads a partition behind many others whose last offsets are missing', async () => {
    const harness = new ConsumerHarness({ t: 301 })
    const partitions = harness.topics.get('t')?.partitions ?? []
    const last = harness.partition('t', 300)
    for (const partition of partitions) if (partition !== last) partition.skipOffsets(2)
    const consumer = assigned(harness)
    for (const value of ['a', 'b', 'c']) {
      last.append(value)
      expect(values(await consumer.poll(NO_WAIT))).toEqual([value])
    }
  })

  it('does not wait if there are records behind many partitions whose last offsets are missing', async () => {
    const harness = new ConsumerHarness({ t: 301 })
    const partitions = harness.topics.get('t')?.partitions ?? []
    const last = harness.partition('t', 300)
    const consumer = assigned(harness)
    expect(await consumer.poll(NO_WAIT)).toEqual([])
    for (const partition of partitions) {
      if (partition === last) partition.append('a')
      else partition.skipOffsets(2)
    }
    expect(values(await consumer.poll({ maxWaitMs: 1000 }))).toEqual(['a'])
    partitions[0]?.append('b')
    expect(values(await consumer.poll(NO_WAIT))).toEqual(['b'])
  })

  it('starts at the end that a partition has at the first poll, even if it is looked at later', async () => {
    const harness = new ConsumerHarness({ t: 400 })
    const partitions = harness.topics.get('t')?.partitions ?? []
    for (const partition of partitions) partition.append('x'.repeat(50_000))
    const consumer = assigned(harness, { autoOffsetReset: 'latest' })
    const sought = partitions.slice(0, 399).map(({ index }) => ({ topic: 't', partition: index }))
    consumer.seekToBeginning(sought)
    await consumer.poll(NO_WAIT)
    const last = partitions.at(-1)
    last?.append('late')
    const found: (string | null)[] = []
    for (let records = await consumer.poll(NO_WAIT); records.length > 0;) {
      found.push(...values(records.filter(({ partition }) => partition === last?.index)))
      records = await consumer.poll(NO_WAIT)
    }
    expect(found).toEqual(['late'])
  })

  it('returns a batch that is larger than every limit', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    harness.partition('t', 0).append('x'.repeat(500))
    harness.partition('t', 1).append('y'.repeat(500))
    const consumer = assigned(harness, { fetchMaxBytes: 0, maxPartitionFetchBytes: 0 })
    const partitions = []
    for (let poll = 0; poll < 2; poll++)
      partitions.push((await consumer.poll(NO_WAIT))[0]?.partition)
    expect(partitions.sort()).toEqual([0, 1])
  })

  it('rejects while another poll is in progress, which continues', async () => {
    const harness = new ConsumerHarness()
    const consumer = assigned(harness)
    const first = watch(consumer.poll({ maxWaitMs: 10 }))
    await expect(consumer.poll()).rejects.toThrow(IllegalStateError)
    harness.partition().append('a')
    await harness.clock.advance(0)
    expect(values(first.value ?? [])).toEqual(['a'])
  })

  it('reads partitions that are assigned while it waits', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    harness.partition('t', 1).append('b')
    const consumer = harness.consumer()
    consumer.assign([T0])
    const poll = watch(consumer.poll({ maxWaitMs: 1000 }))
    await harness.clock.advance(10)
    consumer.assign([T1])
    await harness.clock.advance(0)
    expect(values(poll.value ?? [])).toEqual(['b'])
  })
})
