import { describe, expect, it, vi } from 'vitest'
import type { ConsumedPartition } from '../../lib/broker/consumed-partition.ts'
import { OffsetsByPartition } from '../../lib/broker/group-offsets.ts'
import {
  decodeOffsetCommitKey,
  decodeOffsetCommitValue,
  encodeOffsetCommitKey,
  encodeOffsetCommitValue,
  partitionForGroup,
} from '../../lib/broker/offset-commit-codec.ts'
import { OffsetStore } from '../../lib/broker/offset-store.ts'
import { topicPartitionKey, type TopicPartition } from '../../lib/broker/topic-partition.ts'
import { CorruptRecordError, StorageError, UnknownTopicOrPartitionError } from '../../lib/errors.ts'
import { RecordBatchBuilder } from '../../lib/record/record-batch-builder.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { settle } from '../helpers/settle.ts'
import { FakeOffsetsPartition } from './fake-offsets-partition.ts'

const NOW_MS = 1_700_000_000_000
const ORDERS: TopicPartition = { topic: 'orders', partition: 0 }
const FAILURE = new StorageError('no space', { path: 'x', outcome: 'not-written' })

/** A pending promise, and the function that resolves it. */
function gate(): { readonly promise: Promise<void>; open: () => void } {
  let open = (): void => undefined
  const promise = new Promise<void>((resolve) => {
    open = resolve
  })
  return { promise, open }
}

class Harness {
  readonly partitions: readonly FakeOffsetsPartition[]
  readonly store: OffsetStore
  /** What happened to data and offsets, in order. */
  readonly events: string[] = []
  readonly missing: Set<string> = new Set()
  readonly data: Map<string, ConsumedPartition> = new Map()
  openCount = 0
  openError: Error | null = null
  durable: Promise<void> = Promise.resolve()
  epochOf: (offset: number) => number | null = () => null
  endOffsetForEpoch: (epoch: number | null) => number | null = () => null

  constructor(
    partitions: readonly FakeOffsetsPartition[] = [new FakeOffsetsPartition()],
    readOnly = false,
  ) {
    this.partitions = partitions
    this.store = new OffsetStore({
      clock: new ManualClock(NOW_MS),
      readOnly,
      openTopic: async () => {
        this.openCount += 1
        await Promise.resolve()
        if (this.openError !== null) throw this.openError
        return { partitions }
      },
      dataPartition: (topicPartition) => {
        const key = topicPartitionKey(topicPartition)
        if (this.missing.has(key)) return null
        const data = this.data.get(key) ?? {
          ensureDurable: async (offset: number) => {
            this.events.push(`wait for ${key} below ${offset}`)
            await this.durable
            this.events.push(`durable ${key} below ${offset}`)
          },
          space: null,
          log: {
            reader: {
              epochOf: (offset: number) => this.epochOf(offset),
              endOffsetForEpoch: (epoch: number | null) => this.endOffsetForEpoch(epoch),
            },
          },
        }
        this.data.set(key, data)
        return data
      },
    })
  }

  get partition(): FakeOffsetsPartition {
    const [first] = this.partitions
    if (first === undefined) throw new Error('the harness has no partition')
    return first
  }

  commit(offset: number, groupId = 'g', topicPartition = ORDERS): Promise<void> {
    return this.store.commit(groupId, [{ ...topicPartition, offset }])
  }

  offset(groupId = 'g', topicPartition = ORDERS): number | null {
    return this.store.fetch(groupId, topicPartition)?.offset ?? null
  }

  /** A store as it is after a restart. */
  async reopened(): Promise<Harness> {
    const harness = new Harness(this.partitions)
    await harness.store.load(this.partitions)
    return harness
  }
}

/** A batch with one record. */
function batchOf(key: Buffer | null, value: Buffer | null): Buffer {
  const builder = new RecordBatchBuilder()
  builder.append(NOW_MS, key, value)
  return builder.buildUncompressed()
}

