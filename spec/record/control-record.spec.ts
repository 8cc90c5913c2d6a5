import { describe, expect, it } from 'vitest'
import { buildEndTransactionMarker, readControlRecord } from '../../lib/record/control-record.ts'
import { CorruptRecordError } from '../../lib/errors.ts'
import { emptyBatch, RecordBatchBuilder } from '../../lib/record/record-batch-builder.ts'
import { RecordBatch } from '../../lib/record/record-batch.ts'
import { ABORT_MARKER, COMMIT_MARKER, GOLDEN_TIMESTAMP, PLAIN_BATCH } from './golden-vectors.ts'

const MARKER = {
  partitionLeaderEpoch: 0,
  timestamp: GOLDEN_TIMESTAMP,
  producerId: 4321,
  producerEpoch: 3,
  coordinatorEpoch: 9,
}

const controlBatch = (key: Buffer | null, value: Buffer | null = null): RecordBatch => {
  const builder = new RecordBatchBuilder({ isControl: true, baseOffset: 8 })
  builder.append(0, key, value)
  return new RecordBatch(builder.buildUncompressed())
}

describe('the end of a transaction', () => {
  it('is written byte for byte as by Kafka', () => {
    expect(buildEndTransactionMarker({ ...MARKER, type: 'COMMIT', baseOffset: 55 })).toEqual(
      COMMIT_MARKER,
    )
    expect(buildEndTransactionMarker({ ...MARKER, type: 'ABORT', baseOffset: 56 })).toEqual(
      ABORT_MARKER,
    )
  })

  it('is read back', () => {
    expect(readControlRecord(new RecordBatch(COMMIT_MARKER))).toEqual({
      type: 'COMMIT',
      offset: 55,
      coordinatorEpoch: 9,
    })
    expect(readControlRecord(new RecordBatch(ABORT_MARKER))).toEqual({
      type: 'ABORT',
      offset: 56,
      coordinatorEpoch: 9,
    })
  })
})

describe('a control record', () => {
  it.each([
    [2, 'LEADER_CHANGE'],
    [3, 'SNAPSHOT_HEADER'],
    [4, 'SNAPSHOT_FOOTER'],
    [5, 'KRAFT_VERSION'],
    [6, 'KRAFT_VOTERS'],
    [7, 'UNKNOWN'],
    [-1, 'UNKNOWN'],
  ])('of type %d is %s', (number, type) => {
    const key = Buffer.alloc(4)
    key.writeInt16BE(number, 2)
    expect(readControlRecord(controlBatch(key, Buffer.of(1)))).toEqual({
      type,
      offset: 8,
      coordinatorEpoch: null,
    })
  })

  it('of a later version is read as far as it is known', () => {
    const key = Buffer.from('0001000199', 'hex')
    const value = Buffer.from('00020000000799', 'hex')
    expect(readControlRecord(controlBatch(key, value))?.coordinatorEpoch).toBe(7)
  })

  it('may be gone after compaction', () => {
    const bytes = emptyBatch({ baseOffset: 3, lastOffset: 3, maxTimestamp: 0, isControl: true })
    expect(readControlRecord(new RecordBatch(bytes))).toBeNull()
  })

  it('is not looked for in a batch for consumers', () => {
    expect(() => readControlRecord(new RecordBatch(PLAIN_BATCH))).toThrow(
      'the batch is not a control batch',
    )
  })

  it.each([
    ['without a key', null, null],
    ['with half a key', Buffer.alloc(3), null],
    ['with a negative version', Buffer.from('ffff0001', 'hex'), Buffer.alloc(6)],
    ['without a value', Buffer.from('00000001', 'hex'), null],
    ['with half a value', Buffer.from('00000000', 'hex'), Buffer.alloc(5)],
    [
      'with a value of a negative version',
      Buffer.from('00000000', 'hex'),
      Buffer.from('ffff00000001', 'hex'),
    ],
  ])('%s is corrupt', (_name, key, value) => {
    expect(() => readControlRecord(controlBatch(key, value))).toThrow(CorruptRecordError)
  })
})
