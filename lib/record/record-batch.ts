import { CorruptRecordError } from '../errors.ts'
import {
  ATTRIBUTES_POSITION,
  BASE_OFFSET_POSITION,
  BASE_SEQUENCE_POSITION,
  BASE_TIMESTAMP_POSITION,
  COMPRESSION_MASK,
  CONTROL,
  CRC_POSITION,
  DELETE_HORIZON,
  GROUP_START,
  LAST_OFFSET_DELTA_POSITION,
  LEADER_EPOCH_POSITION,
  LOG_APPEND_TIME,
  MAX_INT32,
  MAX_TIMESTAMP_POSITION,
  PRODUCER_EPOCH_POSITION,
  PRODUCER_ID_POSITION,
  RECORD_COUNT_POSITION,
  TRANSACTIONAL,
  wholeBatchSize,
} from './batch-layout.ts'
import { int32At, putInt32, putUint16, uint32At } from './big-endian.ts'
import { compressionTypeOf, type CompressionType } from './compression.ts'
import { crc32c } from './crc32c.ts'
import { readInt64, writeInt64 } from './int64.ts'

export {
  GROUP_START,
  LOG_OVERHEAD,
  MAGIC_V2,
  NO_TIMESTAMP,
  RECORD_BATCH_OVERHEAD,
} from './batch-layout.ts'

/** Which clock a topic's timestamps are from: the producer's, or the log's at the append. */
export type TimestampType = 'CreateTime' | 'LogAppendTime'

/** Total stored size of some batches. */
export function totalSizeBytes(batches: readonly RecordBatch[]): number {
  let sizeBytes = 0
  for (const batch of batches) sizeBytes += batch.sizeBytes
  return sizeBytes
}

/**
 * A view of one batch in a buffer. Nothing is copied or cached: the getters read the bytes at the
 * time of the call, and none of them checks the CRC.
 *
 * Getters of 64-bit fields throw {@link CorruptRecordError} when the field is outside ±(2^53 − 1).
 */
export class RecordBatch {
  /** The bytes of this batch and no others. */
  readonly buffer: Buffer

  /**
   * @param buffer starts with the batch and may continue after it
   * @throws {@link CorruptRecordError} when the batch is shorter than its header, longer than
   * `buffer`, or of another format
   */
  constructor(buffer: Buffer) {
    const sizeBytes = wholeBatchSize(buffer)
    this.buffer = sizeBytes === buffer.length ? buffer : buffer.subarray(0, sizeBytes)
  }

  get baseOffset(): number {
    return readInt64(this.buffer, BASE_OFFSET_POSITION)
  }

  /** The last offset that the batch covers, even if that record was removed. */
  get lastOffset(): number {
    return this.baseOffset + this.lastOffsetDelta
  }

  /** The offset after this batch. */
  get nextOffset(): number {
    return this.lastOffset + 1
  }

  /** Size of the whole batch, including {@link LOG_OVERHEAD}. */
  get sizeBytes(): number {
    return this.buffer.length
  }

  /** Negative until a log has accepted the batch. */
  get partitionLeaderEpoch(): number {
    return int32At(this.buffer, LEADER_EPOCH_POSITION)
  }

  /** The stored checksum, unsigned. */
  get crc(): number {
    return uint32At(this.buffer, CRC_POSITION)
  }

  get attributes(): number {
    // The lower half belongs to the next field.
    return int32At(this.buffer, ATTRIBUTES_POSITION) >>> 16
  }

  /** @throws {@link UnsupportedCompressionTypeError} for ids that Kafka has not assigned. */
  get compressionType(): CompressionType {
    return compressionTypeOf(this.attributes & COMPRESSION_MASK)
  }

  get timestampType(): TimestampType {
    return (this.attributes & LOG_APPEND_TIME) === 0 ? 'CreateTime' : 'LogAppendTime'
  }

  /** The timestamp of all records, whatever their own are; `null` if each has its own. */
  get logAppendTime(): number | null {
    return this.timestampType === 'LogAppendTime' ? this.maxTimestamp : null
  }

  get isTransactional(): boolean {
    return (this.attributes & TRANSACTIONAL) !== 0
  }

  /** A control batch holds a marker for the log itself; its records are not for consumers. */
  get isControl(): boolean {
    return (this.attributes & CONTROL) !== 0
  }

  /** When the tombstones in this batch may be removed; `null` if that is not determined yet. */
  get deleteHorizonMs(): number | null {
    return (this.attributes & DELETE_HORIZON) === 0 ? null : this.baseTimestamp
  }

  /** Whether everything before this batch was durable when this batch was written. */
  get isGroupStart(): boolean {
    return (this.attributes & GROUP_START) !== 0
  }

  get lastOffsetDelta(): number {
    return int32At(this.buffer, LAST_OFFSET_DELTA_POSITION)
  }

  /**
   * Milliseconds since the epoch, {@link NO_TIMESTAMP} for none. If
   * {@link RecordBatch.logAppendTime} applies, it may have any value, even one that cannot be read.
   */
  get baseTimestamp(): number {
    return readInt64(this.buffer, BASE_TIMESTAMP_POSITION)
  }

  /** Milliseconds since the epoch, {@link NO_TIMESTAMP} for none. */
  get maxTimestamp(): number {
    return readInt64(this.buffer, MAX_TIMESTAMP_POSITION)
  }

  /** -1 for none. */
  get producerId(): number {
    return readInt64(this.buffer, PRODUCER_ID_POSITION)
  }

  /** -1 for none. */
  get producerEpoch(): number {
    return this.buffer.readInt16BE(PRODUCER_EPOCH_POSITION)
  }

