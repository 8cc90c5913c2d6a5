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

/** Memory for more is taken only where all of it is one batch. */
const MAX_UNPROVEN_BYTES = 4 * 1024 * 1024

/** The fields of a batch's header that tell the way through a file. */
export interface BatchHeader {
  /** -1 where the stored number is too large for a log of this library. */
  readonly baseOffset: number
  /** Below `baseOffset` where the header is damaged. */
  readonly lastOffset: number
  /** -1 for none, or where the stored number is too large. */
  readonly maxTimestamp: number
  readonly sizeBytes: number
}

/**
 * A cursor over the batches of a segment file that reads in large pieces.
 *
 * Headers are looked at without their checksum, so what they say is only good for finding the way;
 * {@link BatchReader.batch} checks the whole batch before it is handed out. Whether the offsets of
 * one batch follow from those before is for the caller to say. Calls must not overlap.
 */
export class BatchReader {
  /** Where the current batch starts. */
  position: number
  readonly #file: File
  readonly #end: number
  #chunk: Buffer
  /** Position in the file where `#chunk` starts. */
  #chunkPosition: number
  /** Where the batch before has ended; `null` before any was passed over. */
  #nextOffset: number | null = null
  #header: BatchHeader | null = null

  /**
   * @param position where a batch starts.
   * @param end where the batches end, exclusive.
   * @param chunk what has been read from `position` on.
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
   * The header of the current batch, reading at least `readBytes` where it is not in memory.
   *
   * @throws {@link CorruptRecordError} when the bytes are no header, so that nobody can tell where
   * the next batch starts.
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
   * Like {@link BatchReader.header}, without waiting for anything.
   *
   * @returns `null` when its bytes have to be read first.
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
      throw this.corrupt(`the batch claims ${sizeBytes} bytes where ${remainingBytes} remain`)
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
   * @throws {@link CorruptRecordError} with its place when it is damaged.
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
   * Like {@link BatchReader.batch}, without waiting for anything.
   *
   * @param check throws unless the batch can be trusted.
   * @returns `null` when some of its bytes have to be read first.
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
      // A file that has become shorter may have given less.
      const length = Math.min(sizeBytes, this.#availableBytes)
      const batch = new RecordBatch(new BufferView(memory, byteOffset + at, length))
      check(batch)
      return batch
    } catch (error) {
      if (!(error instanceof CorruptRecordError)) throw error
      throw this.corrupt(error.reason)
    }
  }

  /** Steps to the next batch. The header of the current one must have been read. */
  skip(): void {
    if (this.#header === null) return
    this.position += this.#header.sizeBytes
    this.#nextOffset = this.#header.lastOffset + 1
    this.#header = null
  }

  /** The error for damage in the current batch. */
  corrupt(reason: string): CorruptRecordError {
    const offsets =
      this.#header === null
        ? { firstOffset: this.#nextOffset }
        : { firstOffset: this.#header.baseOffset, lastOffset: this.#header.lastOffset }
    return new CorruptRecordError(reason, {
      path: this.#file.path,
      position: this.position,
      ...offsets,
    })
  }

  /** A length that has rotted must not decide how much memory is taken. */
  async #ensureIntact(sizeBytes: number): Promise<void> {
    if (sizeBytes <= MAX_UNPROVEN_BYTES) return
    if (await isIntact(this.#file, this.position, sizeBytes)) return
    throw this.corrupt(`the CRC of its ${sizeBytes} bytes does not fit`)
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

/** The header of the current batch, `null` where there is none. */
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
