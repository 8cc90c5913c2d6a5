import {
  IllegalStateError,
  InvalidRecordError,
  InvalidTimestampError,
  RecordTooLargeError,
} from '../errors.ts'
import { promptIo } from '../platform/prompt-io.ts'
import {
  DELETE_HORIZON,
  MAX_INT32,
  NO_TIMESTAMP,
  RECORD_BATCH_OVERHEAD,
  writeBatchHeader,
} from './batch-layout.ts'
import { attributesOf, type BatchProperties } from './batch-properties.ts'
import {
  codecFor,
  compressionIdOf,
  MAX_DECOMPRESSED_BYTES,
  type CompressionType,
} from './compression.ts'
import type { BatchMemory } from './batch-memory.ts'
import { writeCrc } from './record-batch.ts'
import {
  MAX_BATCH_ITEMS,
  NO_HEADERS,
  sizeOfLength,
  sizeOfRecordBody,
  writeRecord,
  type EncodableHeader,
} from './record-encoding.ts'

export {
  sizeOfRecord,
  upperBoundOfRecord,
  type EncodableHeader,
  type RecordHeader,
} from './record-encoding.ts'

/** The smallest useful buffer: growing by doubling starts here. */
const DEFAULT_CAPACITY_BYTES = 1024

/** A limit that no batch reaches: the limits of the format apply instead. */
const NO_LIMIT = Infinity

/** Options of a {@link RecordBatchBuilder}. */
export interface RecordBatchBuilderOptions extends BatchProperties {
  /** @defaultValue 'none' */
  readonly compressionType?: CompressionType
  /** On the codec's own scale; the codec's default if absent. */
  readonly compressionLevel?: number | undefined
  /**
   * Size of the first buffer. A buffer for the whole batch saves copying.
   *
   * @defaultValue 1024
   */
  readonly capacityBytes?: number
  /** The first buffer itself, in place of `capacityBytes`. From then on it is the builder's. */
  readonly memory?: Buffer
  /**
   * Where buffers come from, instead of being allocated; not together with `memory`. The batch is
   * registered there: its last user may release it.
   */
  readonly pool?: BatchMemory
  /** For timestamp type 'LogAppendTime': time of the append, instead of the records' largest. */
  readonly logAppendTime?: number
  /** When the batch's tombstones may be removed. Only a log cleaner sets this. */
  readonly deleteHorizonMs?: number
}

/**
 * Encodes records into a batch as they arrive, and keeps nothing but their bytes.
 *
 * Calls must not overlap, and a builder can build only once. An `append` that throws has changed
 * nothing.
 */
export class RecordBatchBuilder {
  readonly #options: RecordBatchBuilderOptions
  readonly #baseOffset: number
  #buffer: Buffer
  #position = RECORD_BATCH_OVERHEAD
  #baseTimestamp: number | null
  #maxTimestamp = NO_TIMESTAMP
  #lastOffsetDelta = -1
  readonly #mostBytes: number
  /** Records and headers so far. */
  #itemCount = 0
  #recordCount = 0
  #isBuilt = false

  /**
   * @throws RangeError when `baseOffset` is not a safe integer of at least 0
   * @throws {@link UnsupportedCompressionTypeError} when there is no codec for `compressionType`
   */
  constructor(options: RecordBatchBuilderOptions = {}) {
    const { baseOffset = 0, capacityBytes = DEFAULT_CAPACITY_BYTES } = options
    const { compressionType = 'none' } = options
    if (!Number.isSafeInteger(baseOffset) || baseOffset < 0) {
      throw new RangeError(`baseOffset ${baseOffset} must be an integer from 0 to 2^53 - 1`)
    }
    const isCompressed = compressionType !== 'none'
    if (isCompressed) codecFor(compressionType)
    this.#mostBytes = isCompressed ? RECORD_BATCH_OVERHEAD + MAX_DECOMPRESSED_BYTES : MAX_INT32
    this.#options = options
    this.#baseOffset = baseOffset
    this.#baseTimestamp = options.deleteHorizonMs ?? null
    this.#buffer = options.memory ?? this.#take(Math.max(capacityBytes, RECORD_BATCH_OVERHEAD))
  }

  /** Records and headers so far; a batch holds at most `MAX_BATCH_ITEMS`. */
  get itemCount(): number {
    return this.#itemCount
  }

  /** Records so far. */
  get recordCount(): number {
    return this.#recordCount
  }

  /** Bytes so far, header included, before compression. */
  get sizeBytes(): number {
    return this.#position
  }