describe('commit', () => {
  it('is not affected when the caller changes a fetched offset', async () => {
    const { store } = new Harness()
    await store.commit('g', [{ ...ORDERS, offset: 7 }])
    const fetched = store.fetch('g', ORDERS) as { offset: number }
    fetched.offset = 0
    expect(store.fetch('g', ORDERS)).toMatchObject({ offset: 7 })
  })

  it('stores offset, metadata and leader epoch', async () => {
    const { store, partition } = new Harness()
    await store.commit('g', [{ ...ORDERS, offset: 7, metadata: 'note', leaderEpoch: 2 }])
    expect(store.fetch('g', ORDERS)).toEqual({ offset: 7, metadata: 'note', leaderEpoch: 2 })
    const [record] = partition.appends[0] ?? []
    expect(decodeOffsetCommitKey(record?.key as Buffer)).toEqual({ groupId: 'g', ...ORDERS })
    expect(decodeOffsetCommitValue(record?.value as Buffer)).toEqual({
      offset: 7,
      metadata: 'note',
      leaderEpoch: 2,
      commitTimestamp: NOW_MS,
    })
  })

  it('stores empty metadata and no leader epoch by default', async () => {
    const harness = new Harness()
    await harness.commit(0)
    expect(harness.store.fetch('g', ORDERS)).toEqual({ offset: 0, metadata: '', leaderEpoch: null })
  })

  it('stores the leader epoch that is known when the wait for durable records ends', async () => {
    const harness = new Harness()
    const { promise, open } = gate()
    harness.durable = promise
    harness.epochOf = () => 1
    const committing = harness.commit(1)
    await settle()
    harness.epochOf = () => 2
    open()
    await committing
    expect(harness.store.fetch('g', ORDERS)).toMatchObject({ offset: 1, leaderEpoch: 2 })
  })

  it('appends all offsets of one call in a single append', async () => {
    const { store, partition } = new Harness()
    const offsets = [0, 1, 2].map((index) => ({ topic: 't', partition: index, offset: index + 5 }))
    await store.commit('g', offsets)
    expect(partition.appends.map((records) => records.length)).toEqual([3])
    expect(store.offsetsOf('g').map(({ offset }) => offset)).toEqual([5, 6, 7])
  })

  it('accepts a lower offset than the one committed before', async () => {
    const harness = new Harness()
    await harness.commit(9)
    await harness.commit(3)
    expect(harness.offset()).toBe(3)
  })

  it('keeps the last of several offsets for the same partition', async () => {
    const harness = new Harness()
    await harness.store.commit('g', [
      { ...ORDERS, offset: 4 },
      { ...ORDERS, offset: 2 },
    ])
    expect(harness.offset()).toBe(2)
    expect((await harness.reopened()).offset()).toBe(2)
  })

  it('writes nothing and creates no topic when the list of offsets is empty', async () => {
    const harness = new Harness()
    await harness.store.commit('g', [])
    expect([harness.openCount, harness.store.groups()]).toEqual([0, []])
  })

  it('waits until the records below the offset are durable before it appends', async () => {
    const harness = new Harness()
    const { promise, open } = gate()
    harness.durable = promise
    const committed = harness.commit(7)
    await settle()
    expect(harness.events).toEqual(['wait for orders-0 below 7'])
    expect(harness.partition.appends).toEqual([])
    open()
    await committed
    expect(harness.events).toEqual(['wait for orders-0 below 7', 'durable orders-0 below 7'])
    expect(harness.partition.appends).toHaveLength(1)
  })

  it('stores nothing when the records below the offset cannot be made durable', async () => {
    const harness = new Harness()
    await harness.commit(1)
    harness.durable = Promise.reject(FAILURE)
    await expect(harness.commit(7)).rejects.toBe(FAILURE)
    expect([harness.offset(), harness.partition.appends.length]).toEqual([1, 1])
  })

  it.each([true, false])(
    'leaves out a partition that is deleted meanwhile if withoutDeleted is set, else rejects: %s',
    async (withoutDeleted) => {
      const harness = new Harness()
      const { promise, open } = gate()
      const other = { ...ORDERS, topic: 'other' }
      harness.durable = promise.then(() => {
        if (harness.missing.has(topicPartitionKey(other))) throw new Error('deleted')
      })
      const deleted = harness.store.commit('g', [{ ...other, offset: 1 }], { withoutDeleted })
      harness.durable = Promise.resolve()
      const both = [ORDERS, other].map((each) => ({ ...each, offset: 2 }))
      const committing = harness.store.commit('g', both, { withoutDeleted })
      harness.missing.add(topicPartitionKey(other))
      open()
      const outcomes = await Promise.allSettled([deleted, committing])
      const status = withoutDeleted ? 'fulfilled' : 'rejected'
      expect(outcomes).toMatchObject([{ status }, { status }])
      expect([harness.offset(), harness.offset('g', other)]).toEqual([
        withoutDeleted ? 2 : null,
        null,
      ])
    },
  )

  it('makes the offset visible in memory only once it is durable', async () => {
    const harness = new Harness()
    await harness.commit(1)
    const { promise, open } = gate()
    harness.partition.gate = promise
    const committed = harness.commit(7)
    await settle()
    expect([harness.partition.appends.length, harness.offset()]).toEqual([2, 1])
    open()
    await committed
    expect(harness.offset()).toBe(7)
  })

  it('leaves the offset in memory unchanged when the append fails, and later commits succeed', async () => {
    const harness = new Harness()
    await harness.commit(1)
    harness.partition.appendError = FAILURE
    const failed = harness.commit(7)
    const failedToo = harness.commit(8)
    await expect(failed).rejects.toBe(FAILURE)
    await expect(failedToo).rejects.toBe(FAILURE)
    expect(harness.offset()).toBe(1)
    harness.partition.appendError = null
    await harness.commit(9)
    expect(harness.offset()).toBe(9)
  })

  it('applies the commits of one group in the order of the calls', async () => {
    const harness = new Harness()
    const { promise, open } = gate()
    harness.durable = promise
    const first = harness.commit(5)
    await settle()
    // The records below the second commit are durable at once.
    harness.durable = Promise.resolve()
    const second = harness.commit(3)
    await settle()
    expect(harness.partition.appends).toEqual([])
    open()
    await Promise.all([first, second])
    expect(harness.offset()).toBe(3)
    expect((await harness.reopened()).offset()).toBe(3)
  })

  it('does not wait for a pending commit of another group', async () => {
    const harness = new Harness()
    const { promise, open } = gate()
    harness.durable = promise
    const slow = harness.commit(5, 'slow')
    await settle()
    harness.durable = Promise.resolve()
    await harness.commit(3, 'quick')
    expect([harness.offset('slow'), harness.offset('quick')]).toEqual([null, 3])
    open()
    await slow
    expect(harness.offset('slow')).toBe(5)
  })

  it('ignores changes that the caller makes to its argument after the call', async () => {
    const harness = new Harness()
    const offsets = [{ ...ORDERS, offset: 5 }]
    const committed = harness.store.commit('g', offsets)
    offsets[0] = { ...ORDERS, offset: 6 }
    offsets.push({ topic: 'other', partition: 0, offset: 1 })
    await committed
    expect(harness.store.offsetsOf('g').map(({ topic, offset }) => [topic, offset])).toEqual([
      ['orders', 5],
    ])
  })

  it.each([
    ['a negative offset', { offset: -1 }, RangeError],
    ['a broken offset', { offset: 1.5 }, RangeError],
    ['an offset that is not a number', { offset: '1' as unknown as number }, TypeError],
    ['an offset beyond 2^53 - 1', { offset: 2 ** 53 }, RangeError],
    ['4097 bytes of metadata', { offset: 1, metadata: 'm'.repeat(4097) }, RangeError],
    ['fewer characters in as many bytes', { offset: 1, metadata: 'ü'.repeat(2049) }, RangeError],
    ['half of a character', { offset: 1, metadata: 'a\ud800' }, RangeError],
    ['metadata that is no text', { offset: 1, metadata: 1 as unknown as string }, TypeError],
    ['a negative epoch', { offset: 1, leaderEpoch: -1 }, RangeError],
  ])('rejects %s and stores nothing', async (_, fields, type) => {
    const { store, partition } = new Harness()
    const good = { ...ORDERS, offset: 1 }
    await expect(store.commit('g', [good, { ...ORDERS, ...fields }])).rejects.toThrow(type)
    expect([partition.appends, store.groups()]).toEqual([[], []])
  })

  it('accepts 4096 bytes of metadata', async () => {
    const { store } = new Harness()
    await store.commit('g', [{ ...ORDERS, offset: 1, metadata: 'ü'.repeat(2048) }])
    expect(store.fetch('g', ORDERS)?.metadata).toHaveLength(2048)
  })

  it('rejects a partition that does not exist', async () => {
    const harness = new Harness()
    harness.missing.add('orders-0')
    await expect(harness.commit(1)).rejects.toThrow(UnknownTopicOrPartitionError)
    expect(harness.openCount).toBe(0)
  })
})

