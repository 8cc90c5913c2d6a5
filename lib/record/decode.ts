import { markAsUntransferable } from 'node:worker_threads'
import { CorruptRecordError } from '../errors.ts'
import { promptIo } from '../platform/prompt-io.ts'
import { RECORD_BATCH_OVERHEAD } from './batch-layout.ts'
import { codecFor, MAX_DECOMPRESSED_BYTES, type CompressionType } from './compression.ts'
import type { RecordBatch } from './record-batch.ts'
import { readRecords, type BatchPlace } from './record-reader.ts'
import type { StoredRecord } from './stored-record.ts'

export type { BatchPlace } from './record-reader.ts'
export { newRecords, type StoredRecord } from './stored-record.ts'

/** What of a batch is decoded, and where it goes. */
export interface DecodeOptions {
  /**
   * Records below this offset are left out.
   *
   * @defaultValue 0
   */
  readonly fromOffset?: number
  /**
   * The records behind so many are not looked at, at least 1.
   *
   * @defaultValue all of them
   */
  readonly maxRecords?: number
  /**
   * What the records are added to, and which is returned. Nothing is added of a batch of which
   * something is wrong.
   *
   * @defaultValue a new one
   */
  readonly into?: StoredRecord[]
}

/**
 * The records of a batch, for those who read the log: at once when the batch is not compressed,
 * otherwise as a promise. A control batch has none. Keys and values are views, not copies, and the
 * CRC is not looked at: that is `RecordBatch.ensureValid`.
 *
 * @throws {@link CorruptRecordError} (a promise rejects) when the bytes are not what the header
 * says, with the position in the batch; 61 for whatever is wrong inside compressed records
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
 * The records of a batch that is not compressed, be they for consumers or for the log itself.
 *
 * @throws {@link CorruptRecordError} when the bytes are not what the header says
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
  compressionType: CompressionType,
  place: BatchPlace,
  options: DecodeOptions,
): Promise<StoredRecord[]> {
  // Compaction leaves a bare header, which no codec would take for a stream of its own.
  if (batch.recordCount === 0 && batch.sizeBytes === RECORD_BATCH_OVERHEAD)
    return options.into ?? []
  const codec = codecFor(compressionType)
  try {
    const compressed = batch.buffer.subarray(RECORD_BATCH_OVERHEAD)
    // A reader of many small batches would hold up the process, however little each of them takes.
    const turn = promptIo.turnIfDue()
    if (turn !== null) await turn
    const records = await codec.decompress(compressed, MAX_DECOMPRESSED_BYTES)
    // What a codec does not notice is noticed here.
    if (records.length > MAX_DECOMPRESSED_BYTES) {
      throw new CorruptRecordError(`more than ${MAX_DECOMPRESSED_BYTES} bytes decompressed`, {
        path: null,
        position: 0,
      })
    }
    // A codec may cut it from something larger.
    markAsUntransferable(records.buffer)
    return readRecords(batch, records, 0, place, options)
  } catch (error) {
    throw withOffsets(error, batch, RECORD_BATCH_OVERHEAD)
  }
}

/** Adds what only the batch knows: its offsets, and the position where the error's is another's. */
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
