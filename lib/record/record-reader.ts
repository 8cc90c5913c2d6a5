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

/** The partition that a batch has been read from. */
export interface BatchPlace {
  readonly topic: string
  readonly partition: number
}

/** What a batch says of its records. */
export type RecordsHeader = Pick<
  RecordBatch,
  | 'baseOffset'
  | 'lastOffset'
  | 'lastOffsetDelta'
  | 'recordCount'
  | 'baseTimestamp'
  | 'logAppendTime'
>

/** Which records of a batch are wanted. */
export interface RecordRange {
  /** Records below it are left out. */
  readonly fromOffset?: number
  /** At least 1; the records behind are not looked at. */
  readonly maxRecords?: number
  /** What the records are added to, and which is returned. @defaultValue a new one */
  readonly into?: StoredRecord[]
}

/** Bytes in front of the timestamp delta: the attributes, which mean nothing yet. */
const ATTRIBUTES_BYTES = 1
/** A count of no headers. */
const NO_HEADER_BYTE = 0
/** What {@link peekVarint} says of the size -1, which stands for no bytes at all. */
const PEEKED_NULL = (1 << PEEKED_LENGTH_BITS) | 1

/**
 * The records in `bytes`, from `position` to the end.
 *
 * @throws {@link CorruptRecordError} with the position in `bytes` when they are not what the header
 * of `batch` says.
 */
export function readRecords(
  batch: RecordBatch,
  bytes: Buffer,
  position: number,
  place: BatchPlace,
  { fromOffset = 0, maxRecords = Infinity, into = [] }: RecordRange,
): StoredRecord[] {
  const { recordCount } = batch
  ensureCount(recordCount, bytes.length - position, position)
  const reader = new RecordReader(batch, bytes, position, place, fromOffset)
  const countBefore = into.length
  try {
    reader.read(recordCount, into, countBefore + maxRecords)
    if (into.length < countBefore + maxRecords) reader.ensureAtEnd()
  } catch (error) {
    // Nothing of a batch is given where something of it is wrong.
    into.length = countBefore
    throw error
  }
  return into
}

/**
 * All records in `bytes`, which are some of a batch in which no offset is missing.
 *
 * @param firstDelta how many records of the batch come before them.
 * @param count how many they are, at least 1.
 * @throws {@link CorruptRecordError} when they are not what the header of `batch` says; its position
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
  // None has the offset of the one before, so nothing is missing where the last has its own.
  const isWhole = records.length === count && records.at(-1)?.offset === firstOffset + count - 1
  if (!isWhole) throw corrupt('an offset is missing', 0)
  return records
}

/**
 * A cursor over the records of one batch.
 *
 * A record that is as short as most is read with a handful of local variables. Whenever anything
 * about it is out of the ordinary, be it a number of more than three bytes or damage, it is read
 * again from its first byte by the way that takes all there is and names every damage.
 */
class RecordReader {
  readonly #bytes: Buffer
  readonly #topic: string
  readonly #partition: number
  readonly #fromOffset: number
  readonly #baseOffset: number
  readonly #lastOffsetDelta: number
  /** What timestamp deltas add to; it means nothing where `#appendTime` counts. */
  readonly #baseTimestamp: number
  /** The timestamp of all records; `null` where each has its own. */
  readonly #appendTime: number | null
  /** Records of the batch and the headers read so far. */
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
    // A broker takes whatever timestamps a producer has where they do not count.
    this.#baseTimestamp = this.#appendTime === null ? batch.baseTimestamp : 0
    this.#itemCount = batch.recordCount
  }

  /** Reads `count` records into `records`, or until there are `mostRecords` in it. */
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
    if (restBytes > 0) throw corrupt(`${restBytes} bytes behind the last record`, this.#position)
  }

  /**
   * Like {@link RecordReader.read}, for as long as the records are short. One loop over local variables: a call per record, and fields
   * that are read again for each, take as long as the rest of it.
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

  /** The next record, be it as it may; `null` for one below the first offset that is wanted. */
  #nextOfAnyKind(): StoredRecord | null {
    const reader = new ByteReader(this.#bytes, this.#position)
    const bodySize = reader.readVarint()
    const start = reader.position
    if (bodySize < 0 || bodySize > reader.remaining) {
      throw corrupt(`a record of ${bodySize} bytes, ${reader.remaining} are left`, start)
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
      throw corrupt(`a record of ${bodySize} bytes takes ${reader.position - start}`, start)
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
      `offset delta ${offsetDelta} behind ${this.#previousDelta}, ` +
        `the last is ${this.#lastOffsetDelta}`,
      start,
    )
  }
}

/** The number that {@link peekVarint} has seen. */
function valueOf(peeked: number): number {
  const zigzag = peeked >>> PEEKED_LENGTH_BITS
  return (zigzag >>> 1) ^ -(zigzag & 1)
}

/** Where bytes end that start at `start`, by their peeked size: below it where that is below -1. */
function endOf(start: number, peekedSize: number): number {
  return peekedSize === PEEKED_NULL ? start : start + valueOf(peekedSize)
}

function ensureCount(recordCount: number, sizeBytes: number, position: number): void {
  const most = Math.min(Math.floor(sizeBytes / MIN_RECORD_BYTES), MAX_BATCH_ITEMS)
  if (recordCount < 0 || recordCount > most) {
    throw corrupt(
      `a count of ${recordCount} records, ${sizeBytes} bytes hold 0 to ${most}`,
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
