import { describe, expect, it } from 'vitest'
import { IllegalStateError } from '../../lib/errors.ts'
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

function filled(count = 10): ConsumerHarness {
  const harness = new ConsumerHarness({ t: 2 })
  harness.partition().append(...numbers(count))
  return harness
}

describe('pause', () => {
  it('keeps buffered records, which are returned after resume without another read', async () => {
    const harness = filled()
    const consumer = harness.consumer({ maxPollRecords: 3 })
    consumer.assign([T0])
    await consumer.poll()
    consumer.pause([T0])
    expect(consumer.paused()).toEqual([T0])
    expect(await consumer.poll(NO_WAIT)).toEqual([])
    expect(consumer.position(T0)).toBe(3)
    consumer.resume([T0])
    expect(offsets(await consumer.poll(NO_WAIT))).toEqual([3, 4, 5])
    expect(harness.partition().reads).toHaveLength(1)
  })

  it('keeps the records that are being read', async () => {
    const harness = filled()
    const openGate = harness.partition().closeGate()
    const consumer = harness.consumer()
    consumer.assign([T0])
    const poll = watch(consumer.poll({ maxWaitMs: 50 }))
    await harness.clock.advance(0)
    consumer.pause([T0])
    openGate()
    await harness.clock.advance(50)
    expect(poll.value).toEqual([])
    consumer.resume([T0])
    expect(await consumer.poll(NO_WAIT)).toHaveLength(10)
    expect(harness.partition().reads).toHaveLength(1)
  })

  it('holds back the later records when a deserializer calls it', async () => {
    const deserialize = (_topic: string, bytes: Buffer): string => {
      if (String(bytes) === '3') consumer.pause([T0])
      return String(bytes)
    }
    const harness = filled()
    harness.partition('t', 1).append('a')
    const consumer = harness.consumer({ valueDeserializer: { deserialize } })
    consumer.assign([T0, T1])
    const first = values(await consumer.poll(NO_WAIT))
    expect(first.filter((value) => value !== 'a')).toEqual(['0', '1', '2', '3'])
    expect([...first, ...values(await consumer.poll(NO_WAIT))]).toContain('a')
    expect(await consumer.poll(NO_WAIT)).toEqual([])
    consumer.resume([T0])
    expect(values(await consumer.poll(NO_WAIT))).toEqual(['4', '5', '6', '7', '8', '9'])
  })

  it('of one partition after another keeps at most fetchMaxBytes buffered, and loses no record', async () => {
    const count = 12
    const harness = new ConsumerHarness({ t: count })
    const all = Array.from({ length: count }, (_, partition) => ({ topic: 't', partition }))
    for (const { partition } of all) harness.partition('t', partition).append('a', 'b'.repeat(300))
    const consumer = harness.consumer({ maxPollRecords: 1, fetchMaxBytes: 1000 })
    consumer.assign(all)
    for (const each of all) {
      const [record] = await consumer.poll(NO_WAIT)
      expect([record?.partition, record?.offset]).toEqual([each.partition, 0])
      consumer.pause([each])
    }
    consumer.resume(all)
    const rest: number[] = []
    for (let poll = 0; poll < count; poll += 1) rest.push(...offsets(await consumer.poll(NO_WAIT)))
    expect(rest).toEqual(all.map(() => 1))
    // Held records were not read again.
    const held = all.filter(({ partition }) => harness.partition('t', partition).reads.length === 1)
    expect(held.length).toBeLessThanOrEqual(3)
  })

  it('leaves other partitions room for several batches per read, even with little room left', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    for (let batch = 0; batch < 9; batch += 1) {
      for (const partition of [0, 1]) harness.partition('t', partition).append('a'.repeat(300))
    }
    const consumer = harness.consumer({ maxPollRecords: 1, fetchMaxBytes: 1150 })
    consumer.assign([T0, T1])
    const [first] = await consumer.poll(NO_WAIT)
    consumer.pause([{ topic: 't', partition: first?.partition ?? 0 }])
    const others: number[] = []
    for (let poll = 0; poll < 9; poll += 1) others.push(...offsets(await consumer.poll(NO_WAIT)))
    expect(others).toEqual(Array.from({ length: 9 }, (_, offset) => offset))
    const { reads } = harness.partition('t', 1 - (first?.partition ?? 0))
    expect(reads.length).toBeLessThan(6)
  })

  it('does not stop the other partitions, even if the buffered records fill the memory', async () => {
    const harness = filled()
    const consumer = harness.consumer({ maxPollRecords: 1, fetchMaxBytes: 1 })
    consumer.assign([T0, T1])
    await consumer.poll()
    consumer.pause([T0])
    for (const value of ['a', 'b']) harness.partition('t', 1).append(value)
    expect(values(await consumer.poll(NO_WAIT))).toEqual(['a'])
    expect(values(await consumer.poll(NO_WAIT))).toEqual(['b'])
  })

  it('is kept across a seek', async () => {
    const consumer = filled().consumer()
    consumer.assign([T0])
    consumer.pause([T0])
    consumer.seek(T0, 5)
    expect(await consumer.poll(NO_WAIT)).toEqual([])
    consumer.resume([T0])
    expect(offsets(await consumer.poll(NO_WAIT))[0]).toBe(5)
  })

  it.each(['assign', 'a listener'] as const)(
    'lets a partition start at the end that it has at the first poll: after %s',
    async (way) => {
      const harness = new ConsumerHarness()
      harness.partition().append('before')
      const consumer = harness.consumer({ groupId: 'g', autoOffsetReset: 'latest' })
      if (way === 'assign') {
        consumer.assign([T0])
        consumer.pause([T0])
      } else {
        consumer.subscribe(['t'], {
          onPartitionsAssigned: (partitions) => {
            consumer.pause(partitions)
          },
        })
      }
      expect(await consumer.poll(NO_WAIT)).toEqual([])
      harness.partition().append(...numbers(3))
      expect(await consumer.poll(NO_WAIT)).toEqual([])
      consumer.resume([T0])
      expect(values(await consumer.poll(NO_WAIT))).toEqual(numbers(3))
    },
  )

  it('wakes a waiting poll when the partition is resumed', async () => {
    const harness = filled()
    const consumer = harness.consumer()
    consumer.assign([T0])
    consumer.pause([T0])
    const poll = watch(consumer.poll({ maxWaitMs: 100 }))
    await harness.clock.advance(5)
    consumer.resume([T0])
    await harness.clock.advance(0)
    expect(poll.value).toHaveLength(10)
  })

  it('throws and pauses nothing if one of the partitions is not assigned', () => {
    const consumer = filled().consumer()
    consumer.assign([T0])
    expect(() => {
      consumer.pause([T0, T1])
    }).toThrow(IllegalStateError)
    expect(consumer.paused()).toEqual([])
  })

  it('of a hundred partitions leaves a poll waiting until one of them is resumed', async () => {
    const harness = new ConsumerHarness({ t: 100 })
    const all = numbers(100).map((index) => ({ topic: 't', partition: Number(index) }))
    for (const { partition } of all) harness.partition('t', partition).append(String(partition))
    const consumer = harness.consumer()
    consumer.assign(all)
    consumer.pause(all)
    const poll = watch(consumer.poll({ maxWaitMs: 100 }))
    await harness.clock.advance(50)
    expect(poll.isSettled).toBe(false)
    consumer.resume(all.slice(7, 8))
    await harness.clock.advance(0)
    expect(values(poll.value ?? [])).toEqual(['7'])
    const listeners = all.map(({ partition }) => harness.partition('t', partition).listenerCount)
    expect(Math.max(...listeners)).toBe(0)
    expect(harness.clock.pendingTimers).toBe(0)
  })
})
