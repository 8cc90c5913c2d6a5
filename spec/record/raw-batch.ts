import {
  BATCH_LENGTH_POSITION,
  writeBatchHeader,
  type BatchHeader,
} from '../../lib/record/batch-layout.ts'
import { LOG_OVERHEAD, RecordBatch, writeCrc } from '../../lib/record/record-batch.ts'

/** Creates a batch around any bytes, with a valid CRC, whatever its header says about them. */
export function rawBatch(body: Buffer | string, header: Partial<BatchHeader> = {}): RecordBatch {
  const bytes = typeof body === 'string' ? Buffer.from(body.replaceAll(' ', ''), 'hex') : body
  const buffer = Buffer.concat([Buffer.alloc(61), bytes])
  writeBatchHeader(buffer, {
    baseOffset: 0,
    partitionLeaderEpoch: 0,
    attributes: 0,
    lastOffsetDelta: Math.max(0, (header.recordCount ?? 1) - 1),
    baseTimestamp: 0,
    maxTimestamp: 0,
    producerId: -1,
    producerEpoch: -1,
    baseSequence: -1,
    recordCount: 1,
    ...header,
  })
  writeCrc(buffer)
  return new RecordBatch(buffer)
}

/** The consecutive batches of `bytes`, as views, up to one that is incomplete. */
export function* batchesIn(bytes: Buffer): Generator<RecordBatch, void, undefined> {
  let rest = bytes
  while (rest.length >= LOG_OVERHEAD) {
    if (rest.length < LOG_OVERHEAD + rest.readInt32BE(BATCH_LENGTH_POSITION)) return
    const batch = new RecordBatch(rest)
    yield batch
    rest = rest.subarray(batch.sizeBytes)
  }
}
