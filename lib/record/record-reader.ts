import { CorruptRecordError } from '../errors.ts'
import { BufferView } from './buffer-view.ts'
import type { RecordBatch } from './record-batch.ts'
import {
  MAX_BATCH_ITEMS,
  MIN_RECORD_BYTES,
  NO_HEADERS,
  type RecordHeader,
} from './record-encoding.ts'
import type { StoredRecord } from './stored-record.ts'
import { ByteReader, PEEKED_LENGTH_BITS, PEEKED_LENGTH_MASK, peekVarint } from './varint.ts'

/** The partition that a batch was read from. */
export interface BatchPlace {
  readonly topic: string
  readonly partition: number
}

/** What a batch says about its records. */
export type RecordsHeader = Pick<
  RecordBatch,
  | 'baseOffset'
  | 'lastOffset'
  | 'lastOffsetDelta'
  | 'recordCount'
  | 'baseTimestamp'
  | 'logAppendTime'
>

/** Which records of a batch are read, and where they are stored. */
export interface DecodeOptions {
  /** Records below this offset are skipped. @defaultValue 0 */
  readonly fromOffset?: number
  /** The most records to read, at least 1; later ones are not examined. @defaultValue all */
  readonly maxRecords?: number
  /**
   * The array that the records are appended to, and that is returned. Nothing is appended if
   * anything in the batch is wrong.
   *
   * @defaultValue a new one
   */
  readonly into?: StoredRecord[]
}

/** Bytes before the timestamp delta: the attributes, which have no meaning yet. */
const ATTRIBUTES_BYTES = 1
/** The encoded count of zero headers. */
const NO_HEADER_BYTE = 0
/** What {@link peekVarint} returns for the size -1, which stands for null. */
const PEEKED_NULL = (1 << PEEKED_LENGTH_BITS) | 1

/**
 * Reads the records in `bytes`, from `position` to the end.
 *
 * @throws {@link CorruptRecordError} with the position in `bytes` when they do not match the header
 * of `batch`.
 */
export function readRecords(
  batch: RecordBatch,
  bytes: Buffer,
  position: number,
  place: BatchPlace,
  { fromOffset = 0, maxRecords = Infinity, into = [] }: DecodeOptions,
): StoredRecord[] {
  const { recordCount } = batch
  ensureCount(recordCount, bytes.length - position, position)
  const reader = new RecordReader(batch, bytes, position, place, fromOffset)
  const countBefore = into.length
  try {
    reader.read(recordCount, into, countBefore + maxRecords)
    if (into.length < countBefore + maxRecords) reader.ensureAtEnd()
  } catch (error) {
    // If anything in a batch is wrong, none of its records are returned.
    into.length = countBefore
    throw error
  }
  return into
}

/**
 * Reads all records in `bytes`, which are a part of a batch without missing offsets.
 *
 * @param firstDelta number of records of the batch before them.
 * @param count number of records in `bytes`, at least 1.
 * @throws {@link CorruptRecordError} when they do not match the header of `batch`; its position
 * means nothing.
 */
export function readRun(
  batch: RecordsHeader,
  bytes: Buffer,
  place: BatchPlace,
  { firstDelta, count }: { readonly firstDelta: number; readonly count: number },
): StoredRecord[] {
  const firstOffset = batch.baseOffset + firstDelta
  const reader = new RecordReader(batch, bytes, 0, place, firstOffset)
  const records: StoredRecord[] = []
  reader.read(count, records, Infinity)
  reader.ensureAtEnd()
  // Offsets increase with every record, so none is missing if the last one has its own.
  const isWhole = records.length === count && records.at(-1)?.offset === firstOffset + count - 1
  if (!isWhole) throw corrupt('an offset is missing', 0)
  return records
}

/**
 * A cursor over the records of one batch.
 *
 * A record as short as most is read with a handful of local variables. If anything about it is
 * unusual, such as a number of more than three bytes, or damage, it is read again from its first
 * byte by the general method, which accepts everything and identifies all damage.
 */
