import type { Resolved } from '../checks.ts'
import { levelOf, type CompressionLevels } from './codecs/levels.ts'
import { emptyBatch, type BatchProperties } from './batch-properties.ts'
import type { StoredRecord } from './stored-record.ts'
import { RecordBatchBuilder } from './record-batch-builder.ts'
import { RecordBatch, stampBatch } from './record-batch.ts'

/** Options of {@link batchOfSome}. */
export interface FilteredBatchOptions {
  /** Compression levels, by codec. */
  readonly levels: Resolved<CompressionLevels>
  /** When the remaining tombstones may be removed. @defaultValue as in the batch */
  readonly deleteHorizonMs?: number | undefined
}

/**
 * A batch with some of the records of another one, at their offsets. It has the same base offset,
 * last offset, producer, epoch, timestamp type and codec.
 *
 * @param records the records to keep, in the order of their offsets. None leaves an empty batch.
 */
export async function batchOfSome(
  batch: RecordBatch,
  records: readonly StoredRecord[],
  { levels, deleteHorizonMs }: FilteredBatchOptions,
): Promise<RecordBatch> {
  const { baseOffset, lastOffset, maxTimestamp, compressionType } = batch
  const { partitionLeaderEpoch, isGroupStart: groupStart } = batch
  const properties = propertiesOf(batch)
  if (records.length === 0) {
    return new RecordBatch(emptyBatch({ ...properties, baseOffset, lastOffset, maxTimestamp }))
  }
  const horizonMs = deleteHorizonMs ?? batch.deleteHorizonMs
  const builder = new RecordBatchBuilder({
    ...properties,
    compressionType,
    compressionLevel: levelOf(compressionType, levels),
    capacityBytes: batch.sizeBytes,
    ...(batch.timestampType === 'LogAppendTime' ? { logAppendTime: maxTimestamp } : {}),
    ...(horizonMs === null ? {} : { deleteHorizonMs: horizonMs }),
  })
  for (const { offset, timestamp, key, value, headers } of records) {
    builder.appendWithOffset(offset, timestamp, key, value, headers)
  }
  builder.overrideLastOffset(lastOffset)
  const buffer = await builder.build()
  stampBatch(buffer, { baseOffset, partitionLeaderEpoch, groupStart })
  return new RecordBatch(buffer)
}

function propertiesOf(batch: RecordBatch): BatchProperties & { readonly baseOffset: number } {
  const { baseOffset, partitionLeaderEpoch, timestampType } = batch
  const { producerId, producerEpoch, baseSequence, isTransactional, isControl } = batch
  return {
    ...{ baseOffset, partitionLeaderEpoch, timestampType },
    ...{ producerId, producerEpoch, baseSequence, isTransactional, isControl },
  }
}
