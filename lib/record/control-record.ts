import { CorruptRecordError } from '../errors.ts'
import { decodeUncompressed } from './decode.ts'
import type { RecordBatch } from './record-batch.ts'
import { ByteReader } from './varint.ts'

// The single record of a control batch, with the value that it has if it ends a transaction.
//
//   key    2  version  0            value  2  version           0
//          2  type     see below           4  coordinatorEpoch

/** How a transaction ends. The index of a name in this list is its number in the key. */
const ENDS = ['ABORT', 'COMMIT'] as const

const VERSION = 0

/** A control record is not delivered to consumers, so its partition does not matter. */
const NO_PLACE = { topic: '', partition: -1 }

/** What a control batch says about the transaction that it ends. */
export interface TransactionEnd {
  readonly type: (typeof ENDS)[number]
  /** Epoch of the transaction coordinator that wrote it. */
  readonly coordinatorEpoch: number
}

/**
 * Reads how a control batch ends a transaction.
 *
 * @returns `null` if compaction has removed the record, or it has another purpose
 * @throws TypeError when `batch` is not a control batch
 * @throws {@link CorruptRecordError} when the record is not one that Kafka writes
 */
export function readTransactionEnd(batch: RecordBatch): TransactionEnd | null {
  if (!batch.isControl) throw new TypeError('the batch is not a control batch')
  const record = decodeUncompressed(batch, NO_PLACE)[0]
  if (record === undefined) return null
  const key = new ByteReader(record.key ?? Buffer.alloc(0))
  ensureVersion(key.readInt16(), batch)
  const type = ENDS[key.readInt16()]
  if (type === undefined) return null
  const value = new ByteReader(record.value ?? Buffer.alloc(0))
  ensureVersion(value.readInt16(), batch)
  return { type, coordinatorEpoch: value.readInt32() }
}

function ensureVersion(version: number, batch: RecordBatch): void {
  // Later versions may only append fields, so the known ones can be read.
  if (version < VERSION) {
    const { baseOffset: firstOffset, lastOffset } = batch
    throw new CorruptRecordError(`the version of the control record is ${version}`, {
      path: null,
      position: 0,
      firstOffset,
      lastOffset,
    })
  }
}
