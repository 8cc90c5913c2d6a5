import { describe, expect, it } from 'vitest'
import type { OffsetReset } from '../../lib/client/consumer-options.ts'
import type { Consumer } from '../../lib/client/consumer.ts'
import {
  ClosedError,
  IllegalStateError,
  NoOffsetForPartitionError,
  OffsetOutOfRangeError,
} from '../../lib/errors.ts'
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

describe('a position', () => {
  it('is the offset after the last returned record', async () => {
    const consumer = filled().consumer({ maxPollRecords: 4 })
    consumer.assign([T0])
    await consumer.poll()
    expect(consumer.position(T0)).toBe(4)
  })

  it('is dropped with the records of a poll when a deserializer unsubscribes', async () => {
    let isDone = false
    const deserialize = (_topic: string, bytes: Buffer): string => {
      if (String(bytes) === '3' && !isDone) {
        isDone = true
        consumer.unsubscribe()
      }
      return String(bytes)
    }
    const consumer = filled().consumer({ valueDeserializer: { deserialize } })
    consumer.assign([T0])
    expect(await consumer.poll(NO_WAIT)).toEqual([])
    expect(consumer.assignment()).toEqual([])
    consumer.assign([T0])
    expect(offsets(await consumer.poll(NO_WAIT))).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  })

  it('moves past batches without records at the end of the log, and is committed there', async () => {
    const harness = filled(2)
    harness.partition().appendCompacted(3, new Map())
    const consumer = harness.consumer({ groupId: 'g', enableAutoCommit: false })
    consumer.assign([T0])
    expect(offsets(await consumer.poll(NO_WAIT))).toEqual([0, 1])
    expect(await consumer.poll(NO_WAIT)).toEqual([])
    expect(consumer.position(T0)).toBe(5)
    harness.partition().appendCompacted(4, new Map([[1, 'kept']]))
    expect(offsets(await consumer.poll(NO_WAIT))).toEqual([6])
    expect(consumer.position(T0)).toBe(9)
    harness.partition().appendControl()
    expect(await consumer.poll(NO_WAIT)).toEqual([])
    await consumer.commit()
    expect(await consumer.committed(T0)).toMatchObject({ offset: 10 })
    consumer.seek(T0, 8)
    expect(await consumer.poll(NO_WAIT)).toEqual([])
  })

  it('stays before missing offsets at the end of the log that no batch covers, until records follow', async () => {
    const harness = filled(2)
    const partition = harness.partition()
    const consumer = harness.consumer()
    consumer.assign([T0])
    await consumer.poll(NO_WAIT)
    partition.logEndOffset = 5
    expect(await consumer.poll(NO_WAIT)).toEqual([])
    expect(consumer.position(T0)).toBe(2)
    const next = consumer.poll({ maxWaitMs: 1000 })
    partition.append('c')
    expect(offsets(await next)).toEqual([5])
    expect(consumer.position(T0)).toBe(6)
  })

  it('starts at the committed offset of the group', async () => {
    const harness = filled()
    await harness.commit(6)
    const consumer = harness.consumer({ groupId: 'g', autoOffsetReset: 'none' })
    consumer.assign([T0])
    expect(consumer.position(T0)).toBe(6)
    expect(offsets(await consumer.poll())).toEqual([6, 7, 8, 9])
  })

  it.each([
    ['earliest' as const, 3],
    ['latest' as const, 10],
  ])('starts at %s without a committed offset', async (autoOffsetReset, offset) => {
    const harness = filled()
    harness.partition().deleteRecords(3)
    await harness.commit(5, 'another group')
    const consumer = harness.consumer({ groupId: 'g', autoOffsetReset })
    consumer.assign([T0])
    expect(consumer.position(T0)).toBe(offset)
  })

  it('starts at the first record by default', async () => {
    const consumer = filled().consumer()
    consumer.assign([T0])
    expect(offsets(await consumer.poll())[0]).toBe(0)
  })

  it('fails with NoOffsetForPartitionError without a committed offset and reset, until a seek', async () => {
    const consumer = filled().consumer({ groupId: 'g', autoOffsetReset: 'none' })
    consumer.assign([T0])
    await expect(consumer.poll()).rejects.toThrow(NoOffsetForPartitionError)
    await expect(consumer.poll()).rejects.toThrow(NoOffsetForPartitionError)
    expect(() => consumer.position(T0)).toThrow(NoOffsetForPartitionError)
    consumer.seek(T0, 8)
    expect(offsets(await consumer.poll())).toEqual([8, 9])
  })

  it('that was committed below the log start offset is reset at once, which is reported', async () => {
    const harness = filled()
    await harness.commit(1)
    harness.partition().deleteRecords(3)
    const resets: OffsetReset[] = []
    const onOffsetReset = (reset: OffsetReset): void => void resets.push(reset)
    const earliest = harness.consumer({ groupId: 'g', onOffsetReset })
    earliest.assign([T0])
    expect(offsets(await earliest.poll(NO_WAIT))[0]).toBe(3)
    expect(resets).toEqual([{ ...T0, from: 1, to: 3, reason: 'deleted' }])
    const latest = harness.consumer({ groupId: 'g', autoOffsetReset: 'latest' })
    latest.assign([T0])
    expect(latest.position(T0)).toBe(10)
    const none = harness.consumer({ groupId: 'g', autoOffsetReset: 'none' })
    none.assign([T0])
    await expect(none.poll(NO_WAIT)).rejects.toMatchObject({
      code: 'OFFSET_OUT_OF_RANGE',
      offset: 1,
    })
  })

  it('rejects a poll for each onOffsetReset that throws, however many there are at once', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    for (const partition of [0, 1]) {
      for (let each = 0; each < 5; each += 1) harness.partition('t', partition).append('x')
      await harness.commit(1, 'g', 't', partition)
      harness.partition('t', partition).deleteRecords(3)
    }
    const consumer = harness.consumer({
      groupId: 'g',
      onOffsetReset: ({ partition }) => {
        throw new Error(`reset of ${partition}`)
      },
    })
    consumer.assign([T0, T1])
    const told: unknown[] = []
    for (let poll = 0; poll < 2; poll += 1) {
      await consumer.poll(NO_WAIT).catch((error: unknown) => told.push(String(error)))
    }
    expect(told).toEqual(['Error: reset of 0', 'Error: reset of 1'])
    expect(offsets(await consumer.poll(NO_WAIT))).toEqual([3, 4, 3, 4])
  })

  it.each([
    ['the beginning', 'seekToBeginning', 3],
    ['the end', 'seekToEnd', 10],
  ] as const)('that is reset follows the seek of onOffsetReset to %s', async (_, ask, expected) => {
    const harness = filled()
    await harness.commit(1)
    harness.partition().deleteRecords(3)
    const consumer = harness.consumer({
      groupId: 'g',
      onOffsetReset: () => {
        consumer[ask]([T0])
      },
    })
    consumer.assign([T0])
    expect(consumer.position(T0)).toBe(expected)
  })

  it.each([
    ['beyond the end of the log', 99, null, 10],
    ['beyond the end of its epoch', 8, 6, 6],
  ])(
    'that was committed %s is reset to where the lost records began, by earliest and latest alike',
    async (_, committed, cutOffset, to) => {
      const harness = filled()
      await harness.commit(committed)
      harness.partition().cutOffset = cutOffset
      for (const autoOffsetReset of ['earliest', 'latest'] as const) {
        const resets: OffsetReset[] = []
        const onOffsetReset = (reset: OffsetReset): void => void resets.push(reset)
        const consumer = harness.consumer({ groupId: 'g', autoOffsetReset, onOffsetReset })
        consumer.assign([T0])
        expect(consumer.position(T0)).toBe(to)
        expect(resets).toEqual([{ ...T0, from: committed, to, reason: 'truncated' }])
      }
      const none = harness.consumer({ groupId: 'g', autoOffsetReset: 'none' })
      none.assign([T0])
      for (let poll = 0; poll < 2; poll += 1) {
        await expect(none.poll(NO_WAIT)).rejects.toMatchObject({
          code: 'OFFSET_OUT_OF_RANGE',
          offset: committed,
        })
      }
      none.seek(T0, to)
      expect(offsets(await none.poll(NO_WAIT))[0]).toBe(to === 10 ? undefined : to)
    },
  )

  it('moves back to where the log was truncated if the consumer has read lost records', async () => {
    const harness = filled()
    const resets: OffsetReset[] = []
    const consumer = harness.consumer({ onOffsetReset: (reset) => void resets.push(reset) })
    consumer.assign([T0])
    await consumer.poll()
    harness.partition().cutOffset = 7
    expect(offsets(await consumer.poll(NO_WAIT))).toEqual([7, 8, 9])
    expect(resets).toEqual([{ ...T0, from: 10, to: 7, reason: 'truncated' }])
  })

  it('that was committed at the end of the log is valid, and the poll waits there', async () => {
    const harness = filled()
    await harness.commit(10)
    const consumer = harness.consumer({ groupId: 'g', autoOffsetReset: 'none' })
    consumer.assign([T0])
    const poll = watch(consumer.poll({ maxWaitMs: 100 }))
    await harness.clock.advance(50)
    harness.partition().append('new')
    await harness.clock.advance(0)
    expect(offsets(poll.value ?? [])).toEqual([10])
  })

  it('is reset when the records at it are deleted', async () => {
    const harness = filled()
    const consumer = harness.consumer()
    consumer.assign([T0])
    consumer.seek(T0, 2)
    harness.partition().deleteRecords(5)
    expect(offsets(await consumer.poll(NO_WAIT))[0]).toBe(5)
  })

  it('is reset when the records that a poll waits for are deleted', async () => {
    const harness = filled()
    const consumer = harness.consumer()
    consumer.assign([T0])
    consumer.seek(T0, 10)
    const poll = watch(consumer.poll({ maxWaitMs: 100 }))
    await harness.clock.advance(1)
    harness.partition().append('a', 'b')
    harness.partition().logStartOffset = 11
    harness.partition().notify()
    await harness.clock.advance(0)
    expect(offsets(poll.value ?? [])).toEqual([11])
  })

  it('that is out of range makes every poll reject if autoOffsetReset is none, and does not move', async () => {
    const consumer = filled().consumer({ autoOffsetReset: 'none' })
    consumer.assign([T0])
    consumer.seek(T0, 50)
    for (let poll = 0; poll < 2; poll++) {
      await expect(consumer.poll(NO_WAIT)).rejects.toThrow(OffsetOutOfRangeError)
      expect(consumer.position(T0)).toBe(50)
    }
    consumer.seek(T0, 9)
    expect(offsets(await consumer.poll(NO_WAIT))).toEqual([9])
  })

  it('is kept by an assign that keeps the partition, and forgotten by one that removes it', async () => {
    const consumer = filled().consumer({ maxPollRecords: 4 })
    consumer.assign([T0])
    await consumer.poll()
    consumer.assign([T1, T0])
    expect(consumer.position(T0)).toBe(4)
    consumer.assign([T1])
    consumer.assign([T0])
    expect(consumer.position(T0)).toBe(0)
  })
})

