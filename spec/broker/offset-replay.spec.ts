import { describe, expect, it } from 'vitest'
import {
  encodeOffsetCommitKey,
  encodeOffsetCommitValue,
  partitionForGroup,
} from '../../lib/broker/offset-commit-codec.ts'
import type { GroupOffsets } from '../../lib/broker/group-offsets.ts'
import { OffsetReplay } from '../../lib/broker/offset-replay.ts'
import { topicPartitionKey } from '../../lib/broker/topic-partition.ts'
import { CorruptRecordError } from '../../lib/errors.ts'
import { PRODUCER_ID_POSITION } from '../../lib/record/batch-layout.ts'
import { RecordBatchBuilder } from '../../lib/record/record-batch-builder.ts'
import { buildEndTransactionMarker } from '../record/end-transaction-marker.ts'
import { FakeOffsetsPartition } from './fake-offsets-partition.ts'

const ORDERS = { topic: 'orders', partition: 0 }

/** A broker's offsets topic, with the commits of transactions. */
class TransactionalOffsets {
  readonly partition = new FakeOffsetsPartition()
  readonly #groups = new Map<string, GroupOffsets>()
  readonly #replay = new OffsetReplay(1)

  /** @param producerId of the transaction; -1 for none. `offset` null is a tombstone. */
  commit(offset: number | null, producerId = -1, groupId = 'g'): void {
    const isTransactional = producerId >= 0
    const builder = new RecordBatchBuilder({ producerId, producerEpoch: 0, isTransactional })
    const committed = { offset: offset ?? 0, metadata: '', leaderEpoch: null, commitTimestamp: 0 }
    const value = offset === null ? null : encodeOffsetCommitValue(committed)
    builder.append(0, encodeOffsetCommitKey({ groupId, ...ORDERS }), value)
    this.partition.add(builder.buildUncompressed())
  }

  end(type: 'COMMIT' | 'ABORT', producerId: number): void {
    const marker = { type, producerId, producerEpoch: 0, coordinatorEpoch: 0 }
    const place = { baseOffset: 0, partitionLeaderEpoch: 0, timestamp: 0 }
    this.partition.add(buildEndTransactionMarker({ ...marker, ...place }))
  }

  async offset(groupId = 'g'): Promise<number | undefined> {
    await this.#replay.run(this.partition, this.#groups)
    return this.#groups.get(groupId)?.offsets.get(topicPartitionKey(ORDERS))?.committed.offset
  }
}

it('a replay skips commits of a group that belongs to another partition, even damaged ones', async () => {
  const partition = new FakeOffsetsPartition(1)
  const add = (groupId: string, value: Buffer): void => {
    const builder = new RecordBatchBuilder()
    builder.append(0, encodeOffsetCommitKey({ groupId, ...ORDERS }), value)
    partition.add(builder.buildUncompressed())
  }
  const value = { offset: 5, metadata: '', leaderEpoch: null, commitTimestamp: 0 }
  for (const groupId of ['a', 'b']) add(groupId, encodeOffsetCommitValue(value))
  add('b', Buffer.from('0003', 'hex'))
  expect(['a', 'b'].map((groupId) => partitionForGroup(groupId, 2))).toEqual([1, 0])
  const groups = new Map<string, GroupOffsets>()
  await new OffsetReplay(2).run(partition, groups)
  expect([...groups.keys()]).toEqual(['a'])
})

it.each([-1, -2])(
  'a commit of offset %i removes the committed offset of its group, and of no other group',
  async (offset) => {
    const offsets = new TransactionalOffsets()
    offsets.commit(5)
    offsets.commit(5, -1, 'other')
    offsets.commit(offset)
    expect(await offsets.offset()).toBeUndefined()
    expect(await offsets.offset('other')).toBe(5)
    offsets.commit(7)
    expect(await offsets.offset()).toBe(7)
  },
)