  /** The batch's `maxTimestamp` if it were built now; {@link NO_TIMESTAMP} for none. */
  get maxTimestamp(): number {
    const { timestampType, logAppendTime } = this.#options
    const isAppendTimeKnown = timestampType === 'LogAppendTime' && logAppendTime !== undefined
    return isAppendTimeKnown ? logAppendTime : this.#maxTimestamp
  }

  /**
   * Adds a record at the next offset.
   *
   * @param timestamp milliseconds since the epoch, {@link NO_TIMESTAMP} for none
   * @returns its offset less the base offset
   * @throws {@link InvalidTimestampError} when `timestamp` is below -1
   * @throws RangeError when `timestamp` is not a safe integer
   * @throws {@link RecordTooLargeError} when the batch would exceed 2^31 - 1 bytes or, if it is to
   * be compressed, 64 MiB before compression
   * @throws {@link InvalidRecordError} when there would be more than 2^20 records and headers
   * @throws {@link IllegalStateError} when the batch has been built
   */
  append(
    timestamp: number,
    key: Buffer | null,
    value: Buffer | null,
    headers: readonly EncodableHeader[] = NO_HEADERS,
  ): number {
    return this.tryAppend(NO_LIMIT, timestamp, key, value, headers)
  }

  /**
   * Adds a record at the next offset, if that keeps the batch within `limitBytes`, header included.
   * An empty batch has room for any record, because otherwise that record could never be sent.
   *
   * @returns its offset less the base offset; -1, with nothing done, if there is no room
   * @throws like {@link RecordBatchBuilder.append}
   */
  tryAppend(
    limitBytes: number,
    timestamp: number,
    key: Buffer | null,
    value: Buffer | null,
    headers: readonly EncodableHeader[] = NO_HEADERS,
  ): number {
    const delta = this.#lastOffsetDelta + 1
    if (delta > MAX_INT32) this.#ensureNextDelta(delta)
    if (timestamp < NO_TIMESTAMP) {
      throw new InvalidTimestampError(`timestamp ${timestamp} must be -1 for none, or at least 0`)
    }
    return this.#append(limitBytes, delta, timestamp, key, value, headers)
  }

  /**
   * Adds a record of a log at its offset, which keeps gaps where others have been removed.
   *
   * @param offset above all offsets so far, at most 2^31 - 1 above the base offset
   * @param timestamp as it was stored: a Kafka broker accepts dates before 1970
   * @returns its offset less the base offset
   * @throws RangeError when `offset` is out of range; otherwise like
   * {@link RecordBatchBuilder.append}, except that any safe integer is a valid timestamp
   */
  appendWithOffset(
    offset: number,
    timestamp: number,
    key: Buffer | null,
    value: Buffer | null,
    headers: readonly EncodableHeader[] = NO_HEADERS,
  ): number {
    const delta = offset - this.#baseOffset
    this.#ensureNextDelta(delta)
    return this.#append(NO_LIMIT, delta, timestamp, key, value, headers)
  }