describe('seek', () => {
  it('moves back, so that records are read again', async () => {
    const consumer = filled().consumer()
    consumer.assign([T0])
    await consumer.poll()
    consumer.seek(T0, 7)
    expect(consumer.position(T0)).toBe(7)
    expect(offsets(await consumer.poll())).toEqual([7, 8, 9])
  })

  it('accepts an offset beyond the end of the log', async () => {
    const consumer = filled().consumer({ autoOffsetReset: 'latest' })
    consumer.assign([T0])
    consumer.seek(T0, 1_000_000)
    expect(consumer.position(T0)).toBe(1_000_000)
    expect(await consumer.poll(NO_WAIT)).toEqual([])
  })

  it('drops the records that were buffered before it', async () => {
    const consumer = filled().consumer({ maxPollRecords: 2 })
    consumer.assign([T0])
    await consumer.poll()
    consumer.seek(T0, 8)
    expect(offsets(await consumer.poll())).toEqual([8, 9])
  })

  it('drops the records that are being read', async () => {
    const harness = filled()
    const openGate = harness.partition().closeGate()
    const consumer = harness.consumer()
    consumer.assign([T0])
    const poll = watch(consumer.poll({ maxWaitMs: 100 }))
    await harness.clock.advance(0)
    expect(harness.partition().reads).toHaveLength(1)
    consumer.seek(T0, 8)
    openGate()
    await harness.clock.advance(0)
    expect(offsets(poll.value ?? [])).toEqual([8, 9])
  })

  it('wakes a waiting poll', async () => {
    const harness = filled()
    const consumer = harness.consumer()
    consumer.assign([T0])
    consumer.seek(T0, 10)
    const poll = watch(consumer.poll({ maxWaitMs: 1000 }))
    await harness.clock.advance(5)
    consumer.seek(T0, 9)
    await harness.clock.advance(0)
    expect(offsets(poll.value ?? [])).toEqual([9])
  })

  it.each([
    ['poll', 'further on', 8, [0, 1, 2, 3, 8, 9]],
    ['iteration', 'further on', 8, [0, 1, 2, 3, 8, 9]],
    ['poll', 'where it is', 3, [0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9]],
    ['iteration', 'where it is', 3, [0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9]],
  ] as const)(
    'takes effect when a deserializer calls it, in a %s, %s',
    async (way, _where, offset, expected) => {
      let isMoved = false
      const deserialize = (_topic: string, bytes: Buffer): string => {
        if (!isMoved && String(bytes) === '3') {
          isMoved = true
          consumer.seek(T0, offset)
        }
        return String(bytes)
      }
      const consumer = filled().consumer({
        maxPollRecords: 5,
        valueDeserializer: { deserialize },
      })
      consumer.assign([T0])
      const seen: number[] = []
      if (way === 'poll') {
        while (seen.at(-1) !== 9) seen.push(...offsets(await consumer.poll(NO_WAIT)))
      } else {
        for await (const each of consumer) {
          seen.push(each.offset)
          if (each.offset === 9) break
        }
      }
      expect(seen).toEqual(expected)
    },
  )

  it('is reset and reported by the next poll if it was beyond the end of the log', async () => {
    const resets: OffsetReset[] = []
    const onOffsetReset = (reset: OffsetReset): void => void resets.push(reset)
    const consumer = filled().consumer({ autoOffsetReset: 'latest', onOffsetReset })
    consumer.assign([T0])
    consumer.seek(T0, 1_000_000)
    expect(await consumer.poll(NO_WAIT)).toEqual([])
    expect(consumer.position(T0)).toBe(10)
    expect(resets).toEqual([{ ...T0, from: 1_000_000, to: 10, reason: 'beyond-end' }])
  })

  it('takes effect when the deserializer of the record at which the loop is left calls it', async () => {
    const deserialize = (_topic: string, bytes: Buffer): string => {
      if (String(bytes) === '3') consumer.seek(T0, 8)
      return String(bytes)
    }
    const consumer = filled().consumer({ valueDeserializer: { deserialize } })
    consumer.assign([T0])
    for await (const { offset } of consumer) if (offset === 3) break
    expect(consumer.position(T0)).toBe(8)
    expect(offsets(await consumer.poll(NO_WAIT))).toEqual([8, 9])
  })

  it('treats -0 as 0, as do commit and assign', async () => {
    const harness = filled()
    const consumer = harness.consumer({ groupId: 'g' })
    const place = { topic: 't', partition: -0 }
    consumer.assign([place])
    consumer.seek(place, -0)
    await consumer.commit([{ ...place, offset: -0, leaderEpoch: -0 }])
    expect(consumer.assignment()).toStrictEqual([T0])
    expect(consumer.position(T0)).toBe(0)
    expect(await consumer.committed(T0)).toStrictEqual({ offset: 0, metadata: '', leaderEpoch: 0 })
  })

  it('throws for invalid offsets and for partitions that are not assigned', () => {
    const consumer = filled().consumer()
    consumer.assign([T0])
    expect(() => {
      consumer.seek(T0, -1)
    }).toThrow(RangeError)
    expect(() => {
      consumer.seek(T0, 1.5)
    }).toThrow(RangeError)
    expect(() => {
      consumer.seek(T0, '1' as unknown as number)
    }).toThrow(TypeError)
    expect(() => {
      consumer.seek(T1, 0)
    }).toThrow(IllegalStateError)
  })
})