class RecordReader {
  readonly #bytes: Buffer
  readonly #topic: string
  readonly #partition: number
  readonly #fromOffset: number
  readonly #baseOffset: number
  readonly #lastOffsetDelta: number
  /** Base of the timestamp deltas; means nothing if `#appendTime` applies. */
  readonly #baseTimestamp: number
  /** The timestamp of all records; `null` if each has its own. */
  readonly #appendTime: number | null
  /** Records of the batch plus the headers read so far. */
  #itemCount: number
  #previousDelta = -1
  #position: number
  #readCount = 0

  constructor(
    batch: RecordsHeader,
    bytes: Buffer,
    position: number,
    { topic, partition }: BatchPlace,
    fromOffset: number,
  ) {
    const { baseOffset, lastOffsetDelta, lastOffset } = batch
    if (lastOffset >= Number.MAX_SAFE_INTEGER) {
      throw corrupt('the last offset is beyond 2^53 - 2', 0)
    }
    this.#bytes = bytes
    this.#position = position
    this.#topic = topic
    this.#partition = partition
    this.#fromOffset = fromOffset
    this.#baseOffset = baseOffset
    this.#lastOffsetDelta = lastOffsetDelta
    this.#appendTime = batch.logAppendTime
    // A broker accepts any timestamps from a producer if they do not count.
    this.#baseTimestamp = this.#appendTime === null ? batch.baseTimestamp : 0
    this.#itemCount = batch.recordCount
  }

