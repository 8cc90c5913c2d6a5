import type { CompressionType } from '../record/compression.ts'
import { batchMemory } from '../record/batch-memory.ts'
import { RECORD_BATCH_OVERHEAD } from '../record/batch-layout.ts'
import { RecordBatchBuilder, upperBoundOfRecord } from '../record/record-batch-builder.ts'
import { MAX_BATCH_ITEMS } from '../record/record-encoding.ts'
import type { Flushable, FlushInterval } from './flush-intervals.ts'
import type { SerializedRecord } from './producer-record.ts'
import { tellFailure, tellPlace, type Completion, type SentTo } from './send-completion.ts'

/** The parameters of a {@link ProducerBatch}. */
export interface ProducerBatchOptions {
  readonly compressionType: CompressionType
  /** On the codec's own scale; `undefined` for its default. */
  readonly compressionLevel?: number | undefined
  /** Size of the first buffer. */
  readonly capacityBytes: number
  /** Size at which the batch is full, before compression. */
  readonly limitBytes: number
  /** Number of records at which the batch is full; may be `Infinity`. */
  readonly limitRecords: number
  /** Monotonic time. */
  readonly createdMs: number
}

/** The stored parts of a record. */
type BatchedRecord = Pick<SerializedRecord, 'key' | 'value' | 'headers' | 'timestamp'>

/**
 * Records of one partition that are written together, and the callers waiting for them.
 *
 * A batch is open, then sealed, then in flight. It settles once, from any of these states; later
 * results are ignored. Calls must not overlap.
 */
export class ProducerBatch implements Flushable {
  readonly createdMs: number
  readonly compressionType: CompressionType
  interval: FlushInterval | null = null
  readonly #options: ProducerBatchOptions
  readonly #builder: RecordBatchBuilder
  #completions: Completion[] = []
  #timestamps: number[] = []
  /**
   * Indexes of the records in their calls. Stored only if some are not 0: a single send takes no
   * room here.
   */
  #slots: number[] = []
  #keylessCount = 0
  #isInFlight = false
  #isSettled = false

  /** @throws {@link UnsupportedCompressionTypeError} */
  constructor(options: ProducerBatchOptions) {
    const { compressionType, compressionLevel, capacityBytes } = options
    this.createdMs = options.createdMs
    this.compressionType = compressionType
    this.#options = options
    this.#builder =
      compressionType === 'none'
        ? new RecordBatchBuilder({ pool: batchMemory, capacityBytes })
        : new RecordBatchBuilder({ compressionType, compressionLevel, capacityBytes })
  }

  /** Records in the batch. */
  get recordCount(): number {
    return this.#builder.recordCount
  }

  /** Records without a key. */
  get keylessCount(): number {
    return this.#keylessCount
  }

  /** Bytes in memory, including the header; 0 while there is no record. */
  get sizeBytes(): number {
    return this.recordCount === 0 ? 0 : this.#builder.sizeBytes
  }

  /** Whether no further record fits. */
  get isFull(): boolean {
    const { limitBytes, limitRecords } = this.#options
    return this.recordCount >= limitRecords || this.#builder.sizeBytes >= limitBytes
  }

  /** Whether the partition has the batch, so that it may have been written. */
  get isInFlight(): boolean {
    return this.#isInFlight
  }

  /** Whether the result was reported to the waiting callers. */
  get isSettled(): boolean {
    return this.#isSettled
  }

  /**
   * Whether a record of up to `boundBytes` with `headerCount` headers fits. An empty batch accepts
   * any record.
   */
  hasRoomFor(boundBytes: number, headerCount: number): boolean {
    if (this.recordCount === 0) return true
    const isTooMuch = this.#builder.sizeBytes + boundBytes > this.#options.limitBytes
    return !isTooMuch && this.#builder.itemCount + 1 + headerCount <= MAX_BATCH_ITEMS
  }

  /**
   * Adds a record.
   *
   * @param completion `null` if no caller waits for it
   * @param slot the record's index as known to `completion`
   */
  append(record: BatchedRecord, completion: Completion | null, slot: number): void {
    this.#builder.append(record.timestamp, record.key, record.value, record.headers)
    if (record.key === null) this.#keylessCount += 1
    if (completion === null) return
    this.#completions.push(completion)
    this.#timestamps.push(record.timestamp)
    if (slot === 0) return
    while (this.#slots.length < this.#completions.length - 1) this.#slots.push(0)
    this.#slots.push(slot)
  }

  /** Returns the bytes to write. Must be called once, for a batch without compression. */
  buildUncompressed(): Buffer {
    return this.#builder.buildUncompressed()
  }

  /** Returns the compressed bytes to write. Must be called once. */
  build(): Promise<Buffer> {
    return this.#builder.build()
  }

  /**
   * Distributes its records and their waiting callers over new batches, in order, and settles this
   * batch.
   *
   * @param records the batch's records
   * @param limitBytes size at which each new batch is full, before compression
   * @param isApart whether records without a key are moved to a batch of their own, the last one
   */
  split(records: readonly BatchedRecord[], limitBytes: number, isApart: boolean): ProducerBatch[] {
    const parts: ProducerBatch[] = []
    let keyless: ProducerBatch | undefined
    let part: ProducerBatch | undefined
    for (const [index, record] of records.entries()) {
      const { key, value, headers } = record
      const completion = this.#completions[index] ?? null
      const slot = this.#slots[index] ?? 0
      if (isApart && key === null) {
        keyless ??= new ProducerBatch({ ...this.#options, capacityBytes: this.sizeBytes })
        keyless.append(record, completion, slot)
        continue
      }
      const boundBytes = upperBoundOfRecord(key, value, headers)
      if (part?.hasRoomFor(boundBytes, headers.length) !== true) {
        const capacityBytes = Math.max(limitBytes, RECORD_BATCH_OVERHEAD + boundBytes)
        part = new ProducerBatch({ ...this.#options, limitBytes, capacityBytes })
        parts.push(part)
      }
      part.append(record, completion, slot)
    }
    if (keyless !== undefined) parts.push(keyless)
    this.#letGo()
    return parts
  }

  /** Called when the partition receives the batch. */
  markInFlight(): void {
    this.#isInFlight = true
  }

  /**
   * Called when the partition has refused the batch without writing any of it: the batch waits as
   * before.
   */
  markRefused(): void {
    this.#isInFlight = false
  }

  /**
   * Reports to the waiting callers where their records are, in order.
   *
   * @param logAppendTime time of the append if the topic stamps records with it, otherwise `null`
   */
  complete(to: SentTo, baseOffset: number, logAppendTime: number | null): void {
    const timestamps = this.#timestamps
    const slots = this.#slots
    const completions = this.#letGo()
    for (let index = 0; index < completions.length; index += 1) {
      const timestamp = logAppendTime ?? timestamps[index] ?? -1
      const completion = completions[index] as Completion
      tellPlace(completion, to, baseOffset + index, timestamp, slots[index] ?? 0)
    }
  }

  /** Reports to the waiting callers that their records failed, in order. */
  fail(error: Error): void {
    const slots = this.#slots
    const completions = this.#letGo()
    for (let index = 0; index < completions.length; index += 1) {
      tellFailure(completions[index] as Completion, error, slots[index] ?? 0)
    }
  }

  /** Settles the batch. @returns the callers that waited for it */
  #letGo(): Completion[] {
    const completions = this.#completions
    this.#isSettled = true
    this.#completions = []
    this.#timestamps = []
    this.#slots = []
    return completions
  }
}