describe('seekToBeginning and seekToEnd', () => {
  it('look up the offset when the position is needed, not at the call', async () => {
    const harness = filled()
    const consumer = harness.consumer()
    consumer.assign([T0, T1])
    consumer.seekToEnd()
    harness.partition().append('later')
    expect(consumer.position(T0)).toBe(11)
    consumer.seekToBeginning([])
    harness.partition().deleteRecords(4)
    expect(offsets(await consumer.poll(NO_WAIT))[0]).toBe(4)
  })

  it('move only the given partitions', () => {
    const harness = filled()
    harness.partition('t', 1).append(...numbers(3))
    const consumer = harness.consumer()
    consumer.assign([T0, T1])
    consumer.seekToEnd([T1])
    expect([consumer.position(T0), consumer.position(T1)]).toEqual([0, 3])
  })

  it('take precedence over the committed offset of the group', async () => {
    const harness = filled()
    await harness.commit(5)
    const consumer = harness.consumer({ groupId: 'g' })
    consumer.assign([T0])
    consumer.seekToBeginning([T0])
    expect(consumer.position(T0)).toBe(0)
  })

  it('throw and move nothing if one of the partitions is not assigned', () => {
    const consumer = filled().consumer()
    consumer.assign([T0])
    expect(() => {
      consumer.seekToEnd([T0, T1])
    }).toThrow(IllegalStateError)
    expect(consumer.position(T0)).toBe(0)
  })
})

