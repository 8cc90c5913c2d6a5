// Not the global of that name: that is behind a getter, which would be called for every record.
import { Buffer } from 'node:buffer'
import { describeValue, isPlainObject, unknownKey } from '../checks.ts'
import { type ResolvedTopicConfig } from '../config.ts'
import { InvalidRecordError, RecordTooLargeError } from '../errors.ts'
import { batchMemory, LARGEST_PIECE_BYTES } from '../record/batch-memory.ts'
import { levelOf } from '../record/codecs/levels.ts'
import { MAX_DECOMPRESSED_BYTES, type CompressionType } from '../record/compression.ts'
import { NO_TIMESTAMP, RECORD_BATCH_OVERHEAD } from '../record/record-batch.ts'
import {
  RecordBatchBuilder,
  sizeOfRecord,
  upperBoundOfRecord,
  type RecordHeader,
} from '../record/record-batch-builder.ts'
import { checkTimestampLimits } from './timestamp-limits.ts'

/** Where an append came to lie. */
export interface AppendResult {
  readonly baseOffset: number
  /** Inclusive. */
  readonly lastOffset: number
  /** Largest timestamp of the appended records, or the append time where the topic says so. */
  readonly timestamp: number
}

/** Bytes as callers hand them in. They must not be changed until the append has settled. */
export type Bytes = Uint8Array

/** Headers as callers hand them in: in order, with repeated keys where the form allows. */
export type HeadersInit =
  | readonly { readonly key: string; readonly value: Bytes | string | null }[]
  | Iterable<readonly [string, Bytes | string | null]>
  | Readonly<Record<string, Bytes | string | null>>

/** A record on its way into a log. */
export interface AppendRecord {
  /** Text is stored as UTF-8. Absent is null, which is not the same as empty. */
  readonly key?: Bytes | string | null
  /** Text is stored as UTF-8. Absent is null: in a compacted topic, a tombstone. */
  readonly value?: Bytes | string | null
  readonly headers?: HeadersInit
  /** Milliseconds since the epoch, at least 0. @defaultValue now */
  readonly timestamp?: number
}

/**
 * Several records of one append are cut into batches of at most this size: who wants a few of them
 * reads and checks a whole batch, at least the first time.
 */
export const BATCH_TARGET_BYTES: number = 32 * 1024
/** The same where they are compressed, which is hardly worth its while in less. */
const COMPRESSED_TARGET_BYTES = 64 * 1024

const NO_HEADERS: readonly RecordHeader[] = Object.freeze([])
const NO_MEMORY: Buffer = Buffer.alloc(0)

/**
 * Encodes `records` into batches that a log with this configuration takes.
 *
 * Nothing is written when it throws, so an append is refused as a whole. At once where there is
 * nothing to compress: a promise for each append would cost more than encoding a record.
 *
 * @param now timestamp of the records that bring none.
 * @throws TypeError or RangeError when a record is not of the described form.
 * @throws {@link RecordTooLargeError} when a record does not fit `maxMessageBytes` or `segmentBytes`.
 * @throws {@link InvalidRecordError} when a record has no key and the topic is compacted.
 * @throws {@link InvalidTimestampError} when a timestamp is outside of what the topic takes.
 */