describe("an offset committed in a broker's transaction", () => {
  it('counts once its transaction is committed, even if a later replay reads the end marker', async () => {
    const offsets = new TransactionalOffsets()
    offsets.commit(5)
    offsets.commit(9, 1)
    expect(await offsets.offset()).toBe(5)
    offsets.end('COMMIT', 1)
    expect(await offsets.offset()).toBe(9)
  })

  it('does not count while its transaction is open or after it is aborted', async () => {
    const offsets = new TransactionalOffsets()
    offsets.commit(5)
    offsets.commit(9, 1)
    offsets.commit(8, 2)
    offsets.end('ABORT', 1)
    offsets.commit(7, 1)
    offsets.end('COMMIT', 3)
    expect(await offsets.offset()).toBe(5)
    offsets.end('COMMIT', 1)
    expect(await offsets.offset()).toBe(7)
  })

  it('does not replace a later commit made outside of transactions before the transaction ended', async () => {
    const offsets = new TransactionalOffsets()
    offsets.commit(9, 1)
    offsets.commit(9, 1, 'other')
    offsets.commit(3)
    offsets.end('COMMIT', 1)
    expect(await offsets.offset()).toBe(3)
    expect(await offsets.offset('other')).toBe(9)
  })

  it('does not replace one that another transaction wrote later, whichever ended first', async () => {
    const offsets = new TransactionalOffsets()
    offsets.commit(5, 1)
    offsets.commit(9, 2)
    offsets.end('COMMIT', 2)
    offsets.end('COMMIT', 1)
    expect(await offsets.offset()).toBe(9)
  })

  it('stays discarded after an abort when the same producer commits its next transaction', async () => {
    const offsets = new TransactionalOffsets()
    offsets.commit(8, 1, 'other')
    offsets.end('ABORT', 1)
    offsets.commit(5, 1)
    offsets.end('COMMIT', 1)
    expect(await offsets.offset()).toBe(5)
    expect(await offsets.offset('other')).toBeUndefined()
  })

  it('stays pending when a replay fails after it has read the end of an earlier transaction', async () => {
    const offsets = new TransactionalOffsets()
    const { partition } = offsets
    offsets.commit(5, 1)
    offsets.end('COMMIT', 1)
    offsets.commit(8, 1, 'other')
    const readBatches = partition.readBatches.bind(partition)
    partition.readBatches = (from, maxBytes) =>
      from === partition.highWatermark
        ? Promise.reject(new Error('EIO'))
        : readBatches(from, maxBytes)
    await expect(offsets.offset()).rejects.toThrow('EIO')
    partition.readBatches = readBatches
    expect(await offsets.offset()).toBe(5)
    expect(await offsets.offset('other')).toBeUndefined()
  })

  it('belongs to the transaction of its own producer, even for producer ids above the safe integers', async () => {
    const offsets = new TransactionalOffsets()
    const written = 2n ** 53n
    offsets.commit(7, 1)
    offsets.commit(8, 2, 'other')
    offsets.commit(5, -1, 'third')
    offsets.end('ABORT', 1)
    offsets.end('COMMIT', 2)
    for (const [slot, producerId] of [
      written,
      written + 1n,
      written,
      written,
      written + 1n,
    ].entries()) {
      offsets.partition.batches[slot]?.buffer.writeBigInt64BE(producerId, PRODUCER_ID_POSITION)
    }
    expect(await offsets.offset()).toBeUndefined()
    expect(await offsets.offset('other')).toBe(8)
    expect(await offsets.offset('third')).toBe(5)
  })

  it('removes the committed offset if it is a tombstone', async () => {
    const offsets = new TransactionalOffsets()
    offsets.commit(5)
    offsets.commit(null, 1)
    expect(await offsets.offset()).toBe(5)
    offsets.end('COMMIT', 1)
    expect(await offsets.offset()).toBeUndefined()
  })

  it('makes the replay reject when the end marker of its transaction is damaged', async () => {
    const offsets = new TransactionalOffsets()
    offsets.commit(9, 1)
    const builder = new RecordBatchBuilder({
      producerId: 1,
      isControl: true,
      isTransactional: true,
    })
    builder.append(0, Buffer.from([0]), null)
    offsets.partition.add(builder.buildUncompressed())
    await expect(offsets.offset()).rejects.toThrow(CorruptRecordError)
    await expect(offsets.offset()).rejects.toMatchObject({ firstOffset: 1, lastOffset: 1 })
  })
})
