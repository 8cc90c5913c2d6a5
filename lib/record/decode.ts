import { markAsUntransferable } from 'node:worker_threads'
import { CorruptRecordError } from '../errors.ts'
import { promptIo } from '../platform/prompt-io.ts'
import { RECORD_BATCH_OVERHEAD } from './batch-layout.ts'
import { codecFor, MAX_DECOMPRESSED_BYTES, type Codec } from './compression.ts'
import type { RecordBatch } from './record-batch.ts'
import { readRecords, type BatchPlace, type DecodeOptions } from './record-reader.ts'
import type { StoredRecord } from './stored-record.ts'

export type { BatchPlace, DecodeOptions } from './record-reader.ts'
export { newRecords, type StoredRecord } from './stored-record.ts'

/**
 * The records of a batch, for readers of the log: synchronously if the batch is not compressed,
 * otherwise as a promise. A control batch has none. Keys and values are views, not copies. The CRC
 * is not checked; `RecordBatch.ensureValid` does that.
 *
 * @throws {@link CorruptRecordError} (a promise rejects) when the bytes do not match the header,
 * with the position in the batch; 61 for anything wrong inside compressed records
 * @throws {@link UnsupportedCompressionTypeError} (likewise) when there is no codec for the batch
 */
export function decodeRecords(
  batch: RecordBatch,
  place: BatchPlace,
  options: DecodeOptions = {},
): StoredRecord[] | Promise<StoredRecord[]> {
  if (batch.isControl) return options.into ?? []
  const { compressionType } = batch
  if (compressionType !== 'none') return decodeCompressed(batch, compressionType, place, options)
  return decodeUncompressed(batch, place, options)
}

/**
 * The records of an uncompressed batch, for consumers or for the log itself.
 *
 * @throws {@link CorruptRecordError} when the bytes do not match the header
 */
export function decodeUncompressed(
  batch: RecordBatch,
  place: BatchPlace,
  options: DecodeOptions = {},
): StoredRecord[] {
  try {
    return readRecords(batch, batch.buffer, RECORD_BATCH_OVERHEAD, place, options)
  } catch (error) {
    throw withOffsets(error, batch)
  }
}

async function decodeCompressed(
  batch: RecordBatch,
  compressionType: Codec['type'],
  place: BatchPlace,
  options: DecodeOptions,
): Promise<StoredRecord[]> {
  // Compaction leaves a bare header, which no codec accepts as a stream.
  if (batch.recordCount === 0 && batch.sizeBytes === RECORD_BATCH_OVERHEAD)
    return options.into ?? []
  const codec = codecFor(compressionType)
  try {
    const compressed = batch.buffer.subarray(RECORD_BATCH_OVERHEAD)
    // Many small batches would hold up the process, however little time each of them takes.
    const turn = promptIo.turnIfDue()
    if (turn !== null) await turn
    const records = await codec.decompress(compressed, MAX_DECOMPRESSED_BYTES)
    // The codec may not have noticed.
    if (records.length > MAX_DECOMPRESSED_BYTES) {
      throw new CorruptRecordError(
        `the records take more than ${MAX_DECOMPRESSED_BYTES} bytes when decompressed`,
        {
          path: null,
          position: 0,
        },
      )
    }
    // The codec may have cut the records from a larger memory.
    markAsUntransferable(records.buffer)
    return readRecords(batch, records, 0, place, options)
  } catch (error) {
    throw withOffsets(error, batch, RECORD_BATCH_OVERHEAD)
  }
}

/** Adds what only the batch knows: its offsets, and `position` if the error's is in other bytes. */
function withOffsets(error: unknown, batch: RecordBatch, position?: number): unknown {
  if (!(error instanceof CorruptRecordError)) return error
  const { baseOffset, lastOffset } = batch
  return new CorruptRecordError(
    error.reason,
    {
      path: null,
      position: position ?? error.position,
      firstOffset: baseOffset,
      lastOffset,
    },
    { cause: error },
  )
}