  /** Reads `count` records into `records`, or until it holds `mostRecords`. */
  read(count: number, records: StoredRecord[], mostRecords: number): void {
    for (;;) {
      this.#readShort(count, records, mostRecords)
      if (this.#readCount >= count || records.length >= mostRecords) return
      const record = this.#nextOfAnyKind()
      if (record !== null) records.push(record)
    }
  }

  /** @throws {@link CorruptRecordError} unless all bytes have been read. */
  ensureAtEnd(): void {
    const restBytes = this.#bytes.length - this.#position
    if (restBytes > 0) throw corrupt(`${restBytes} bytes after the last record`, this.#position)
  }

  /**
   * Like {@link RecordReader.read}, as long as the records are short. One loop over local
   * variables: a call per record, and rereading fields for each, would take as long as the rest.
   */
  #readShort(count: number, records: StoredRecord[], mostRecords: number): void {
    const bytes = this.#bytes
    const { buffer: memory, byteOffset, length } = bytes
    const topic = this.#topic
    const partition = this.#partition
    const baseOffset = this.#baseOffset
    const baseTimestamp = this.#baseTimestamp
    const appendTime = this.#appendTime
    const fromDelta = this.#fromOffset - baseOffset
    const lastDelta = this.#lastOffsetDelta
    let previousDelta = this.#previousDelta
    let position = this.#position
    let readCount = this.#readCount
    while (readCount < count && records.length < mostRecords) {
      const size = peekVarint(bytes, position)
      const start = position + (size & PEEKED_LENGTH_MASK)
      const end = start + valueOf(size)
      const timestampAt = start + ATTRIBUTES_BYTES
      const timestampDelta = peekVarint(bytes, timestampAt)
      const deltaAt = timestampAt + (timestampDelta & PEEKED_LENGTH_MASK)
      const peekedDelta = peekVarint(bytes, deltaAt)
      const offsetDelta = valueOf(peekedDelta)
      if (size === 0 || timestampDelta === 0 || peekedDelta === 0) break
      if (end < start || end > length) break
      if (offsetDelta <= previousDelta || offsetDelta > lastDelta) break
      if (offsetDelta >= fromDelta) {
        const timestamp = baseTimestamp + valueOf(timestampDelta)
        if (!Number.isSafeInteger(timestamp)) break
        const keyAt = deltaAt + (peekedDelta & PEEKED_LENGTH_MASK)
        const keySize = peekVarint(bytes, keyAt)
        const keyStart = keyAt + (keySize & PEEKED_LENGTH_MASK)
        const valueAt = endOf(keyStart, keySize)
        const valueSize = peekVarint(bytes, valueAt)
        const valueStart = valueAt + (valueSize & PEEKED_LENGTH_MASK)
        const headersAt = endOf(valueStart, valueSize)
        if (keySize === 0 || valueSize === 0) break
        if (valueAt < keyStart || headersAt < valueStart) break
        if (bytes[headersAt] !== NO_HEADER_BYTE || headersAt + 1 !== end) break
        records.push({
          topic,
          partition,
          offset: baseOffset + offsetDelta,
          timestamp: appendTime ?? timestamp,
          key:
            keySize === PEEKED_NULL
              ? null
              : new BufferView(memory, byteOffset + keyStart, valueAt - keyStart),
          value:
            valueSize === PEEKED_NULL
              ? null
              : new BufferView(memory, byteOffset + valueStart, headersAt - valueStart),
          headers: NO_HEADERS,
        })
      }
      previousDelta = offsetDelta
      position = end
      readCount += 1
    }
    this.#previousDelta = previousDelta
    this.#position = position
    this.#readCount = readCount
  }

  /** The next record of any form; `null` for one below the first wanted offset. */
  #nextOfAnyKind(): StoredRecord | null {
    const reader = new ByteReader(this.#bytes, this.#position)
    const bodySize = reader.readVarint()
    const start = reader.position
    if (bodySize < 0 || bodySize > reader.remaining) {
      throw corrupt(`a record claims ${bodySize} bytes, but ${reader.remaining} remain`, start)
    }
    const end = start + bodySize
    reader.readUInt8()
    const timestamp = this.#readTimestamp(reader)
    const offsetDelta = reader.readVarint()
    this.#ensureFollows(offsetDelta, start)
    this.#previousDelta = offsetDelta
    this.#position = end
    this.#readCount += 1
    const offset = this.#baseOffset + offsetDelta
    if (offset < this.#fromOffset) return null
    if (!Number.isSafeInteger(timestamp)) throw corrupt('a timestamp is beyond 2^53 - 1', start)
    const key = readNullableBytes(reader)
    const value = readNullableBytes(reader)
    const headers = readHeaders(reader, end, MAX_BATCH_ITEMS - this.#itemCount)
    this.#itemCount += headers.length
    if (reader.position !== end) {
      throw corrupt(
        `a record claims ${bodySize} bytes, but its fields take ${reader.position - start}`,
        start,
      )
    }
    return {
      topic: this.#topic,
      partition: this.#partition,
      offset,
      timestamp,
      key,
      value,
      headers,
    }
  }

  #readTimestamp(reader: ByteReader): number {
    if (this.#appendTime === null) return this.#baseTimestamp + reader.readVarlong()
    reader.skipVarlong()
    return this.#appendTime
  }

  #ensureFollows(offsetDelta: number, start: number): void {
    if (offsetDelta > this.#previousDelta && offsetDelta <= this.#lastOffsetDelta) return
    throw corrupt(
      `offset delta ${offsetDelta} must be above ${this.#previousDelta} and ` +
        `at most ${this.#lastOffsetDelta}`,
      start,
    )
  }
}

/** The number in a result of {@link peekVarint}. */
function valueOf(peeked: number): number {
  const zigzag = peeked >>> PEEKED_LENGTH_BITS
  return (zigzag >>> 1) ^ -(zigzag & 1)
}

/** End of the bytes from `start` with a peeked size; less than `start` if the size is below -1. */
function endOf(start: number, peekedSize: number): number {
  return peekedSize === PEEKED_NULL ? start : start + valueOf(peekedSize)
}

function ensureCount(recordCount: number, sizeBytes: number, position: number): void {
  const most = Math.min(Math.floor(sizeBytes / MIN_RECORD_BYTES), MAX_BATCH_ITEMS)
  if (recordCount < 0 || recordCount > most) {
    throw corrupt(
      `the batch claims ${recordCount} records, but ${sizeBytes} bytes can hold 0 to ${most}`,
      position,
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
  // A header takes at least two bytes.
  const most = Math.min((end - reader.position) / 2, mostCount)
  if (headerCount < 0 || headerCount > most) {
    throw corrupt(
      `a record claims ${headerCount} headers, but 0 to ${Math.floor(most)} can follow`,
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
