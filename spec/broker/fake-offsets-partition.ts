import { DEFAULT_TOPIC_CONFIG } from '../../lib/config.ts'
import type { OffsetsPartition } from '../../lib/broker/offset-replay.ts'
import { BASE_OFFSET_POSITION } from '../../lib/record/batch-layout.ts'
import { RecordBatch } from '../../lib/record/record-batch.ts'
import type { AppendRecord } from '../../lib/storage/append-record.ts'
import { encodeRecords } from '../../lib/storage/encode-records.ts'

/** A partition of the internal topic in memory, which fails or waits on demand. */
export class FakeOffsetsPartition implements OffsetsPartition {
  readonly topic = '__consumer_offsets'
  readonly index: number
  logStartOffset = 0
  highWatermark = 0
  readonly log = { reader: { generation: 0 } }
  /** If set, appends fail with this error, and nothing is stored. */
  appendError: Error | null = null
  /** If set, reads fail with this error. */
  readError: Error | null = null
  /** Appends wait for this promise before they store anything. */
  gate: Promise<void> = Promise.resolve()
  /** The records of each append. */
  readonly appends: (readonly AppendRecord[])[] = []
  readonly batches: RecordBatch[] = []

  constructor(index = 0) {
    this.index = index
  }

  async appendInternal(records: readonly AppendRecord[]): Promise<void> {
    this.appends.push(records)
    await this.gate
    if (this.appendError !== null) throw this.appendError
    const config = { ...DEFAULT_TOPIC_CONFIG, cleanupPolicy: 'compact' as const }
    for (const bytes of await encodeRecords(records, config, 1_700_000_000_000)) this.add(bytes)
  }

  readBatches(offset: number, maxBytes: number): Promise<readonly RecordBatch[]> {
    if (this.readError !== null) return Promise.reject(this.readError)
    const found: RecordBatch[] = []
    let sizeBytes = 0
    for (const batch of this.batches) {
      if (batch.lastOffset < offset || batch.baseOffset >= this.highWatermark) continue
      if (found.length > 0 && sizeBytes + batch.sizeBytes > maxBytes) break
      found.push(batch)
      sizeBytes += batch.sizeBytes
    }
    return Promise.resolve(found)
  }

  /** Appends a batch as it is, except for its base offset. */
  add(bytes: Buffer): RecordBatch {
    bytes.writeBigInt64BE(BigInt(this.highWatermark), BASE_OFFSET_POSITION)
    const batch = new RecordBatch(bytes)
    this.batches.push(batch)
    this.highWatermark = batch.nextOffset
    return batch
  }
}