describe('a commit whose records were truncated', () => {
  it.each([false, true])(
    'counts only up to the end of its epoch in every query: readOnly %s',
    async (readOnly) => {
      const harness = new Harness(undefined, readOnly)
      harness.epochOf = (offset) => (offset < 5 ? 0 : 1)
      await harness.commit(9)
      await harness.store.commit('h', [{ ...ORDERS, offset: 12, leaderEpoch: 0 }])
      // The log now ends at 20, and the records of epoch 0 end at 5.
      harness.endOffsetForEpoch = (epoch) => (epoch === 0 ? 5 : 20)
      const { store } = harness
      expect(store.fetch('h', ORDERS)).toEqual({ offset: 5, metadata: '', leaderEpoch: 0 })
      expect(store.offsetsOf('h')).toMatchObject([{ ...ORDERS, offset: 5, leaderEpoch: 0 }])
      expect(store.lastCommit('h', ORDERS)).toMatchObject({ offset: 12, leaderEpoch: 0 })
      expect(store.fetch('g', ORDERS)).toMatchObject({ offset: 9, leaderEpoch: 1 })
      expect(store.consumedBelow(ORDERS, { isFull: false })).toBe(5)
    },
  )

  it('keeps its offset in a read-only process if the log may continue beyond its known end', async () => {
    const harness = new Harness(undefined, true)
    await harness.store.commit('g', [{ ...ORDERS, offset: 12, leaderEpoch: 0 }])
    harness.endOffsetForEpoch = () => 5
    expect(harness.offset()).toBe(12)
  })
})

