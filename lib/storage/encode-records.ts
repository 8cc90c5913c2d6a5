// Not the global `Buffer`: it is behind a getter that would run for every record.
import { Buffer } from 'node:buffer'
import { describeValue } from '../checks.ts'
import { type ResolvedTopicConfig } from '../config.ts'
import { batchMemory, LARGEST_PIECE_BYTES } from '../record/batch-memory.ts'
import { levelOf } from '../record/codecs/levels.ts'
import { RECORD_BATCH_OVERHEAD } from '../record/record-batch.ts'
import {
  RecordBatchBuilder,
  sizeOfRecord,
  upperBoundOfRecord,
  type EncodableHeader,
} from '../record/record-batch-builder.ts'
import {
  checkBatchSize,
  checkKeyless,
  ensureRecord,
  fillLimitOf,
  largestBatchBytes,
  storedCompressionType,
  timestampOf,
  toBytes,
  toEncodable,
  type AppendRecord,
} from './append-record.ts'
import { checkTimestampLimits } from './timestamp-limits.ts'

/**
 * Records of one append are split into batches of at most this size: reading a few of them means
 * reading and checking a whole batch, at least the first time.
 */
export const BATCH_TARGET_BYTES: number = 32 * 1024
/** The limit for compressed batches, since compression gains little in smaller ones. */
const COMPRESSED_TARGET_BYTES = 64 * 1024

const NO_MEMORY: Buffer = Buffer.alloc(0)

/** Findings about the records while they are encoded. */
export interface EncodingNotes {
  /** Whether one of them has no key. */
  hasKeyless: boolean
}

/**
 * Encodes `records` into batches for a log with this configuration.
 *
 * If it throws, nothing has been written, so that an append is rejected as a whole. The result is
 * not a promise unless something has to be compressed: a promise would cost more than encoding a
 * record.
 *
 * @param now timestamp of records without one.
 * @param notes is set when the call returns, even if the batches are yet to be compressed.
 * @throws TypeError or RangeError if a record is malformed.
 * @throws {@link RecordTooLargeError} if a record exceeds `maxMessageBytes` or `segmentBytes`.
 * @throws InvalidRecordError if a record has no key and the topic is compacted.
 * @throws {@link InvalidTimestampError} if a timestamp is outside the topic's limits.
 */
export function encodeRecords(
  records: readonly AppendRecord[],
  config: Readonly<ResolvedTopicConfig>,
  now: number,
  notes?: EncodingNotes,
): Buffer[] | Promise<Buffer[]> {
  const isArray: boolean = Array.isArray(records)
  if (!isArray) {
    throw new TypeError(`records must be an array, got ${describeValue(records)}`)
  }
  if (records.length === 0) throw new RangeError('an append must hold at least one record')
  const compressionType = storedCompressionType(config, 'none')
  const compressionLevel = levelOf(compressionType, config)
  const targetBytes = targetBytesOf(config)
  const builders: RecordBatchBuilder[] = []
  let builder: RecordBatchBuilder | null = null
  let memory: Buffer = NO_MEMORY
  let hasKeyless = false
  for (let slot = 0; slot < records.length; slot += 1) {
    // By index, and without an object for the parts: this runs for every record of a bulk append.
    const record = records[slot] as AppendRecord
    ensureRecord(record)
    const key = keyOf(record, config)
    if (key === null) hasKeyless = true
    const value = toBytes('value', record.value)
    const headers = toEncodable(record.headers)
    const timestamp = timestampOf(record.timestamp, now)
    if (timestamp !== now) checkTimestampLimits(timestamp, config, { now: () => now })
    const isIn =
      builder !== null && builder.tryAppend(targetBytes, timestamp, key, value, headers) >= 0
    if (isIn) continue
    const recordBytes = upperBoundOfRecord(key, value, headers)
    memory = memoryBehind(builder, memory, {
      targetBytes,
      recordBytes: Math.min(recordBytes, config.maxMessageBytes),
      // Records of one append are mostly alike: growing by copying costs more than a guess.
      restBytes: recordBytes * (records.length - slot),
    })
    if (compressionType === 'none') batchMemory.hold(memory)
    builder = new RecordBatchBuilder({ compressionType, compressionLevel, memory })
    builders.push(builder)
    builder.append(timestamp, key, value, headers)
  }
  if (notes !== undefined) notes.hasKeyless = hasKeyless
  if (compressionType !== 'none') return buildCompressed(builders, config)
  // Not with `map`, see batchesOf.
  const batches: Buffer[] = []
  for (const each of builders) batches.push(checked(each.buildUncompressed(), config))
  const last = batches.at(-1)
  if (last !== undefined) batches[batches.length - 1] = fitted(last, memory)
  return batches
}

