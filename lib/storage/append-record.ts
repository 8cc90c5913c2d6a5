// Not the global `Buffer`: it is behind a getter that would run for every record.
import { Buffer } from 'node:buffer'
import { types } from 'node:util'
import { asBuffer, describeValue, isOpaque, isPlainObject, unknownKey } from '../checks.ts'
import { type ResolvedTopicConfig } from '../config.ts'
import { InvalidRecordError, RecordTooLargeError } from '../errors.ts'
import { MAX_DECOMPRESSED_BYTES, type CompressionType } from '../record/compression.ts'
import { NO_TIMESTAMP } from '../record/record-batch.ts'
import type { EncodableHeader, RecordHeader } from '../record/record-batch-builder.ts'

/** Result of an append. */
export interface AppendResult {
  /** Offset of the first record; -1 with `acks: 0`, which does not wait for the result. */
  readonly baseOffset: number
  /** Offset of the last record, inclusive; -1 with `acks: 0`. */
  readonly lastOffset: number
  /**
   * Largest timestamp of the appended records, or the append time if the topic is configured to use
   * it; -1 with `acks: 0`.
   */
  readonly timestamp: number
}

/** Bytes passed by the caller. They must not be changed until the append has settled. */
export type Bytes = Uint8Array

/** Headers passed by the caller, in order. The array and iterable forms allow repeated keys. */
export type HeadersInit =
  | readonly { readonly key: string; readonly value: Bytes | string | null }[]
  | Iterable<readonly [string, Bytes | string | null]>
  | Readonly<Record<string, Bytes | string | null>>

/** A record to be appended. */
export interface AppendRecord {
  /** Text is stored as UTF-8. An absent key is null, which differs from an empty key. */
  readonly key?: Bytes | string | null | undefined
  /** Text is stored as UTF-8. An absent value is null: in a compacted topic, a tombstone. */
  readonly value?: Bytes | string | null | undefined
  readonly headers?: HeadersInit | undefined
  /**
   * Milliseconds since the epoch, at least 0. A value of -1, which reads return for records without
   * a timestamp, counts as absent. @defaultValue now
   */
  readonly timestamp?: number | undefined
}

const NO_HEADERS: readonly RecordHeader[] = Object.freeze([])

/** The codec in which a topic stores a batch, given the producer's choice. */
export function storedCompressionType(
  config: Readonly<ResolvedTopicConfig>,
  producerChoice: CompressionType,
): CompressionType {
  if (config.compressionType === 'producer') return producerChoice
  return config.compressionType === 'uncompressed' ? 'none' : config.compressionType
}

/** Size of the largest batch that a topic accepts. */
export function largestBatchBytes(config: Readonly<ResolvedTopicConfig>): number {
  const { maxMessageBytes, segmentBytes, maxBytes } = config
  const largest = maxMessageBytes < segmentBytes ? maxMessageBytes : segmentBytes
  return maxBytes >= 0 && maxBytes < largest ? maxBytes : largest
}

/**
 * Size up to which a batch is filled before compression, so that the topic accepts the result:
 * incompressible data grows by less than a sixth plus a few bytes with the supported codecs.
 */
export function fillLimitOf(
  config: Readonly<ResolvedTopicConfig>,
  compressionType: CompressionType,
): number {
  const largest = largestBatchBytes(config)
  if (compressionType === 'none') return largest
  return Math.min(Math.floor((largest * 6) / 7) - 64, MAX_DECOMPRESSED_BYTES)
}

/**
 * @param topic named in the error
 * @throws {@link RecordTooLargeError} if a batch of this size does not fit.
 */
export function checkBatchSize(
  sizeBytes: number,
  config: Readonly<ResolvedTopicConfig>,
  topic?: string,
): void {
  if (sizeBytes > config.maxMessageBytes) {
    throw new RecordTooLargeError(sizeBytes, config.maxMessageBytes, 'maxMessageBytes', topic)
  }
  if (sizeBytes > config.segmentBytes) {
    throw new RecordTooLargeError(sizeBytes, config.segmentBytes, 'segmentBytes', topic)
  }
  if (config.maxBytes >= 0 && sizeBytes > config.maxBytes) {
    throw new RecordTooLargeError(sizeBytes, config.maxBytes, 'maxBytes', topic)
  }
}

/** Whether every record must have a key. */
export function isKeyed({ cleanupPolicy }: Readonly<ResolvedTopicConfig>): boolean {
  return cleanupPolicy !== 'delete'
}

/** Why the topic rejects records without a key; `null` if it accepts them. */
export function keylessRefusal(
  config: Readonly<ResolvedTopicConfig>,
  topic?: string,
): InvalidRecordError | null {
  if (!isKeyed(config)) return null
  const who = topic === undefined ? 'a compacted topic' : `compacted topic '${topic}'`
  return new InvalidRecordError(`${who} cannot accept a record without a key`)
}

