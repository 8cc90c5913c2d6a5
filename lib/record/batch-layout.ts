import { CorruptRecordError } from '../errors.ts'
import { int32At, putInt16, putInt32, putUint16 } from './big-endian.ts'
import { writeInt64 } from './int64.ts'

// A record batch in Kafka's message format 2. All numbers are big-endian.
//
//   position  bytes  field                 meaning
//   0         8      baseOffset            offset of the first record, even if it was removed
//   8         4      batchLength           bytes after this field: the whole batch less 12
//   12        4      partitionLeaderEpoch  -1 until a log has accepted the batch
//   16        1      magic                 2
//   17        4      crc                   CRC-32C of everything after this field
//   21        2      attributes            flags, see below
//   23        4      lastOffsetDelta       last offset less baseOffset, even if its record is gone
//   27        8      baseTimestamp         base of timestamp deltas: that of the first record
//                                          (not the smallest), or the delete horizon; -1 when empty
//   35        8      maxTimestamp          largest of the records, or the time of the append
//   43        8      producerId            -1: none
//   51        2      producerEpoch         -1: none
//   53        4      baseSequence          sequence of baseOffset; -1: none
//   57        4      recordCount           records that are present
//   61               records               back to back; compressed as one block
//
//   attributes: 0-2 codec, 3 append time, 4 transactional, 5 control, 6 delete horizon,
//   14 group start
//
// The CRC covers bytes 21 to the end. What a log assigns at append (baseOffset, the epoch) is
// outside it, and so are the length and magic: damage there has to be found by other means. Bit 14
// is this library's. Kafka's readers only look at the low byte of the attributes.

/** Bytes before those that `batchLength` counts. */
export const LOG_OVERHEAD = 12
/** Size of a batch without records. */
export const RECORD_BATCH_OVERHEAD = 61
/** The only message format that this library reads and writes. */
export const MAGIC_V2 = 2
/** Marks a missing timestamp. */
export const NO_TIMESTAMP: number = -1
/** Attribute bit: everything before this batch was durable when this batch was written. */
export const GROUP_START = 0x4000
/** Largest size of a batch, and largest distance between two offsets in it: an int32. */
export const MAX_INT32 = 0x7fff_ffff

// Positions of the fields.
export const BASE_OFFSET_POSITION = 0
export const BATCH_LENGTH_POSITION: number = BASE_OFFSET_POSITION + 8
export const LEADER_EPOCH_POSITION: number = BATCH_LENGTH_POSITION + 4
export const MAGIC_POSITION: number = LEADER_EPOCH_POSITION + 4
export const CRC_POSITION: number = MAGIC_POSITION + 1
export const ATTRIBUTES_POSITION: number = CRC_POSITION + 4
export const LAST_OFFSET_DELTA_POSITION: number = ATTRIBUTES_POSITION + 2
export const BASE_TIMESTAMP_POSITION: number = LAST_OFFSET_DELTA_POSITION + 4
export const MAX_TIMESTAMP_POSITION: number = BASE_TIMESTAMP_POSITION + 8
export const PRODUCER_ID_POSITION: number = MAX_TIMESTAMP_POSITION + 8
export const PRODUCER_EPOCH_POSITION: number = PRODUCER_ID_POSITION + 8
export const BASE_SEQUENCE_POSITION: number = PRODUCER_EPOCH_POSITION + 2
export const RECORD_COUNT_POSITION: number = BASE_SEQUENCE_POSITION + 4

/** Bytes needed to determine the size and the format of a batch. */
export const PREFIX_BYTES: number = MAGIC_POSITION + 1

// Kafka's bits of the attributes.
export const COMPRESSION_MASK = 0x07
export const LOG_APPEND_TIME = 0x08
export const TRANSACTIONAL = 0x10
export const CONTROL = 0x20
export const DELETE_HORIZON = 0x40

/** The header fields that the writer chooses; length, magic and CRC follow from the bytes. */
export interface BatchHeader {
  readonly baseOffset: number
  readonly partitionLeaderEpoch: number
  readonly attributes: number
  readonly lastOffsetDelta: number
  readonly baseTimestamp: number
  readonly maxTimestamp: number
  readonly producerId: number
  readonly producerEpoch: number
  readonly baseSequence: number
  readonly recordCount: number
}

/**
 * Writes the header of the batch that fills `buffer`. Leaves the CRC at 0.
 *
 * @throws RangeError when a number does not fit its field
 */
export function writeBatchHeader(buffer: Buffer, header: BatchHeader): void {
  writeInt64(buffer, BASE_OFFSET_POSITION, header.baseOffset)
  putInt32(buffer, BATCH_LENGTH_POSITION, buffer.length - LOG_OVERHEAD)
  putInt32(buffer, LEADER_EPOCH_POSITION, header.partitionLeaderEpoch)
  buffer[MAGIC_POSITION] = MAGIC_V2
  putInt32(buffer, CRC_POSITION, 0)
  putUint16(buffer, ATTRIBUTES_POSITION, header.attributes)
  putInt32(buffer, LAST_OFFSET_DELTA_POSITION, header.lastOffsetDelta)
  writeInt64(buffer, BASE_TIMESTAMP_POSITION, header.baseTimestamp)
  writeInt64(buffer, MAX_TIMESTAMP_POSITION, header.maxTimestamp)
  writeInt64(buffer, PRODUCER_ID_POSITION, header.producerId)
  putInt16(buffer, PRODUCER_EPOCH_POSITION, header.producerEpoch)
  putInt32(buffer, BASE_SEQUENCE_POSITION, header.baseSequence)
  putInt32(buffer, RECORD_COUNT_POSITION, header.recordCount)
}

/**
 * Size of the batch at the start of `buffer`, which has to contain all of it.
 *
 * @throws {@link CorruptRecordError} when it does not, or the size or the format is invalid
 */
export function wholeBatchSize(buffer: Buffer): number {
  const { length } = buffer
  if (length < PREFIX_BYTES) {
    throw corruptHeader(
      `a batch has at least ${RECORD_BATCH_OVERHEAD} bytes, but there are ${length}`,
    )
  }
  const batchLength = int32At(buffer, BATCH_LENGTH_POSITION)
  const leastLength = RECORD_BATCH_OVERHEAD - LOG_OVERHEAD
  if (batchLength < leastLength) {
    throw corruptHeader(`its length ${batchLength} is below ${leastLength}`)
  }
  const sizeBytes = LOG_OVERHEAD + batchLength
  if (sizeBytes > length) {
    throw corruptHeader(`the batch has ${sizeBytes} bytes, but there are ${length}`)
  }
  if (buffer[MAGIC_POSITION] !== MAGIC_V2) {
    throw corruptHeader(`its magic is ${buffer.readInt8(MAGIC_POSITION)}, not ${MAGIC_V2}`)
  }
  return sizeBytes
}

/** Damage in a header whose offsets are unknown. */
function corruptHeader(reason: string): CorruptRecordError {
  return new CorruptRecordError(reason, { path: null, position: 0 })
}
