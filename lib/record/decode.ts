import { CorruptRecordError } from '../errors.ts'
import { RECORD_BATCH_OVERHEAD } from './batch-layout.ts'
import { codecFor, MAX_DECOMPRESSED_BYTES, type CompressionType } from './compression.ts'
import type { RecordBatch } from './record-batch.ts'
import {
  MAX_BATCH_ITEMS,
  MIN_RECORD_BYTES,
  NO_HEADERS,
  type RecordHeader,
} from './record-encoding.ts'
import { ByteReader } from './varint.ts'

/** A record as the log holds it. */
export interface StoredRecord {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  /** Milliseconds since the epoch, -1 for none. */
  readonly timestamp: number
  /** A view that keeps the bytes of the whole batch in memory. */
  readonly key: Buffer | null
  /** A view like `key`; `null` is a tombstone in a compacted topic. */
  readonly value: Buffer | null
  readonly headers: readonly RecordHeader[]
}

/** The partition that a batch has been read from. */
export interface BatchPlace {
  readonly topic: string
  readonly partition: number
}

/** What of a batch is decoded, and within which limit. */
export interface DecodeOptions {
  /**
   * Records below this offset are left out.
   *
   * @defaultValue 0
   */
  readonly fromOffset?: number
  /**
   * How large the records may be once decompressed, at least 1. No more than 64 MiB in any case.
   *
   * @defaultValue 64 MiB
   */
  readonly maxDecompressedBytes?: number
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
  if (batch.isControl) return []
  const { compressionType } = batch
  if (compressionType !== 'none') return decodeCompressed(batch, compressionType, place, options)
  return decodeUncompressed(batch, place, options.fromOffset ?? 0)
}

/**
 * The records of a batch that is not compressed, be they for consumers or for the log itself.
 *
 * @throws {@link CorruptRecordError} when the bytes are not what the header says
 */
export function decodeUncompressed(
  batch: RecordBatch,
  place: BatchPlace,
  fromOffset: number,
): StoredRecord[] {
  const reader = new ByteReader(batch.buffer, RECORD_BATCH_OVERHEAD)
  try {
    return readRecords(batch, reader, place, fromOffset)
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
  if (batch.recordCount === 0 && batch.sizeBytes === RECORD_BATCH_OVERHEAD) return []
  const limitBytes = options.maxDecompressedBytes ?? MAX_DECOMPRESSED_BYTES
  if (!Number.isSafeInteger(limitBytes) || limitBytes < 1) {
    throw new RangeError(`maxDecompressedBytes ${limitBytes} must be an integer from 1`)
  }
  const codec = codecFor(compressionType)
  try {
    const compressed = batch.buffer.subarray(RECORD_BATCH_OVERHEAD)
    const mostBytes = Math.min(limitBytes, MAX_DECOMPRESSED_BYTES)
    const records = await codec.decompress(compressed, mostBytes)
    // A codec may come from the application.
    if (records.length > mostBytes) throw corrupt(`more than ${mostBytes} bytes decompressed`, 0)
    return readRecords(batch, new ByteReader(records), place, options.fromOffset ?? 0)
  } catch (error) {
    throw withOffsets(error, batch, RECORD_BATCH_OVERHEAD)
  }
}

function readRecords(
  batch: RecordBatch,
  reader: ByteReader,
  place: BatchPlace,
  fromOffset: number,
): StoredRecord[] {
  const { topic, partition } = place
  const { baseOffset, lastOffset, lastOffsetDelta, recordCount } = batch
  ensureCount(recordCount, reader)
  if (lastOffset >= Number.MAX_SAFE_INTEGER) throw corrupt('the last offset is beyond 2^53 - 2', 0)
  const { baseTimestamp } = batch
  const appendTime = batch.timestampType === 'LogAppendTime' ? batch.maxTimestamp : null
  const records: StoredRecord[] = []
  let itemCount = recordCount
  let previousDelta = -1
  for (let count = 0; count < recordCount; count++) {
    const bodySize = reader.readVarint()
    const start = reader.position
    if (bodySize < 0 || bodySize > reader.remaining) {
      throw corrupt(`a record of ${bodySize} bytes, ${reader.remaining} are left`, start)
    }
    const end = start + bodySize
    reader.readUInt8()
    const timestamp = baseTimestamp + reader.readVarlong()
    const offsetDelta = reader.readVarint()
    if (offsetDelta <= previousDelta || offsetDelta > lastOffsetDelta) {
      throw corrupt(
        `offset delta ${offsetDelta} behind ${previousDelta}, the last is ${lastOffsetDelta}`,
        start,
      )
    }
    previousDelta = offsetDelta
    const offset = baseOffset + offsetDelta
    if (offset < fromOffset) {
      reader.position = end
      continue
    }
    if (!Number.isSafeInteger(timestamp)) throw corrupt('a timestamp is beyond 2^53 - 1', start)
    const key = readNullableBytes(reader)
    const value = readNullableBytes(reader)
    const headers = readHeaders(reader, end, MAX_BATCH_ITEMS - itemCount)
    itemCount += headers.length
    if (reader.position !== end) {
      throw corrupt(`a record of ${bodySize} bytes takes ${reader.position - start}`, start)
    }
    records.push({
      topic,
      partition,
      offset,
      timestamp: appendTime ?? timestamp,
      key,
      value,
      headers,
    })
  }
  if (reader.remaining > 0) {
    throw corrupt(`${reader.remaining} bytes behind the last record`, reader.position)
  }
  return records
}

function ensureCount(recordCount: number, reader: ByteReader): void {
  const most = Math.min(Math.floor(reader.remaining / MIN_RECORD_BYTES), MAX_BATCH_ITEMS)
  if (recordCount < 0 || recordCount > most) {
    throw corrupt(
      `a count of ${recordCount} records, ${reader.remaining} bytes hold 0 to ${most}`,
      reader.position,
    )
  }
}

function readNullableBytes(reader: ByteReader): Buffer | null {
  const size = reader.readVarint()
  return size === -1 ? null : reader.readBytes(size)
}

function readHeaders(reader: ByteReader, end: number, mostCount: number): readonly RecordHeader[] {
  const start = reader.position
  const headerCount = reader.readVarint()
  if (headerCount === 0) return NO_HEADERS
  // A header takes two bytes at least.
  const most = Math.min((end - reader.position) / 2, mostCount)
  if (headerCount < 0 || headerCount > most) {
    throw corrupt(
      `a count of ${headerCount} headers, at most ${Math.floor(most)} can follow`,
      start,
    )
  }
  const headers: RecordHeader[] = []
  for (let count = 0; count < headerCount; count++) {
    const keySize = reader.readVarint()
    const key = reader.readString(keySize)
    headers.push({ key, value: readNullableBytes(reader) })
  }
  return headers
}

function corrupt(reason: string, position: number): CorruptRecordError {
  return new CorruptRecordError(reason, { path: null, position })
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
