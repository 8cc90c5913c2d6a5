import { ATTRIBUTES_POSITION, NO_TIMESTAMP, RECORD_BATCH_OVERHEAD } from './batch-layout.ts'
import { BufferView } from './buffer-view.ts'
import { continueCrc32c, crc32c } from './crc32c.ts'
import type { RecordBatch } from './record-batch.ts'
import type { BatchPlace, RecordsHeader } from './record-reader.ts'
import { behindRecords, copyRun } from './record-run.ts'
import type { StoredRecord } from './stored-record.ts'

/** Most bytes between two marks, if the records are of average size. */
const MARKED_BYTES = 2048
/** Approximate memory of an object with two arrays, and of each mark. */
const OBJECT_BYTES = 256
const MARK_BYTES = 16

/** Some records of a batch, from one of its marks to another. */
export interface MarkedRange {
  readonly slot: number
  readonly endSlot: number
  /** Where their bytes are in the batch; the end is exclusive. */
  readonly start: number
  readonly end: number
}

/**
 * What is needed to read a few records of a batch without the rest: its header, the position of
 * every n-th record, and the checksum of everything before each of these.
 *
 * The bytes between two marks are intact if they lead from the checksum of one to that of the
 * other. The last checksum is the CRC of the batch, which was verified. So these bytes are those
 * that the CRC covers, and the others need not be read.
 */
export class BatchMarks implements RecordsHeader {
  readonly baseOffset: number
  readonly lastOffset: number
  readonly lastOffsetDelta: number
  readonly recordCount: number
  readonly baseTimestamp: number
  readonly logAppendTime: number | null
  /** Size of the batch. */
  readonly sizeBytes: number
  /** There is a mark every `2 ** #shift` records. */
  readonly #shift: number
  readonly #positions: number[] = [RECORD_BATCH_OVERHEAD]
  /** Signed, because small integers are stored without an object. */
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
   * The marks of a batch whose CRC has not been verified yet. They are only valid if
   * {@link BatchMarks.crc} is the CRC of the batch.
   *
   * @returns `null` for a control batch, and for a batch that is compressed, lacks offsets, is
   * smaller than 4096 bytes, or has unusually long records.
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

  /** Approximate memory of the marks. */
  get memoryBytes(): number {
    return OBJECT_BYTES + MARK_BYTES * this.#positions.length
  }

  /** The bytes to read for `count` records from `offset` on, all of which are in the batch. */
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
   * @param bytes the bytes of the range.
   * @returns `null` if they have changed.
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
