import { describe, expect, it } from 'vitest'
import { CorruptRecordError } from '../../lib/errors.ts'
import { emptyBatch } from '../../lib/record/batch-properties.ts'
import { readTransactionEnd } from '../../lib/record/control-record.ts'
import { RecordBatchBuilder } from '../../lib/record/record-batch-builder.ts'
import { RecordBatch } from '../../lib/record/record-batch.ts'
import { buildEndTransactionMarker } from './end-transaction-marker.ts'
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

describe('a marker that ends a transaction', () => {
  it('is byte for byte what Kafka writes', () => {
    expect(buildEndTransactionMarker({ ...MARKER, type: 'COMMIT', baseOffset: 55 })).toEqual(
      COMMIT_MARKER,
    )
    expect(buildEndTransactionMarker({ ...MARKER, type: 'ABORT', baseOffset: 56 })).toEqual(
      ABORT_MARKER,
    )
  })

  it('is read with its type and coordinator epoch', () => {
    expect(readTransactionEnd(new RecordBatch(COMMIT_MARKER))).toEqual({
      type: 'COMMIT',
      coordinatorEpoch: 9,
    })
    expect(readTransactionEnd(new RecordBatch(ABORT_MARKER))).toEqual({
      type: 'ABORT',
      coordinatorEpoch: 9,
    })
  })
})

describe('readTransactionEnd', () => {
  it.each([2, 6, 7, -1])('returns null for a control record of type %d', (type) => {
    const key = Buffer.alloc(4)
    key.writeInt16BE(type, 2)
    expect(readTransactionEnd(controlBatch(key, Buffer.of(1)))).toBeNull()
  })

  it('reads the known fields of a control record with a later version', () => {
    const key = Buffer.from('0001000199', 'hex')
    const value = Buffer.from('00020000000799', 'hex')
    expect(readTransactionEnd(controlBatch(key, value))?.coordinatorEpoch).toBe(7)
  })

  it('returns null for a control batch that compaction has emptied', () => {
    const bytes = emptyBatch({ baseOffset: 3, lastOffset: 3, maxTimestamp: 0, isControl: true })
    expect(readTransactionEnd(new RecordBatch(bytes))).toBeNull()
  })

  it('throws for a batch that is not a control batch', () => {
    expect(() => readTransactionEnd(new RecordBatch(PLAIN_BATCH))).toThrow(
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
  ])('throws CorruptRecordError for a control record %s', (_name, key, value) => {
    expect(() => readTransactionEnd(controlBatch(key, value))).toThrow(CorruptRecordError)
  })
})
