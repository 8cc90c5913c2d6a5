import { CorruptRecordError } from '../errors.ts'
import { readFully } from '../platform/file-io.ts'
import type { File } from '../platform/file-system.ts'
import {
  BASE_OFFSET_POSITION,
  LAST_OFFSET_DELTA_POSITION,
  MAGIC_POSITION,
  MAX_TIMESTAMP_POSITION,
} from '../record/batch-layout.ts'
import { int32At } from '../record/big-endian.ts'
import { BufferView } from '../record/buffer-view.ts'
import { readInt64 } from '../record/int64.ts'
import {
  LOG_OVERHEAD,
  MAGIC_V2,
  RECORD_BATCH_OVERHEAD,
  RecordBatch,
} from '../record/record-batch.ts'
import { shared } from '../record/shared-memory.ts'
import { isIntact } from './segment-scan.ts'

const NOTHING = Buffer.alloc(0)

/** A larger buffer is only allocated if all of it is proven to be one batch. */
const MAX_UNPROVEN_BYTES = 4 * 1024 * 1024

/** The fields of a batch's header that are needed to walk through a file. */
export interface BatchHeader {
  /** -1 if the stored number is too large for a log of this library. */
  readonly baseOffset: number
  /** Below `baseOffset` if the header is damaged. */
  readonly lastOffset: number
  /** -1 for none, or if the stored number is too large. */
  readonly maxTimestamp: number
  readonly sizeBytes: number
}

/** The offsets that damage affects. */
interface AffectedOffsets {
  readonly firstOffset: number | null
  /** `null` if unknown. */
  readonly lastOffset: number | null
}

/**
 * A cursor over the batches of a segment file that reads in large pieces.
 *
 * Headers are read without checking the CRC, so their fields only serve to find batches.
 * {@link BatchReader.batch} checks the whole batch before it returns it. The caller has to check
 * that the offsets of consecutive batches fit together. Calls must not overlap.
 */
export class BatchReader {
  /** Position of the current batch. */
  position: number
  readonly #file: File
  readonly #end: number
  #chunk: Buffer
  /** Position in the file where `#chunk` starts. */
  #chunkPosition: number
  /** Next offset after the previous batch; `null` before the first skip. */
  #nextOffset: number | null = null
  #header: BatchHeader | null = null

  /**
   * @param position start of a batch.
   * @param end end of the batches, exclusive.
   * @param chunk bytes that were already read from `position` on.
   */
  constructor(file: File, position: number, end: number, chunk: Buffer = NOTHING) {
    this.#file = file
    this.position = position
    this.#end = end
    this.#chunk = chunk
    this.#chunkPosition = position
  }

  /** Whether there is no further batch. */
  isAtEnd(): boolean {
    return this.position >= this.#end
  }

  /**
   * The header of the current batch. If it is not in memory, at least `readBytes` are read.
   *
   * @throws {@link CorruptRecordError} if the bytes are not a header, so that the start of the next
   * batch is unknown.
   */
  async header(readBytes: number = RECORD_BATCH_OVERHEAD): Promise<BatchHeader> {
    const header = this.headerNow()
    if (header !== null) return header
    await this.#read(readBytes)
    if (this.#availableBytes < RECORD_BATCH_OVERHEAD) {
      throw this.corrupt(`${this.#availableBytes} bytes are too few for a batch header`)
    }
    return this.#parseHeader()
  }

  /**
   * Synchronous variant of {@link BatchReader.header}.
   *
   * @returns `null` if its bytes have to be read first.
   */
  headerNow(): BatchHeader | null {
    if (this.#header !== null) return this.#header
    return this.#availableBytes < RECORD_BATCH_OVERHEAD ? null : this.#parseHeader()
  }

  #parseHeader(): BatchHeader {
    const bytes = this.#chunk
    const at = this.position - this.#chunkPosition
    const magic = bytes.readInt8(at + MAGIC_POSITION)
    if (magic !== MAGIC_V2) throw this.corrupt(`its magic is ${magic}, not ${MAGIC_V2}`)
    const sizeBytes = int32At(bytes, at + LOG_OVERHEAD - 4) + LOG_OVERHEAD
    const remainingBytes = this.#end - this.position
    if (sizeBytes < RECORD_BATCH_OVERHEAD || sizeBytes > remainingBytes) {
      throw this.corrupt(`the batch claims ${sizeBytes} bytes, but ${remainingBytes} bytes remain`)
    }
    const baseOffset = readOrNone(bytes, at + BASE_OFFSET_POSITION)
    const lastOffset = baseOffset + int32At(bytes, at + LAST_OFFSET_DELTA_POSITION)
    const maxTimestamp = readOrNone(bytes, at + MAX_TIMESTAMP_POSITION)
    this.#header = { baseOffset, lastOffset, maxTimestamp, sizeBytes }
    return this.#header
  }