describe('seekToTimestamp', () => {
  it('moves to the first record with at least the timestamp, or to the end', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    harness.partition('t', 0).append({ value: 'a', timestamp: 10 }, { value: 'b', timestamp: 30 })
    harness.partition('t', 0).append({ value: 'c', timestamp: 20 })
    harness.partition('t', 1).append({ value: 'd', timestamp: 5 })
    const consumer = harness.consumer()
    consumer.assign([T0, T1])
    await consumer.seekToTimestamp([T0, T1], 20)
    expect([consumer.position(T0), consumer.position(T1)]).toEqual([1, 1])
    expect(values(await consumer.poll(NO_WAIT))).toEqual(['b', 'c'])
  })

  it('rejects and moves no partition if one of them is unassigned during the search', async () => {
    const consumer = filled().consumer({ maxPollRecords: 4 })
    consumer.assign([T0, T1])
    await consumer.poll()
    const moving = consumer.seekToTimestamp([T0, T1], 0)
    consumer.assign([T0])
    await expect(moving).rejects.toThrow(IllegalStateError)
    expect(consumer.position(T0)).toBe(4)
  })

  it('does not skip a record that becomes visible during the search', async () => {
    const harness = filled()
    const consumer = harness.consumer()
    consumer.assign([T0])
    const openGate = harness.partition().closeGate()
    const moving = consumer.seekToTimestamp([T0], 50)
    harness.partition().append({ value: 'young', timestamp: 60 })
    openGate()
    await moving
    expect(values(await consumer.poll(NO_WAIT))).toEqual(['young'])
  })

  const LATER: [
    string,
    (consumer: Consumer<string, string>) => Promise<void> | undefined,
    number,
  ][] = [
    ['seek', (consumer) => { consumer.seek(T0, 7); return undefined }, 7], // prettier-ignore
    ['seekToEnd', (consumer) => { consumer.seekToEnd(); return undefined }, 11], // prettier-ignore
    ['seekToTimestamp', (consumer) => consumer.seekToTimestamp([T0], 9), 11],
  ]

  it.each(LATER)(
    'yields to a %s that is called during the search',
    async (_name, seek, expected) => {
      const harness = filled()
      const consumer = harness.consumer()
      consumer.assign([T0, T1])
      await consumer.poll(NO_WAIT)
      consumer.seek(T1, 4)
      const openGate = harness.partition().closeGate()
      const moving = consumer.seekToTimestamp([T0, T1], 50)
      harness.partition().append('x')
      // A later search completes before the first one.
      harness.partition().gate = Promise.resolve()
      await seek(consumer)
      openGate()
      await moving
      expect([consumer.position(T0), consumer.position(T1)]).toEqual([expected, 0])
    },
  )

  it('takes effect even if the committed offset was looked up during the search', async () => {
    const harness = filled()
    harness.partition().append({ value: 'young', timestamp: 60 })
    await harness.commit(5)
    const consumer = harness.consumer({ groupId: 'g' })
    consumer.assign([T0])
    const openGate = harness.partition().closeGate()
    const moving = consumer.seekToTimestamp([T0], 50)
    expect(consumer.position(T0)).toBe(5)
    openGate()
    await moving
    expect(consumer.position(T0)).toBe(10)
  })

  it('rejects with ClosedError if the consumer is closed during the search', async () => {
    const harness = filled()
    const consumer = harness.consumer()
    consumer.assign([T0])
    const openGate = harness.partition().closeGate()
    const moving = watch(consumer.seekToTimestamp([T0], 0))
    await consumer.close()
    openGate()
    await harness.clock.advance(0)
    expect(moving.error).toBeInstanceOf(ClosedError)
  })

  it('rejects a negative timestamp and partitions that are not assigned', async () => {
    const consumer = filled().consumer()
    consumer.assign([T0])
    await expect(consumer.seekToTimestamp([T0], -1)).rejects.toThrow(RangeError)
    await expect(consumer.seekToTimestamp([T1], 0)).rejects.toThrow(IllegalStateError)
  })
})

