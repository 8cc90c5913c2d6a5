import { ATTRIBUTES_POSITION, NO_TIMESTAMP, RECORD_BATCH_OVERHEAD } from './batch-layout.ts'
import { BufferView } from './buffer-view.ts'
import { continueCrc32c, crc32c } from './crc32c.ts'
import type { RecordBatch } from './record-batch.ts'
import type { BatchPlace, RecordsHeader } from './record-reader.ts'
import { behindRecords, copyRun } from './record-run.ts'
import type { StoredRecord } from './stored-record.ts'

/** So many bytes lie between two marks, or less. */
const MARKED_BYTES = 2048
/** What an object with two arrays takes in memory, about, and what each mark adds. */
const OBJECT_BYTES = 256
const MARK_BYTES = 16

/** Some records of a batch between two of its marks. */
export interface MarkedRange {
  readonly slot: number
  readonly endSlot: number
  /** Where their bytes lie in the batch; the end is exclusive. */
  readonly start: number
  readonly end: number
}

/**
 * What it takes to read a few records of a batch without the rest of it: its header, where each so
 * many records begin, and the checksum of all that comes before.
 *
 * The bytes between two marks are right when they lead from the checksum of one to that of the
 * other. Since the last is the CRC of the batch, which was compared, they are then the bytes that its
 * CRC stands for, without the others.
 */
export class BatchMarks implements RecordsHeader {
  readonly baseOffset: number
  readonly lastOffset: number
  readonly lastOffsetDelta: number
  readonly recordCount: number
  readonly baseTimestamp: number
  readonly logAppendTime: number | null
  /** Of the batch. */
  readonly sizeBytes: number
  /** There is a mark every 2 to the power of it records. */
  readonly #shift: number
  readonly #positions: number[] = [RECORD_BATCH_OVERHEAD]
  /** Signed, as small integers take no object. */
  readonly #checksums: number[]

  private constructor(batch: RecordBatch, shift: number) {
    this.baseOffset = batch.baseOffset
    this.lastOffset = batch.lastOffset
    this.lastOffsetDelta = batch.lastOffsetDelta
    this.recordCount = batch.recordCount
    this.logAppendTime = batch.logAppendTime
    this.baseTimestamp = this.logAppendTime === null ? batch.baseTimestamp : NO_TIMESTAMP
    this.sizeBytes = batch.sizeBytes
    this.#shift = shift
    this.#checksums = [crc32c(batch.buffer, ATTRIBUTES_POSITION, RECORD_BATCH_OVERHEAD) | 0]
  }

  /**
   * The marks of a batch whose CRC has not been looked at yet: they are worth nothing unless
   * {@link BatchMarks.crc} is that of the batch.
   *
   * @returns `null` for a batch that is compressed, lacks offsets, is no longer than a few records
   * are, or has records that are longer than most.
   */
  static of(batch: RecordBatch): BatchMarks | null {
    const { recordCount, sizeBytes, buffer } = batch
    if (batch.compressionType !== 'none' || batch.isControl) return null
    if (recordCount !== batch.lastOffsetDelta + 1 || sizeBytes < 2 * MARKED_BYTES) return null
    const shift = 31 - Math.clz32(Math.max(1, (MARKED_BYTES * recordCount) / sizeBytes))
    const marks = new BatchMarks(batch, shift)
    let position = RECORD_BATCH_OVERHEAD
    for (let passed = 0; passed < recordCount; passed += 1 << shift) {
      const count = Math.min(1 << shift, recordCount - passed)
      const end = behindRecords(buffer, position, count)
      if (end < 0) return null
      marks.#add(buffer, position, end)
      position = end
    }
    return position === sizeBytes ? marks : null
  }

  #add(buffer: Buffer, start: number, end: number): void {
    const bytes = new BufferView(buffer.buffer, buffer.byteOffset + start, end - start)
    this.#checksums.push(continueCrc32c(this.#checksums.at(-1) as number, bytes) | 0)
    this.#positions.push(end)
  }

  /** What the CRC of the batch has to be, unsigned. */
  get crc(): number {
    return (this.#checksums.at(-1) as number) >>> 0
  }

  /** Memory that the marks take, about. */
  get memoryBytes(): number {
    return OBJECT_BYTES + MARK_BYTES * this.#positions.length
  }

  /** What has to be read for `count` records from `offset` on, all of which are in the batch. */
  rangeOf(offset: number, count: number): MarkedRange {
    const firstDelta = offset - this.baseOffset
    const slot = firstDelta >> this.#shift
    const endSlot = ((firstDelta + count - 1) >> this.#shift) + 1
    const start = this.#positions[slot] as number
    return { slot, endSlot, start, end: this.#positions[endSlot] as number }
  }

  /**
   * `count` records from `offset` on, as views of a copy of their bytes.
   *
   * @param bytes what `range` names.
   * @returns `null` when they are not what they were.
   */
  recordsIn(
    bytes: Buffer,
    { slot, endSlot }: MarkedRange,
    place: BatchPlace,
    { offset, count }: { readonly offset: number; readonly count: number },
  ): StoredRecord[] | null {
    const before = this.#checksums[slot] as number
    if ((continueCrc32c(before, bytes) | 0) !== this.#checksums[endSlot]) return null
    const run = { bytesDelta: slot << this.#shift, firstDelta: offset - this.baseOffset, count }
    return copyRun(this, bytes, 0, place, run)
  }
}