describe('the internal topic', () => {
  it('is opened once for all concurrent commits', async () => {
    const harness = new Harness()
    await Promise.all(['a', 'b', 'c'].map((groupId) => harness.commit(1, groupId)))
    await harness.commit(2, 'd')
    expect(harness.openCount).toBe(1)
  })

  it('is opened again by the next commit after opening it has failed', async () => {
    const harness = new Harness()
    harness.openError = FAILURE
    await expect(harness.commit(1)).rejects.toBe(FAILURE)
    expect(harness.offset()).toBeNull()
    harness.openError = null
    await harness.commit(2)
    expect([harness.openCount, harness.offset()]).toEqual([2, 2])
  })

  it('is not opened by a commit if it was loaded before', async () => {
    const harness = await new Harness().reopened()
    await harness.commit(1)
    expect(harness.openCount).toBe(0)
  })

  it('stores the offsets of each group in the partition of that group', async () => {
    const partitions = [0, 1, 2, 3].map((index) => new FakeOffsetsPartition(index))
    const harness = new Harness(partitions)
    const groupIds = ['a', 'b', 'c', 'd', 'billing']
    for (const groupId of groupIds) await harness.commit(1, groupId)
    const used = partitions.flatMap(({ appends, index }) =>
      appends.flat().map((record) => {
        const key = decodeOffsetCommitKey(record.key as Buffer)
        return `${key?.groupId ?? ''}@${index}`
      }),
    )
    const expected = groupIds.map((groupId) => `${groupId}@${partitionForGroup(groupId, 4)}`)
    expect(used.sort()).toEqual(expected.sort())
  })
})