/** A batch to which records are added one by one. */
export interface JoinableBatch {
  /** @returns false, without a change, if there is no room. The first record always fits. */
  add(
    limitBytes: number,
    timestamp: number,
    key: Buffer | null,
    value: Buffer | null,
    headers: readonly EncodableHeader[],
  ): boolean
}

/** The batches for records that share batches with others. */
export interface JoinableBatches<B extends JoinableBatch> {
  /** The batch that accepts more records; `null` if there is none. */
  open(): B | null
  /** Starts a new batch, which only counts once it holds a record. */
  begin(): B
}

/**
 * Encodes a record into the open batch, or into a new one if that has no room. The record is read
 * once, before either: iterable headers may only allow one iteration, and reading a record may run
 * code that appends another one.
 *
 * @param now its timestamp if it has none.
 * @returns the batch that holds it.
 * @throws like {@link encodeRecords}; then nothing has changed.
 */
export function joinBatch<B extends JoinableBatch>(
  batches: JoinableBatches<B>,
  record: AppendRecord,
  config: Readonly<ResolvedTopicConfig>,
  now: number,
): B {
  ensureRecord(record)
  const key = keyOf(record, config)
  const value = toBytes('value', record.value)
  const headers = toEncodable(record.headers)
  const timestamp = timestampOf(record.timestamp, now)
  if (timestamp !== now) checkTimestampLimits(timestamp, config, { now: () => now })
  const limitBytes = targetBytesOf(config)
  const open = batches.open()
  if (open?.add(limitBytes, timestamp, key, value, headers) === true) return open
  // The bound is a few bytes above the actual size of the record.
  const boundBytes = RECORD_BATCH_OVERHEAD + upperBoundOfRecord(key, value, headers)
  if (boundBytes > largestBatchBytes(config)) {
    checkBatchSize(RECORD_BATCH_OVERHEAD + sizeOfRecord(0, 0, key, value, headers), config)
  }
  const begun = batches.begin()
  begun.add(limitBytes, timestamp, key, value, headers)
  return begun
}

/** Size up to which batches are filled. */
function targetBytesOf(config: Readonly<ResolvedTopicConfig>): number {
  const compressionType = storedCompressionType(config, 'none')
  const targetBytes = compressionType === 'none' ? BATCH_TARGET_BYTES : COMPRESSED_TARGET_BYTES
  return Math.min(targetBytes, fillLimitOf(config, compressionType))
}

function keyOf(record: AppendRecord, config: Readonly<ResolvedTopicConfig>): Buffer | null {
  const key = toBytes('key', record.key)
  if (key === null) checkKeyless(config)
  return key
}

/**
 * Memory for the next batch of an append: the rest of the last batch's memory, or a new piece.
 * Allocating memory for each batch takes as long as encoding a third of it.
 *
 * @param recordBytes size of the first record. There is room for it unless the topic's limits are
 * lower.
 * @param restBytes size of the remaining records, without batch headers.
 */
function memoryBehind(
  last: RecordBatchBuilder | null,
  memory: Buffer,
  {
    targetBytes,
    recordBytes,
    restBytes,
  }: { targetBytes: number; recordBytes: number; restBytes: number },
): Buffer {
  const wantedBytes = Math.max(
    RECORD_BATCH_OVERHEAD + recordBytes,
    Math.min(targetBytes, RECORD_BATCH_OVERHEAD + restBytes),
  )
  const left = last === null ? memory : memory.subarray(last.sizeBytes)
  if (left.length >= wantedBytes) return left
  const headerBytes = RECORD_BATCH_OVERHEAD * (1 + Math.ceil(restBytes / targetBytes))
  const mostBytes = Math.min(LARGEST_PIECE_BYTES, restBytes + headerBytes)
  return batchMemory.take(Math.max(wantedBytes, mostBytes))
}

/**
 * Copies the batch into smaller memory if the guess was far too high: it is kept for readers for a
 * while, along with the piece of memory that contains it.
 *
 * @param memory that the batch was given: less than a whole piece if it follows others.
 */
function fitted(batch: Buffer, memory: Buffer): Buffer {
  const isAlone = memory.length === memory.buffer.byteLength
  if (!isAlone || batch.length * 2 >= memory.length) return batch
  const fitting = batchMemory.takeHeld(batch.length)
  batch.copy(fitting)
  batchMemory.letGo(batch)
  return fitting.subarray(0, batch.length)
}

async function buildCompressed(
  builders: readonly RecordBatchBuilder[],
  config: Readonly<ResolvedTopicConfig>,
): Promise<Buffer[]> {
  const batches: Buffer[] = []
  for (const each of builders) batches.push(checked(await each.build(), config))
  return batches
}

function checked(batch: Buffer, config: Readonly<ResolvedTopicConfig>): Buffer {
  checkBatchSize(batch.length, config)
  return batch
}