describe('lag', () => {
  it('returns how far each partition is from its end, and its committed offset', async () => {
    const harness = filled()
    await harness.commit(2)
    const consumer = harness.consumer({ groupId: 'g', maxPollRecords: 3 })
    consumer.assign([T1, T0])
    await consumer.poll()
    expect(await consumer.lag()).toEqual([
      { ...T0, position: 5, endOffset: 10, lag: 5, committed: 2 },
      { ...T1, position: 0, endOffset: 0, lag: 0, committed: null },
    ])
  })

  it('is never negative', async () => {
    const consumer = filled().consumer()
    consumer.assign([T0])
    consumer.seek(T0, 99)
    expect(await consumer.lag()).toMatchObject([{ position: 99, lag: 0, committed: null }])
  })
})

/** A consumer whose polls return large records of T0 one by one, most of them read in advance. */
async function readingAhead(harness: ConsumerHarness, autoOffsetReset: 'none' | 'latest') {
  for (let each = 0; each < 8; each += 1) harness.partition().append('x'.repeat(500_000))
  const consumer = harness.consumer({
    autoOffsetReset,
    maxPollRecords: 1,
    maxPartitionFetchBytes: 10_000_000,
  })
  consumer.assign([T0])
  consumer.seek(T0, 0)
  await consumer.poll(NO_WAIT)
  return consumer
}