  /**
   * The current batch, whole and checked.
   *
   * @throws {@link CorruptRecordError} with its position if it is damaged.
   */
  async batch(): Promise<RecordBatch> {
    const batch = this.batchNow()
    if (batch !== null) return batch
    const { sizeBytes } = await this.header()
    if (this.#availableBytes < sizeBytes) {
      await this.#ensureIntact(sizeBytes)
      await this.#read(sizeBytes)
    }
    return this.#checkedBatch(sizeBytes)
  }

  /**
   * Synchronous variant of {@link BatchReader.batch}.
   *
   * @param check throws if the batch is invalid.
   * @returns `null` if some of its bytes have to be read first.
   */
  batchNow(check: (batch: RecordBatch) => void = ensureValid): RecordBatch | null {
    const header = this.headerNow()
    if (header === null || this.#availableBytes < header.sizeBytes) return null
    return this.#checkedBatch(header.sizeBytes, check)
  }

  #checkedBatch(sizeBytes: number, check = ensureValid): RecordBatch {
    const at = this.position - this.#chunkPosition
    try {
      const { buffer: memory, byteOffset } = this.#chunk
      // The read is short if the file has become shorter.
      const length = Math.min(sizeBytes, this.#availableBytes)
      const batch = new RecordBatch(new BufferView(memory, byteOffset + at, length))
      check(batch)
      return batch
    } catch (error) {
      if (!(error instanceof CorruptRecordError)) throw error
      throw this.corrupt(error.reason)
    }
  }

  /** Advances to the next batch. The header of the current one must have been read. */
  skip(): void {
    if (this.#header === null) return
    this.position += this.#header.sizeBytes
    this.#nextOffset = this.#header.lastOffset + 1
    this.#header = null
  }

  /**
   * The error for damage in the current batch.
   *
   * @param offsets the affected ones, if those of the batch itself are in doubt.
   */
  corrupt(reason: string, offsets: AffectedOffsets = this.#offsets): CorruptRecordError {
    return new CorruptRecordError(reason, {
      path: this.#file.path,
      position: this.position,
      ...offsets,
    })
  }

  get #offsets(): AffectedOffsets {
    if (this.#header === null) return { firstOffset: this.#nextOffset, lastOffset: null }
    return { firstOffset: this.#header.baseOffset, lastOffset: this.#header.lastOffset }
  }

  /** A corrupted length must not determine how much memory is allocated. */
  async #ensureIntact(sizeBytes: number): Promise<void> {
    if (sizeBytes <= MAX_UNPROVEN_BYTES) return
    if (await isIntact(this.#file, this.position, sizeBytes)) return
    throw this.corrupt(`the CRC of its ${sizeBytes} bytes does not match`)
  }

  get #availableBytes(): number {
    const at = this.position - this.#chunkPosition
    return Math.max(0, this.#chunk.length - at)
  }

  async #read(sizeBytes: number): Promise<void> {
    const wanted = Math.min(Math.max(sizeBytes, RECORD_BATCH_OVERHEAD), this.#end - this.position)
    const chunk = shared(Buffer.allocUnsafe(wanted))
    this.#chunk = chunk.subarray(0, await readFully(this.#file, chunk, this.position))
    this.#chunkPosition = this.position
  }
}

/** The header of the current batch; `null` if there is none. */
export async function headerOrNone(
  reader: BatchReader,
  readBytes: number,
): Promise<BatchHeader | null> {
  try {
    return reader.isAtEnd() ? null : await reader.header(readBytes)
  } catch (error) {
    if (error instanceof CorruptRecordError) return null
    throw error
  }
}

function ensureValid(batch: RecordBatch): void {
  batch.ensureValid()
}

function readOrNone(bytes: Buffer, position: number): number {
  try {
    return readInt64(bytes, position)
  } catch (error) {
    if (error instanceof CorruptRecordError) return -1
    throw error
  }
}