describe('load', () => {
  it('restores the last committed offset of each group and partition', async () => {
    const before = new Harness([0, 1, 2].map((index) => new FakeOffsetsPartition(index)))
    for (const groupId of ['a', 'b', '__proto__', 'constructor']) {
      await before.commit(1, groupId)
      await before.commit(groupId.length + 10, groupId)
      await before.store.commit(groupId, [
        { topic: 'other', partition: 2, offset: 8, metadata: 'm' },
      ])
    }
    const after = await before.reopened()
    expect(after.store.groups()).toEqual(['__proto__', 'a', 'b', 'constructor'])
    for (const groupId of after.store.groups()) {
      expect(after.store.offsetsOf(groupId)).toEqual(before.store.offsetsOf(groupId))
    }
    expect(after.offset('__proto__')).toBe(19)
  })

  it('reads a log of many batches to the end', async () => {
    const before = new Harness()
    for (let offset = 0; offset < 40; offset++) {
      const metadata = 'm'.repeat(4000)
      await before.store.commit(
        'g',
        Array.from({ length: 10 }, (_, index) => ({
          topic: 't',
          partition: index,
          offset,
          metadata,
        })),
      )
    }
    const after = await before.reopened()
    expect(after.store.offsetsOf('g').map(({ offset }) => offset)).toEqual(Array(10).fill(39))
  })

  it('starts at the log start offset, even inside a batch, and stops at the high watermark', async () => {
    const before = new Harness()
    await before.store.commit('g', [
      { topic: 'a', partition: 0, offset: 1 },
      { topic: 'b', partition: 0, offset: 2 },
    ])
    await before.store.commit('g', [{ topic: 'c', partition: 0, offset: 3 }])
    before.partition.logStartOffset = 1
    before.partition.highWatermark = 2
    const after = await before.reopened()
    expect(after.store.offsetsOf('g').map(({ topic }) => topic)).toEqual(['b'])
  })

  it('skips records that are not offset commits or have an unknown version', async () => {
    const before = new Harness()
    await before.commit(4)
    const groupMetadata = Buffer.from('0002000167', 'hex')
    const laterValue = Buffer.from('0009ff', 'hex')
    before.partition.add(batchOf(groupMetadata, Buffer.from('0003', 'hex')))
    before.partition.add(batchOf(groupMetadata, null))
    before.partition.add(batchOf(null, Buffer.from('x')))
    before.partition.add(batchOf(encodeOffsetCommitKey({ groupId: 'g', ...ORDERS }), laterValue))
    const after = await before.reopened()
    expect([after.store.groups(), after.offset()]).toEqual([['g'], 4])
  })

  it('reads compressed batches', async () => {
    const builder = new RecordBatchBuilder({ compressionType: 'gzip' })
    builder.append(
      NOW_MS,
      encodeOffsetCommitKey({ groupId: 'g', ...ORDERS }),
      encodeOffsetCommitValue({ offset: 6, metadata: '', leaderEpoch: 1, commitTimestamp: 0 }),
    )
    const before = new Harness()
    before.partition.add(await builder.build())
    expect((await before.reopened()).offset()).toBe(6)
  })

  it('ends when compaction has left no batch for the last offsets', async () => {
    const before = new Harness()
    await before.commit(4)
    before.partition.highWatermark = 10
    expect((await before.reopened()).offset()).toBe(4)
  })

  it.each([
    ['key', Buffer.from('000100', 'hex'), null],
    [
      'value',
      encodeOffsetCommitKey({ groupId: 'g', ...ORDERS }),
      Buffer.from('00030000000000', 'hex'),
    ],
  ])('rejects with the offset of a damaged %s, and restores nothing', async (_, key, value) => {
    const before = new Harness()
    await before.commit(4)
    before.partition.add(batchOf(key, value))
    await before.commit(5)
    const after = new Harness(before.partitions)
    const error: unknown = await after.store
      .load(before.partitions)
      .catch((cause: unknown) => cause)
    expect(error).toBeInstanceOf(CorruptRecordError)
    expect(error).toMatchObject({ firstOffset: 1, lastOffset: 1 })
    expect((error as Error).message).toContain('__consumer_offsets-0')
    expect([after.offset(), after.store.groups()]).toEqual([null, []])
    expect(after.store.damages).toEqual([{ partition: 0, error }])
  })

  it('rejects with the offset of a batch whose records are damaged', async () => {
    const before = new Harness()
    await before.commit(4)
    const batch = before.partition.add(batchOf(Buffer.from('k'), null))
    batch.buffer[61] = 0x7f
    const error: unknown = await before.reopened().catch((cause: unknown) => cause)
    expect(error).toMatchObject({ name: 'CorruptRecordError', firstOffset: 1, lastOffset: 1 })
    expect((error as Error).message).toContain('__consumer_offsets-0')
  })

  it('is completed by the next refresh when the damage was only in the read', async () => {
    const before = new Harness()
    await before.commit(4)
    before.partition.readError = new CorruptRecordError('bad', { path: null, position: 0 })
    const after = new Harness(before.partitions)
    await expect(after.store.load(before.partitions)).rejects.toThrow(CorruptRecordError)
    await expect(after.store.refresh(before.partitions)).rejects.toThrow(CorruptRecordError)
    before.partition.readError = null
    await after.store.refresh(before.partitions)
    expect([after.store.damage, after.offset()]).toEqual([null, 4])
  })

  it('reports damage that a refresh finds, until a later refresh reads the log again', async () => {
    const before = new Harness()
    await before.commit(4)
    const after = await before.reopened()
    const error = new CorruptRecordError('bad', { path: null, position: 0 })
    before.partition.readError = error
    await expect(after.store.refresh(before.partitions)).rejects.toBe(error)
    expect(after.store.damages).toEqual([{ partition: 0, error }])
    before.partition.readError = FAILURE
    await expect(after.store.refresh(before.partitions)).rejects.toBe(FAILURE)
    expect(after.store.damages).toEqual([{ partition: 0, error }])
    before.partition.readError = null
    await before.commit(5)
    await after.store.refresh(before.partitions)
    expect([after.store.damage, after.offset()]).toEqual([null, 5])
  })

  it('is repeated by a refresh after a truncation, and commits in place of the truncated ones count', async () => {
    const before = new Harness()
    await before.commit(4)
    await before.commit(9)
    const after = await before.reopened()
    const { partition } = before
    partition.batches.pop()
    partition.highWatermark = 1
    partition.log.reader.generation += 2
    await after.store.refresh(before.partitions)
    expect(after.offset()).toBe(4)
    await before.commit(5)
    await after.store.refresh(before.partitions)
    expect(after.offset()).toBe(5)
  })

  it('forgets a group whose commits were all truncated', async () => {
    const before = new Harness()
    await before.commit(4)
    await before.commit(9, 'other')
    const after = await before.reopened()
    const { partition } = before
    partition.batches.pop()
    partition.highWatermark = 1
    partition.log.reader.generation += 2
    await after.store.refresh(before.partitions)
    expect(after.store.groups()).toEqual(['g'])
  })

  it('is repeated by a refresh even if the log was truncated and has grown again since the last one', async () => {
    const before = new Harness()
    await before.commit(4)
    await before.commit(9)
    const after = await before.reopened()
    before.partition.batches.pop()
    before.partition.highWatermark = 1
    before.partition.log.reader.generation += 2
    await before.commit(5)
    await after.store.refresh(before.partitions)
    expect(after.offset()).toBe(5)
  })

  it('applies overlapping refreshes in the order of their calls', async () => {
    const before = new Harness()
    const after = await before.reopened()
    await before.commit(4)
    const slow = gate()
    const readBatches = before.partition.readBatches.bind(before.partition)
    let reads = 0
    before.partition.readBatches = async (offset, maxBytes) => {
      const found = await readBatches(offset, maxBytes)
      reads += 1
      if (reads === 1) await slow.promise
      return found
    }
    const first = after.store.refresh(before.partitions)
    await settle()
    await before.store.forgetTopic('orders')
    const second = after.store.refresh(before.partitions)
    await settle()
    slow.open()
    await Promise.all([first, second])
    expect(after.offset()).toBeNull()
  })

  it('rejects with the error of a failed read, and reports no damage', async () => {
    const before = new Harness()
    await before.commit(4)
    before.partition.readError = FAILURE
    const after = new Harness(before.partitions)
    await expect(after.store.load(before.partitions)).rejects.toBe(FAILURE)
    expect(after.store.damage).toBeNull()
  })
})

