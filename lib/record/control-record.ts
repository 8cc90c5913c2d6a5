import { CorruptRecordError } from '../errors.ts'
import { decodeUncompressed } from './decode.ts'
import { RecordBatchBuilder } from './record-batch-builder.ts'
import { stampBatch, type RecordBatch } from './record-batch.ts'
import { ByteReader } from './varint.ts'

// The one record of a control batch, and the value of those that end a transaction.
//
//   key    2  version  0            value  2  version           0
//          2  type     see below           4  coordinatorEpoch

/** Kafka's control records. The place of a name in this list is its number in the key. */
const CONTROL_RECORD_TYPES = [
  'ABORT',
  'COMMIT',
  'LEADER_CHANGE',
  'SNAPSHOT_HEADER',
  'SNAPSHOT_FOOTER',
  'KRAFT_VERSION',
  'KRAFT_VOTERS',
] as const

const KEY_BYTES = 4
const END_TRANSACTION_VALUE_BYTES = 6
const VERSION = 0

/** A control record goes to no consumer, so where it lies does not matter. */
const NO_PLACE = { topic: '', partition: -1 }

/** What a control record is for; 'UNKNOWN' is of a later Kafka, to be passed over. */
export type ControlRecordType = (typeof CONTROL_RECORD_TYPES)[number] | 'UNKNOWN'

/** What a control batch says to the log. */
export interface ControlRecord {
  readonly type: ControlRecordType
  readonly offset: number
  /** Of the transaction coordinator that wrote it; `null` where the type is not ABORT or COMMIT. */
  readonly coordinatorEpoch: number | null
}

/** The end of a transaction, to be written into each of its partitions. */
export interface EndTransactionMarker {
  readonly type: 'ABORT' | 'COMMIT'
  readonly baseOffset: number
  readonly partitionLeaderEpoch: number
  /** Milliseconds since the epoch. */
  readonly timestamp: number
  readonly producerId: number
  readonly producerEpoch: number
  readonly coordinatorEpoch: number
}

/**
 * A whole batch, CRC included, that ends a transaction.
 *
 * @throws RangeError when a number does not fit its field
 */
export function buildEndTransactionMarker(marker: EndTransactionMarker): Buffer {
  const { type, baseOffset, partitionLeaderEpoch, producerId, producerEpoch } = marker
  const key = Buffer.alloc(KEY_BYTES)
  key.writeInt16BE(VERSION, 0)
  key.writeInt16BE(CONTROL_RECORD_TYPES.indexOf(type), 2)
  const value = Buffer.alloc(END_TRANSACTION_VALUE_BYTES)
  value.writeInt16BE(VERSION, 0)
  value.writeInt32BE(marker.coordinatorEpoch, 2)
  const builder = new RecordBatchBuilder({
    producerId,
    producerEpoch,
    isTransactional: true,
    isControl: true,
  })
  builder.append(marker.timestamp, key, value)
  const batch = builder.buildUncompressed()
  stampBatch(batch, { baseOffset, partitionLeaderEpoch })
  return batch
}

/**
 * Reads what a control batch says.
 *
 * @returns `null` when compaction has removed the record
 * @throws TypeError when `batch` is not a control batch
 * @throws {@link CorruptRecordError} when the record is not one that Kafka writes
 */
export function readControlRecord(batch: RecordBatch): ControlRecord | null {
  if (!batch.isControl) throw new TypeError('the batch is not a control batch')
  const record = decodeUncompressed(batch, NO_PLACE)[0]
  if (record === undefined) return null
  const key = new ByteReader(record.key ?? Buffer.alloc(0))
  ensureVersion(key.readInt16(), batch)
  const type = CONTROL_RECORD_TYPES[key.readInt16()] ?? 'UNKNOWN'
  const isEnd = type === 'ABORT' || type === 'COMMIT'
  return {
    type,
    offset: record.offset,
    coordinatorEpoch: isEnd ? readCoordinatorEpoch(record.value, batch) : null,
  }
}

function readCoordinatorEpoch(value: Buffer | null, batch: RecordBatch): number {
  const reader = new ByteReader(value ?? Buffer.alloc(0))
  ensureVersion(reader.readInt16(), batch)
  return reader.readInt32()
}

function ensureVersion(version: number, batch: RecordBatch): void {
  // Later versions may only append fields, so what is known of them can be read.
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