  /**
   * Extends the batch to all offsets up to `lastOffset`, whose records have been removed. Further
   * records need a higher offset.
   *
   * @throws RangeError when `lastOffset` is below an offset that is in the batch
   */
  overrideLastOffset(lastOffset: number): void {
    const delta = lastOffset - this.#baseOffset
    if (delta !== this.#lastOffsetDelta) this.#ensureNextDelta(delta)
    this.#lastOffsetDelta = delta
  }

  /**
   * The finished batch with its CRC, compressed if requested. The bytes are the builder's own, not
   * a copy.
   *
   * @throws {@link IllegalStateError} when there is no record, or the batch has been built
   * @throws RangeError when an option does not fit its field
   */
  async build(): Promise<Buffer> {
    this.#seal()
    const { compressionType = 'none', compressionLevel } = this.#options
    let batch = this.#buffer.subarray(0, this.#position)
    if (compressionType !== 'none') {
      const records = batch.subarray(RECORD_BATCH_OVERHEAD)
      const turn = promptIo.turnIfDue()
      if (turn !== null) await turn
      const compressed = await codecFor(compressionType).compress(records, compressionLevel)
      batch = Buffer.concat([batch.subarray(0, RECORD_BATCH_OVERHEAD), compressed])
    }
    this.#writeHeader(batch, compressionType)
    writeCrc(batch)
    return batch
  }

  /**
   * The finished batch, synchronously and without a CRC: `stampBatch` computes it when a log
   * accepts the batch. The bytes are the builder's own, not a copy.
   *
   * @throws {@link IllegalStateError} when there is no record, the batch has been built, or it is
   * to be compressed
   * @throws RangeError when an option does not fit its field
   */
  buildUncompressed(): Buffer {
    const { compressionType = 'none' } = this.#options
    if (compressionType !== 'none') {
      throw new IllegalStateError(`a batch compressed with '${compressionType}' needs build()`)
    }
    this.#seal()
    const batch = this.#buffer.subarray(0, this.#position)
    this.#writeHeader(batch, compressionType)
    return batch
  }

  #append(
    limitBytes: number,
    offsetDelta: number,
    timestamp: number,
    key: Buffer | null,
    value: Buffer | null,
    headers: readonly EncodableHeader[],
  ): number {
    if (this.#isBuilt) throw new IllegalStateError('the batch has already been built')
    if (!Number.isSafeInteger(timestamp)) {
      throw new RangeError(`timestamp ${timestamp} must be an integer from -1 to 2^53 - 1`)
    }
    const timestampDelta = this.#baseTimestamp === null ? 0 : timestamp - this.#baseTimestamp
    const bodySize = sizeOfRecordBody(offsetDelta, timestampDelta, key, value, headers)
    const neededBytes = this.#position + sizeOfLength(bodySize) + bodySize
    if (neededBytes > limitBytes && this.#recordCount > 0) return -1
    const itemCount = this.#itemCount + 1 + headers.length
    if (itemCount > MAX_BATCH_ITEMS) throw tooManyItems(itemCount)
    if (neededBytes > this.#buffer.length || neededBytes > this.#mostBytes) this.#grow(neededBytes)
    this.#itemCount = itemCount
    this.#position = writeRecord(
      this.#buffer,
      this.#position,
      bodySize,
      offsetDelta,
      timestampDelta,
      key,
      value,
      headers,
    )
    // Timestamps are too large for small integers: storing one allocates an object.
    if (this.#baseTimestamp === null) this.#baseTimestamp = timestamp
    if (timestamp > this.#maxTimestamp) this.#maxTimestamp = timestamp
    this.#lastOffsetDelta = offsetDelta
    this.#recordCount++
    return offsetDelta
  }

  #ensureNextDelta(delta: number): void {
    const smallest = this.#lastOffsetDelta + 1
    if (!Number.isInteger(delta) || delta < smallest || delta > MAX_INT32) {
      throw new RangeError(
        `offset ${this.#baseOffset + delta} must be from ${this.#baseOffset + smallest} to ` +
          `${this.#baseOffset + MAX_INT32}`,
      )
    }
  }

  #grow(neededBytes: number): void {
    const most = this.#mostBytes
    if (neededBytes > most) {
      // This library reads no batch that decompresses to more.
      const limit =
        most < MAX_INT32 ? "the library's limit for a compressed batch" : 'the batch format'
      throw new RecordTooLargeError(neededBytes, most, limit)
    }
    const capacity = Math.min(Math.max(neededBytes, 2 * this.#buffer.length), most)
    const outgrown = this.#buffer
    this.#buffer = this.#take(capacity)
    outgrown.copy(this.#buffer, 0, 0, this.#position)
    this.#options.pool?.letGo(outgrown)
  }

  #take(sizeBytes: number): Buffer {
    return this.#options.pool?.takeHeld(sizeBytes) ?? Buffer.allocUnsafe(sizeBytes)
  }

  #seal(): void {
    if (this.#isBuilt) throw new IllegalStateError('the batch has already been built')
    if (this.#recordCount === 0) throw new IllegalStateError('the batch has no records')
    this.#isBuilt = true
  }

  #writeHeader(batch: Buffer, compressionType: CompressionType): void {
    const { deleteHorizonMs, partitionLeaderEpoch = -1, producerId = -1 } = this.#options
    const { producerEpoch = -1, baseSequence = -1 } = this.#options
    const horizon = deleteHorizonMs === undefined ? 0 : DELETE_HORIZON
    writeBatchHeader(batch, {
      baseOffset: this.#baseOffset,
      partitionLeaderEpoch,
      attributes: attributesOf(this.#options) | horizon | compressionIdOf(compressionType),
      lastOffsetDelta: this.#lastOffsetDelta,
      baseTimestamp: this.#baseTimestamp ?? NO_TIMESTAMP,
      maxTimestamp: this.maxTimestamp,
      producerId,
      producerEpoch,
      baseSequence,
      recordCount: this.#recordCount,
    })
  }
}

function tooManyItems(count: number): InvalidRecordError {
  return new InvalidRecordError(
    `a batch can have at most ${MAX_BATCH_ITEMS} records and headers, got ${count}`,
  )
}