/** @throws {@link InvalidRecordError} if the topic rejects records without a key. */
export function checkKeyless(config: Readonly<ResolvedTopicConfig>, topic?: string): void {
  const refusal = keylessRefusal(config, topic)
  if (refusal !== null) throw refusal
}

/** Bytes of a key, value or header value. @throws TypeError naming `what`. */
export function toBytes(what: string, value: unknown): Buffer | null {
  if (value === undefined || value === null) return null
  if (typeof value === 'string') return Buffer.from(value, 'utf8')
  if (Buffer.isBuffer(value)) return value
  if (types.isUint8Array(value)) return asBuffer(value)
  throw new TypeError(`${what} must be a string, a Uint8Array or null, got ${describeValue(value)}`)
}

/** Headers in their stored form. @throws TypeError if the form is not supported. */
export function toHeaders(headers: HeadersInit | undefined): readonly RecordHeader[] {
  return headers === undefined ? NO_HEADERS : gather(headers, toRecordHeader)
}

/** Like {@link toHeaders} for headers that are encoded at once: text needs no buffers. */
export function toEncodable(headers: HeadersInit | undefined): readonly EncodableHeader[] {
  return headers === undefined ? NO_HEADERS : gather(headers, toEncodableHeader)
}

/** One by one: intermediate lists of pairs would cost as much as the rest of the record. */
function gather<H>(headers: HeadersInit, make: (key: unknown, value: unknown) => H): readonly H[] {
  if (typeof headers !== 'object' || (headers as unknown) === null) {
    throw new TypeError(`headers must be an array or an object, got ${describeValue(headers)}`)
  }
  const gathered: H[] = []
  if (Symbol.iterator in headers) {
    for (const item of headers as Iterable<unknown>) gathered.push(ofItem(item, make))
    return gathered
  }
  // A promise, or another object with internal state, would have no entries.
  if (!isPlainObject(headers)) {
    throw new TypeError(`headers must be an array or a plain object, got ${describeValue(headers)}`)
  }
  const values = headers as Record<string, unknown>
  for (const key of Object.keys(values)) gathered.push(make(key, values[key]))
  return gathered
}

/** @throws TypeError or RangeError unless it is a whole number of milliseconds, at least 0. */
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
 * The timestamp to store: the record's own, or `now` if it has none. -0 is stored as 0.
 *
 * @throws TypeError or RangeError unless it is a whole number of milliseconds
 */
export function timestampOf(timestamp: number | undefined, now: number): number {
  return timestamp === undefined || timestamp === NO_TIMESTAMP ? now : checkTimestamp(timestamp) + 0
}

/** @throws TypeError if it is not an object, or has an unknown field. */
export function ensureRecord(record: AppendRecord): void {
  if (typeof record !== 'object' || (record as unknown) === null) {
    throw new TypeError(`a record must be an object, got ${describeValue(record)}`)
  }
  let isEmpty = true
  for (const field in record) {
    if (isRecordField(field)) isEmpty = false
    else refuseField(record, field, FIELDS)
  }
  if (!isEmpty || !isOpaque(record, FIELDS)) return
  throw new TypeError(
    `a record must be an object with ${FIELDS.join(', ')}, got ${describeValue(record)}`,
  )
}

const FIELDS = ['key', 'value', 'headers', 'timestamp'] satisfies (keyof AppendRecord)[]

/** Whether every record may have this field. Called for each field of each record. */
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
 * Rejects a field that is not read: it is misspelt, or the caller expects it to be stored.
 * Inherited fields are allowed, such as those of a class instance.
 *
 * @param known all fields that are read
 * @throws TypeError naming the field and the known ones
 */
export function refuseField(record: object, field: string, known: readonly string[]): void {
  if (Object.hasOwn(record, field)) throw unknownKey('a record', field, known)
}

function ofItem<H>(item: unknown, make: (key: unknown, value: unknown) => H): H {
  if (Array.isArray(item) && item.length === 2) return make(item[0], item[1])
  if (typeof item === 'object' && item !== null && 'key' in item && 'value' in item) {
    return make(item.key, item.value)
  }
  throw new TypeError(`a header must be { key, value } or [key, value], got ${describeValue(item)}`)
}

function toRecordHeader(key: unknown, value: unknown): RecordHeader {
  checkHeaderKey(key)
  // The most common types are handled here: building a name for each value would take longer.
  if (typeof value === 'string') return { key, value: Buffer.from(value, 'utf8') }
  if (Buffer.isBuffer(value)) return { key, value }
  return { key, value: toBytes(`value of header '${key}'`, value) }
}

function toEncodableHeader(key: unknown, value: unknown): EncodableHeader {
  checkHeaderKey(key)
  return typeof value === 'string' ? { key, value } : toRecordHeader(key, value)
}

function checkHeaderKey(key: unknown): asserts key is string {
  if (typeof key === 'string') return
  throw new TypeError(`a header's key must be a string, got ${describeValue(key)}`)
}
