import {
  CONTROL,
  LOG_APPEND_TIME,
  NO_TIMESTAMP,
  RECORD_BATCH_OVERHEAD,
  TRANSACTIONAL,
  writeBatchHeader,
} from './batch-layout.ts'
import { writeCrc, type TimestampType } from './record-batch.ts'

/** Properties of a batch that apply to all of its records. */
export interface BatchProperties {
  /**
   * Offset that deltas count from, at least 0.
   *
   * @defaultValue 0, for a log to replace
   */
  readonly baseOffset?: number
  /** @defaultValue -1, for a log to replace */
  readonly partitionLeaderEpoch?: number
  /** @defaultValue 'CreateTime' */
  readonly timestampType?: TimestampType
  /** @defaultValue -1: none */
  readonly producerId?: number
  /** @defaultValue -1: none */
  readonly producerEpoch?: number
  /** @defaultValue -1: none */
  readonly baseSequence?: number
  /** @defaultValue false */
  readonly isTransactional?: boolean
  /** @defaultValue false */
  readonly isControl?: boolean
}

/**
 * An empty batch with its CRC, as compaction leaves it: it keeps the offsets that it covers and the
 * producer's last sequence.
 *
 * @throws RangeError when a number does not fit its field, or `lastOffset` is below `baseOffset`
 */
export function emptyBatch(
  properties: BatchProperties & {
    readonly baseOffset: number
    readonly lastOffset: number
    readonly maxTimestamp: number
  },
): Buffer {
  const { baseOffset, lastOffset } = properties
  if (lastOffset < baseOffset) {
    throw new RangeError(`lastOffset ${lastOffset} must be at least baseOffset (${baseOffset})`)
  }
  const batch = Buffer.alloc(RECORD_BATCH_OVERHEAD)
  writeBatchHeader(batch, {
    baseOffset,
    partitionLeaderEpoch: properties.partitionLeaderEpoch ?? -1,
    attributes: attributesOf(properties),
    lastOffsetDelta: lastOffset - baseOffset,
    baseTimestamp: NO_TIMESTAMP,
    maxTimestamp: properties.maxTimestamp,
    producerId: properties.producerId ?? -1,
    producerEpoch: properties.producerEpoch ?? -1,
    baseSequence: properties.baseSequence ?? -1,
    recordCount: 0,
  })
  writeCrc(batch)
  return batch
}

/** The bits of the attributes that the properties determine. */
export function attributesOf(properties: BatchProperties): number {
  return (
    (properties.timestampType === 'LogAppendTime' ? LOG_APPEND_TIME : 0) |
    (properties.isTransactional === true ? TRANSACTIONAL : 0) |
    (properties.isControl === true ? CONTROL : 0)
  )
}