  /** -1 for none. */
  get baseSequence(): number {
    return int32At(this.buffer, BASE_SEQUENCE_POSITION)
  }

  /** The sequence of `lastOffset`; -1 for none. */
  get lastSequence(): number {
    return sequenceBehind(this.baseSequence, this.lastOffsetDelta)
  }

  /** Records that are present, which may be fewer than the offsets that the batch covers. */
  get recordCount(): number {
    return int32At(this.buffer, RECORD_COUNT_POSITION)
  }

  /**
   * Checks the header as far as one batch alone allows. Whether its offset and epoch follow from
   * the batch before it is for the log to check.
   *
   * @param actual the CRC of its bytes, if it is known.
   * @throws {@link CorruptRecordError} when size, format, CRC, count or offsets are impossible
   */
  ensureValid(actual: number = crc32c(this.buffer, ATTRIBUTES_POSITION)): void {
    const sizeBytes = wholeBatchSize(this.buffer)
    if (sizeBytes !== this.buffer.length) {
      throw this.#corrupt(
        `its length field says ${sizeBytes} bytes, but it has ${this.buffer.length}`,
        0,
      )
    }
    if (actual !== this.crc) {
      throw this.#corrupt(`the CRC is ${hex(this.crc)}, but its bytes have ${hex(actual)}`, 0)
    }
    const { baseOffset, lastOffsetDelta, recordCount } = this
    if (baseOffset < 0) {
      throw this.#corrupt(`the base offset ${baseOffset} is negative`, BASE_OFFSET_POSITION)
    }
    if (lastOffsetDelta < 0) {
      throw this.#corrupt(
        `lastOffsetDelta ${lastOffsetDelta} is negative`,
        LAST_OFFSET_DELTA_POSITION,
      )
    }
    if (this.nextOffset > Number.MAX_SAFE_INTEGER) {
      throw this.#corrupt('the next offset is beyond 2^53 - 1', BASE_OFFSET_POSITION)
    }
    if (recordCount < 0) {
      throw this.#corrupt(`the record count ${recordCount} is negative`, RECORD_COUNT_POSITION)
    }
  }

  #corrupt(reason: string, position: number): CorruptRecordError {
    // The last offset is in the damaged part, so nobody knows how far the damage reaches.
    return new CorruptRecordError(reason, { path: null, position, firstOffset: this.baseOffset })
  }
}

/**
 * The batch in each of several buffers. Like {@link buffersOf}, it does not use `map`, whose result
 * is an array of one kind while it is interpreted and of another once it is compiled. Code that was
 * compiled for the first kind is then discarded, including every function that receives the array.
 */
export function batchesOf(buffers: readonly Buffer[]): RecordBatch[] {
  // An array that grows reserves room for many more, and one batch is the usual case.
  if (buffers.length === 1) return [new RecordBatch(buffers[0] as Buffer)]
  const batches: RecordBatch[] = []
  for (const buffer of buffers) batches.push(new RecordBatch(buffer))
  return batches
}

/** The bytes of each of several batches. */
export function buffersOf(batches: readonly RecordBatch[]): Buffer[] {
  if (batches.length === 1) return [(batches[0] as RecordBatch).buffer]
  const buffers: Buffer[] = []
  for (const { buffer } of batches) buffers.push(buffer)
  return buffers
}

/** What a log assigns to a batch when it accepts it. */
export interface BatchStamp {
  readonly baseOffset: number
  readonly partitionLeaderEpoch: number
  /** Sets the {@link GROUP_START} bit; clears it if false or absent. */
  readonly groupStart?: boolean
  /** Replaces every timestamp in the batch; if `null` or absent, the batch keeps its own. */
  readonly logAppendTime?: number | null
}

/**
 * Makes the batch at the start of `buffer` part of a log, in place, and computes its CRC. This
 * happens only once on a record's way from the producer to the disk.
 *
 * @throws RangeError when a number of `stamp` does not fit its field
 * @throws {@link CorruptRecordError} when `buffer` does not start with a whole batch
 */
export function stampBatch(buffer: Buffer, stamp: BatchStamp): void {
  const sizeBytes = wholeBatchSize(buffer)
  writeInt64(buffer, BASE_OFFSET_POSITION, stamp.baseOffset)
  putInt32(buffer, LEADER_EPOCH_POSITION, stamp.partitionLeaderEpoch)
  let attributes = (int32At(buffer, ATTRIBUTES_POSITION) >>> 16) & ~GROUP_START
  if (stamp.groupStart === true) attributes |= GROUP_START
  const { logAppendTime = null } = stamp
  if (logAppendTime !== null) {
    attributes |= LOG_APPEND_TIME
    writeInt64(buffer, MAX_TIMESTAMP_POSITION, logAppendTime)
  }
  putUint16(buffer, ATTRIBUTES_POSITION, attributes)
  putInt32(buffer, CRC_POSITION, crc32c(buffer, ATTRIBUTES_POSITION, sizeBytes) | 0)
}

/** Computes the CRC of the batch that fills `buffer`. */
export function writeCrc(buffer: Buffer): void {
  putInt32(buffer, CRC_POSITION, crc32c(buffer, ATTRIBUTES_POSITION) | 0)
}

/** Sequences wrap from 2^31 - 1 to 0, so they are never negative. */
function sequenceBehind(baseSequence: number, delta: number): number {
  return baseSequence < 0 ? baseSequence : (baseSequence + delta) % (MAX_INT32 + 1)
}

function hex(crc: number): string {
  return `0x${crc.toString(16).padStart(8, '0')}`
}