/** What the following polls return besides those records. */
async function othersOf(consumer: Consumer<string, string>): Promise<(string | null)[]> {
  const seen: (string | null)[] = []
  for (let poll = 0; poll < 9; poll += 1) seen.push(...values(await consumer.poll(NO_WAIT)))
  return seen.filter((value) => value !== 'x'.repeat(500_000))
}

it("a partition without an offset makes each poll reject with autoOffsetReset 'none', and holds up no other, while records are buffered", async () => {
  const T2 = { topic: 't', partition: 2 }
  const harness = new ConsumerHarness({ t: 3 })
  harness.partition('t', 2).append('before')
  const consumer = await readingAhead(harness, 'none')
  consumer.assign([T0, T1, T2])
  consumer.seekToEnd([T2])
  await expect(consumer.poll(NO_WAIT)).rejects.toThrow(NoOffsetForPartitionError)
  harness.partition('t', 2).append('after')
  // Some of these look at all partitions.
  for (let poll = 0; poll < 14; poll += 1) {
    await expect(consumer.poll(NO_WAIT)).rejects.toThrow(NoOffsetForPartitionError)
  }
  consumer.seek(T1, 0)
  expect(await othersOf(consumer)).toEqual(['after'])
})

it.each<[string, (consumer: Consumer<string, string>) => void]>([
  ['is added', (consumer) => { consumer.assign([T0, T1]) }], // prettier-ignore
  ['is sought to the end', (consumer) => { consumer.assign([T0, T1]); consumer.seekToEnd([T1]) }], // prettier-ignore
])(
  'a partition that %s starts at the end of the next poll, even if that reads nothing',
  async (_, move) => {
    const harness = new ConsumerHarness({ t: 2 })
    harness.partition('t', 1).append('before')
    const consumer = await readingAhead(harness, 'latest')
    move(consumer)
    await consumer.poll(NO_WAIT)
    harness.partition('t', 1).append('after')
    expect(await othersOf(consumer)).toEqual(['after'])
  },
)
