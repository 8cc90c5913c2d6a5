import { RecordBatchBuilder } from '../../lib/record/record-batch-builder.ts'
import { stampBatch } from '../../lib/record/record-batch.ts'

/** The end of a transaction, as Kafka writes it into each of its partitions. */
export interface EndTransactionMarker {
  readonly type: 'ABORT' | 'COMMIT'
  readonly baseOffset: number
  readonly partitionLeaderEpoch: number
  readonly timestamp: number
  readonly producerId: number
  readonly producerEpoch: number
  readonly coordinatorEpoch: number
}

/** Builds a complete batch, CRC included, that ends a transaction. */
export function buildEndTransactionMarker(marker: EndTransactionMarker): Buffer {
  const { type, baseOffset, partitionLeaderEpoch, producerId, producerEpoch } = marker
  const key = Buffer.of(0, 0, 0, type === 'COMMIT' ? 1 : 0)
  const value = Buffer.alloc(6)
  value.writeInt32BE(marker.coordinatorEpoch, 2)
  const builder = new RecordBatchBuilder({
    ...{ producerId, producerEpoch, isTransactional: true, isControl: true },
  })
  builder.append(marker.timestamp, key, value)
  const batch = builder.buildUncompressed()
  stampBatch(batch, { baseOffset, partitionLeaderEpoch })
  return batch
}
