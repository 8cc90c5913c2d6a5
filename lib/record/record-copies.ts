import { RECORD_BATCH_OVERHEAD } from './batch-layout.ts'
import { decodeUncompressed } from './decode.ts'
import { RecordBatch } from './record-batch.ts'
import type { BatchPlace } from './record-reader.ts'
import type { StoredRecord } from './stored-record.ts'
import { copyRun } from './record-run.ts'
import { sharedCopy } from './shared-memory.ts'

/**
 * At most `maxRecords` records of an uncompressed batch, from `fromOffset` on, as views of a copy
 * of their bytes: changes to them do not affect the batch, which need not stay in memory for them.
 *
 * @throws {@link CorruptRecordError} when the bytes do not match the header.
 */
export function copyRecords(
  batch: RecordBatch,
  place: BatchPlace,
  range: { readonly fromOffset: number; readonly maxRecords: number },
): StoredRecord[] {
  const { buffer, baseOffset, recordCount } = batch
  const firstDelta = Math.max(0, range.fromOffset - baseOffset)
  const count = Math.min(range.maxRecords, recordCount - firstDelta)
  if (count > 0 && recordCount === batch.lastOffsetDelta + 1) {
    const run = { bytesDelta: 0, firstDelta, count }
    const records = copyRun(batch, buffer, RECORD_BATCH_OVERHEAD, place, run)
    if (records !== null) return records
  }
  return decodeUncompressed(new RecordBatch(sharedCopy(buffer)), place, range)
}

/**
 * At most `maxRecords` records of consecutive batches, from `fromOffset` on, as {@link copyRecords}
 * returns them.
 *
 * @returns `null` if only an asynchronous read can tell: a batch is compressed, or there are records
 * before one that cannot be decoded.
 * @throws {@link CorruptRecordError} when there are none before it.
 */
export function copyFromAll(
  batches: readonly RecordBatch[],
  place: BatchPlace,
  { fromOffset, maxRecords }: { readonly fromOffset: number; readonly maxRecords: number },
): StoredRecord[] | null {
  const records: StoredRecord[] = []
  try {
    for (const batch of batches) {
      if (batch.compressionType !== 'none') return null
      if (batch.isControl) continue
      const range = { fromOffset, maxRecords: maxRecords - records.length }
      for (const record of copyRecords(batch, place, range)) records.push(record)
    }
  } catch (error) {
    if (records.length === 0) throw error
    return null
  }
  return records
}