describe('forgetTopic', () => {
  it('removes the offsets of the topic from all groups, also after a restart', async () => {
    const before = new Harness([0, 1].map((index) => new FakeOffsetsPartition(index)))
    for (const groupId of ['a', 'b']) {
      await before.commit(1, groupId)
      await before.commit(2, groupId, { topic: 'orders', partition: 1 })
    }
    await before.commit(3, 'b', { topic: 'orders-2', partition: 0 })
    await before.store.forgetTopic('orders')
    for (const { store } of [before, await before.reopened()]) {
      expect(store.groups()).toEqual(['b'])
      expect(store.offsetsOf('b').map(({ topic }) => topic)).toEqual(['orders-2'])
    }
  })

  it('removes only the offsets of partitions from the given one on', async () => {
    const before = new Harness()
    for (const topic of ['orders', 'other']) {
      for (const partition of [0, 1, 2]) await before.commit(1, 'a', { topic, partition })
    }
    await before.store.forgetTopic('orders', 1)
    for (const { store } of [before, await before.reopened()]) {
      const left = store.offsetsOf('a').map(topicPartitionKey)
      expect(left).toEqual(['orders-0', 'other-0', 'other-1', 'other-2'])
    }
  })

  it('looks only at the offsets of groups that have one of the topic', async () => {
    const harness = new Harness()
    await harness.commit(1, 'a')
    await harness.commit(1, 'b', { topic: 'other', partition: 0 })
    const values = vi.spyOn(OffsetsByPartition.prototype, 'values')
    await harness.store.forgetTopic('other')
    expect(values).toHaveBeenCalledTimes(1)
    values.mockRestore()
  })

  it('removes an offset whose commit was pending when it was called', async () => {
    const before = new Harness()
    await before.commit(0)
    const { promise, open } = gate()
    before.durable = promise
    const committed = before.commit(1)
    const forgotten = before.store.forgetTopic('orders')
    open()
    await Promise.all([committed, forgotten])
    expect([before.offset(), (await before.reopened()).offset()]).toEqual([null, null])
  })

  it('keeps an offset that is committed after it was called', async () => {
    const before = new Harness()
    await before.commit(1)
    await Promise.all([before.store.forgetTopic('orders'), before.commit(2)])
    expect([before.offset(), (await before.reopened()).offset()]).toEqual([2, 2])
  })

  it('writes nothing when no group has an offset of the topic', async () => {
    const harness = new Harness()
    await harness.store.forgetTopic('orders')
    expect(harness.openCount).toBe(0)
    await harness.commit(1)
    await harness.store.forgetTopic('other')
    expect(harness.partition.appends).toHaveLength(1)
  })

  it('keeps the offset in memory for a group whose tombstones cannot be written', async () => {
    const partitions = [0, 1].map((index) => new FakeOffsetsPartition(index))
    const harness = new Harness(partitions)
    await harness.commit(1, 'a')
    await harness.commit(1, 'b')
    expect([partitionForGroup('a', 2), partitionForGroup('b', 2)]).toEqual([1, 0])
    const [, second] = partitions
    if (second !== undefined) second.appendError = FAILURE
    await expect(harness.store.forgetTopic('orders')).rejects.toBe(FAILURE)
    expect([harness.offset('a'), harness.offset('b')]).toEqual([1, null])
  })
})