export function encodeRecords(
  records: readonly AppendRecord[],
  config: Readonly<ResolvedTopicConfig>,
  now: number,
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
  for (let slot = 0; slot < records.length; slot += 1) {
    // By index and without an object for the parts: this runs for every record of a bulk append.
    const record = records[slot] as AppendRecord
    ensureRecord(record)
    const key = keyOf(record, config)
    const value = toBytes('value', record.value)
    const headers = toHeaders(record.headers)
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
  if (compressionType !== 'none') return buildCompressed(builders, config)
  return builders.map((each) => checked(each.buildUncompressed(), config))
}

/**
 * Encodes a record into a batch that others may be in.
 *
 * @param now its timestamp when it brings none.
 * @returns its timestamp; -1, and nothing has been done, when the batch has no room for it.
 * @throws as {@link encodeRecords} does; nothing has been done then either.
 */
export function joinBatch(
  builder: RecordBatchBuilder,
  record: AppendRecord,
  config: Readonly<ResolvedTopicConfig>,
  now: number,
): number {
  ensureRecord(record)
  const key = keyOf(record, config)
  const value = toBytes('value', record.value)
  const headers = toHeaders(record.headers)
  const timestamp = timestampOf(record.timestamp, now)
  if (timestamp !== now) checkTimestampLimits(timestamp, config, { now: () => now })
  if (builder.recordCount === 0) {
    // The bound is a few bytes above what the record really takes.
    const boundBytes = RECORD_BATCH_OVERHEAD + upperBoundOfRecord(key, value, headers)
    if (boundBytes > largestBatchBytes(config)) {
      checkBatchSize(RECORD_BATCH_OVERHEAD + sizeOfRecord(0, 0, key, value, headers), config)
    }
  }
  const limitBytes = targetBytesOf(config)
  return builder.tryAppend(limitBytes, timestamp, key, value, headers) < 0 ? -1 : timestamp
}

/** Size up to which batches are filled. */
function targetBytesOf(config: Readonly<ResolvedTopicConfig>): number {
  const compressionType = storedCompressionType(config, 'none')
  const targetBytes = compressionType === 'none' ? BATCH_TARGET_BYTES : COMPRESSED_TARGET_BYTES
  return Math.min(targetBytes, fillLimitOf(config, compressionType))
}

function keyOf(
  record: AppendRecord,
  { cleanupPolicy }: Readonly<ResolvedTopicConfig>,
): Buffer | null {
  const key = toBytes('key', record.key)
  if (key === null && cleanupPolicy !== 'delete') {
    throw new InvalidRecordError('a compacted topic takes no record without a key')
  }
  return key
}

/**
 * Memory for the next batch of an append: what the last one has left of its own, or a new piece. To
 * ask the system for memory for each batch takes as long as to encode a third of it.
 *
 * @param recordBytes what the first record of the batch takes. It has room unless the topic has none.
 * @param restBytes what the records take that are left, without the headers of batches.
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

/** The codec that a topic stores a batch in, given the one that its producer would choose. */
export function storedCompressionType(
  config: Readonly<ResolvedTopicConfig>,
  producerChoice: CompressionType,
): CompressionType {
  if (config.compressionType === 'producer') return producerChoice
  return config.compressionType === 'uncompressed' ? 'none' : config.compressionType
}

/** The largest batch that a topic takes. */
export function largestBatchBytes(config: Readonly<ResolvedTopicConfig>): number {
  const { maxMessageBytes, segmentBytes, maxBytes } = config
  const largest = maxMessageBytes < segmentBytes ? maxMessageBytes : segmentBytes
  return maxBytes >= 0 && maxBytes < largest ? maxBytes : largest
}

/**
 * Size up to which a batch is filled, before compression, so that the topic takes it afterwards:
 * what cannot be compressed grows, with the codecs in use by less than a sixth and a few bytes.
 */
export function fillLimitOf(
  config: Readonly<ResolvedTopicConfig>,
  compressionType: CompressionType,
): number {
  const largest = largestBatchBytes(config)
  if (compressionType === 'none') return largest
  return Math.min(Math.floor((largest * 6) / 7) - 64, MAX_DECOMPRESSED_BYTES)
}

/** @throws {@link RecordTooLargeError} when a batch of this size does not fit. */
export function checkBatchSize(sizeBytes: number, config: Readonly<ResolvedTopicConfig>): void {
  if (sizeBytes > config.maxMessageBytes) {
    throw new RecordTooLargeError(sizeBytes, config.maxMessageBytes, 'maxMessageBytes')
  }
  if (sizeBytes > config.segmentBytes) {
    throw new RecordTooLargeError(sizeBytes, config.segmentBytes, 'segmentBytes')
  }
  if (config.maxBytes >= 0 && sizeBytes > config.maxBytes) {
    throw new RecordTooLargeError(sizeBytes, config.maxBytes, 'maxBytes')
  }
}

/** Bytes of a key, value or header value. @throws TypeError naming `what`. */
export function toBytes(what: string, value: unknown): Buffer | null {
  if (value === undefined || value === null) return null
  if (typeof value === 'string') return Buffer.from(value, 'utf8')
  if (Buffer.isBuffer(value)) return value
  if (value instanceof Uint8Array) {
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  }
  throw new TypeError(`${what} must be a string, a Uint8Array or null, got ${describeValue(value)}`)
}

/** Headers in the form in which they are stored. @throws TypeError when they are of no known form. */
export function toHeaders(headers: HeadersInit | undefined): readonly RecordHeader[] {
  if (headers === undefined) return NO_HEADERS
  if (typeof headers !== 'object' || (headers as unknown) === null) {
    throw new TypeError(`headers must be an array or an object, got ${describeValue(headers)}`)
  }
  const isIterable = Symbol.iterator in headers
  // The entries of a promise, or of another object with an inside, would be none.
  if (!isIterable && !isPlainObject(headers)) {
    throw new TypeError(`headers must be an array or a plain object, got ${describeValue(headers)}`)
  }
  const pairs = isIterable
    ? [...(headers as Iterable<unknown>)].map(toPair)
    : Object.entries(headers as Record<string, unknown>)
  return pairs.map(([key, value]) => {
    if (typeof key !== 'string') {
      throw new TypeError(`a header's key must be a string, got ${describeValue(key)}`)
    }
    return { key, value: toBytes(`value of header '${key}'`, value) }
  })
}

/** @throws TypeError or RangeError when it is not a whole number of milliseconds from 0 on. */
export function checkTimestamp(timestamp: unknown): number {
  if (typeof timestamp !== 'number') {
    throw new TypeError(`timestamp must be a number, got ${describeValue(timestamp)}`)
  }
  if (!Number.isSafeInteger(timestamp) || timestamp < 0) {
    throw new RangeError(
      `timestamp must be a whole number of milliseconds from 0 to ${Number.MAX_SAFE_INTEGER}, ` +
        `got ${timestamp}`,
    )
  }
  return timestamp
}

/**
 * The timestamp to store: the record's own, or `now` where it brings none.
 *
 * @throws TypeError or RangeError when it is not a whole number of milliseconds
 */
export function timestampOf(timestamp: number | undefined, now: number): number {
  return timestamp === undefined || timestamp === NO_TIMESTAMP ? now : checkTimestamp(timestamp)
}

function ensureRecord(record: AppendRecord): void {
  if (typeof record !== 'object' || (record as unknown) === null) {
    throw new TypeError(`a record must be an object, got ${describeValue(record)}`)
  }
  for (const field in record) if (!isRecordField(field)) refuseField(record, field, FIELDS)
}

const FIELDS = ['key', 'value', 'headers', 'timestamp'] satisfies (keyof AppendRecord)[]

/** Whether it is a field that every record may have. It is asked for each field of each record. */
export function isRecordField(field: string): boolean {
  switch (field) {
    case 'key':
    case 'value':
    case 'headers':
    case 'timestamp':
      return true
    default:
      return false
  }
}

/**
 * Refuses a field that nobody reads: a misspelt one, or something the caller believes to be stored.
 * A prototype may have more, as that of a class does, and it is nobody's slip.
 *
 * @param known all that are read
 * @throws TypeError naming the field and those that are known
 */
export function refuseField(record: object, field: string, known: readonly string[]): void {
  if (Object.hasOwn(record, field)) throw unknownKey('a record', field, known)
}

function toPair(item: unknown): [unknown, unknown] {
  if (Array.isArray(item) && item.length === 2) return [item[0], item[1]]
  if (typeof item === 'object' && item !== null && 'key' in item && 'value' in item) {
    return [item.key, item.value]
  }
  throw new TypeError(`a header must be { key, value } or [key, value], got ${describeValue(item)}`)
}
