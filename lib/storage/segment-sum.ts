import { CorruptRecordError } from '../errors.ts'
import type { File } from '../platform/file-system.ts'
import { ATTRIBUTES_POSITION } from '../record/batch-layout.ts'
import { combineCrc32c } from '../record/crc32c-combine.ts'
import { continueCrc32c } from '../record/crc32c.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import { BatchReader } from './batch-reader.ts'
import type { SegmentEntry } from './segment-record.ts'

/** What a {@link SegmentSum} knows of the first `sizeBytes` bytes of a file, up to `nextOffset`. */
export type SumState = Omit<SegmentEntry, 'baseOffset'>

/** Up to this size, another pass over them is faster than combining two checksums. */
const SHORT_BYTES = 1024

const READ_BYTES = 1024 * 1024

/**
 * CRC-32C of a segment's log file as it grows. A batch contains the checksum of nearly all of its
 * bytes, so they are not read or summed again. Also tells whether the batches leave gaps.
 */
export class SegmentSum {
  #nextOffset: number
  #sizeBytes = 0
  #crc: number | null = 0
  #isDense = true

  constructor(baseOffset: number) {
    this.#nextOffset = baseOffset
  }

  get state(): SumState {
    return {
      nextOffset: this.#nextOffset,
      sizeBytes: this.#sizeBytes,
      crc: this.#crc,
      isDense: this.#isDense,
    }
  }

  /** Continues from an earlier state, or from that of another object. */
  restore({ nextOffset, sizeBytes, crc, isDense }: SumState): void {
    this.#nextOffset = nextOffset
    this.#sizeBytes = sizeBytes
    this.#crc = crc
    this.#isDense = isDense
  }

  /** The entry for the record of segments; without a checksum unless all of it was counted. */
  entryOf(segment: Omit<SegmentEntry, 'crc' | 'isDense'>): SegmentEntry {
    const { baseOffset, nextOffset, sizeBytes } = segment
    const isKnown = this.#sizeBytes === sizeBytes
    const crc = isKnown ? this.#crc : null
    return { baseOffset, nextOffset, sizeBytes, crc, isDense: isKnown && this.#isDense }
  }

  /** Notes that nothing is known of the bytes of a segment any more. */
  forget({ nextOffset, sizeBytes }: Pick<SumState, 'nextOffset' | 'sizeBytes'>): void {
    this.restore({ nextOffset, sizeBytes, crc: null, isDense: false })
  }

  /** Notes a batch with a correct checksum. One that is already counted is ignored. */
  note(batch: RecordBatch, position: number): void {
    if (position < this.#sizeBytes) return
    const { buffer, sizeBytes, baseOffset } = batch
    // Nobody has seen the bytes in between.
    if (position > this.#sizeBytes) this.#crc = null
    if (position > this.#sizeBytes || baseOffset !== this.#nextOffset) this.#isDense = false
    if (this.#crc !== null) this.#crc = append(this.#crc, buffer, batch.crc)
    this.#sizeBytes = position + sizeBytes
    this.#nextOffset = batch.nextOffset
  }
}

/** Sums up the first bytes of a log file again; without a result if they are damaged. */
export async function sumAgain(
  file: File,
  { baseOffset, sizeBytes }: { readonly baseOffset: number; readonly sizeBytes: number },
): Promise<SumState> {
  const sum = new SegmentSum(baseOffset)
  const reader = new BatchReader(file, 0, sizeBytes)
  try {
    while (!reader.isAtEnd()) {
      await reader.header(READ_BYTES)
      const batch = await reader.batch()
      sum.note(batch, reader.position)
      reader.skip()
    }
    return sum.state
  } catch (error) {
    if (!(error instanceof CorruptRecordError)) throw error
    return { nextOffset: baseOffset, sizeBytes, crc: null, isDense: false }
  }
}

function append(crc: number, buffer: Buffer, bodyCrc: number): number {
  const bodyBytes = buffer.length - ATTRIBUTES_POSITION
  if (bodyBytes <= SHORT_BYTES) return continueCrc32c(crc, buffer)
  const upToBody = continueCrc32c(crc, buffer.subarray(0, ATTRIBUTES_POSITION))
  return combineCrc32c(upToBody, bodyCrc, bodyBytes)
}