describe('a group without committed offsets', () => {
  it('is not held in memory, whether its offsets were deleted or its commits failed', async () => {
    const harness = new Harness()
    const { store, partition } = harness
    for (const groupId of ['a', 'b', 'c']) await harness.commit(1, groupId)
    await store.forgetGroup('a', () => undefined)
    expect(store.heldGroups).toBe(2)
    await store.forgetTopic('orders')
    expect(store.heldGroups).toBe(0)
    partition.appendError = FAILURE
    await expect(harness.commit(1, 'd')).rejects.toBe(FAILURE)
    await expect(harness.commit(-1, 'e')).rejects.toThrow(RangeError)
    expect(store.heldGroups).toBe(0)
    partition.appendError = null
    expect((await harness.reopened()).store.heldGroups).toBe(0)
  })

  it('is kept while commits are pending, and applies them in order', async () => {
    const harness = new Harness()
    await harness.commit(1)
    const first = gate()
    harness.partition.gate = first.promise
    const forgotten = harness.store.forgetGroup('g', () => undefined)
    const commits = [harness.commit(2), harness.commit(3)]
    await settle()
    expect(harness.partition.appends).toHaveLength(2)
    first.open()
    expect(await forgotten).toBe(true)
    await Promise.all(commits)
    expect([harness.store.heldGroups, harness.offset()]).toEqual([1, 3])
    expect((await harness.reopened()).offset()).toBe(3)
  })
})
