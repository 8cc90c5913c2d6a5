import { readFully } from '../platform/file-io.ts'
import type { FileSource } from '../platform/file-system.ts'
import type { SegmentFile } from './segment-file.ts'

/** Most bytes preallocated at a time. A sync that covers 1 MiB would take three times as long. */
export const MAX_PREALLOCATED_BYTES: number = 256 * 1024
/** A Kafka broker does not open a larger file. */
const LARGEST_FILE_BYTES = 2 ** 31 - 1
/** Block size of file systems. */
const BLOCK_BYTES = 4096
/**
 * Value of preallocated bytes. Lost bytes read as zeros instead. No batch begins with it, as its
 * offset would be negative. Kafka's recovery rejects the negative batch length.
 */
const FILL_BYTE = 0xfe
const FILL = Buffer.alloc(MAX_PREALLOCATED_BYTES, FILL_BYTE)

/** What {@link Preallocation} needs to know of its segment. */
interface GrowingSegment {
  readonly file: Pick<SegmentFile, 'write' | 'shrink'>
  /** End of the last batch. */
  readonly sizeBytes: number
  /** The part that a sync covers. */
  readonly durable: { readonly sizeBytes: number }
}

/**
 * Preallocated bytes after the last batch of a log file, which are on disk before the batches that
 * overwrite them: the topic config `preallocate`.
 *
 * A sync of a file that has grown also writes its new size and blocks to the journal of the file
 * system, and waits for it. A sync of overwritten bytes does not. A hole would not help, so bytes
 * are written: at most as many as the file has, or one block, so that many small logs do not fill a
 * disk.
 *
 * They are written before a batch that outgrows the file, and only while the whole file is durable.
 * An error of that write then affects no record. If only the sync reports it, the log stops, as
 * after any failed sync.
 *
 * A log ends with its last whole batch. So does the file of a segment that was rolled or closed.
 */
export class Preallocation {
  readonly #segment: GrowingSegment
  /** Upper bound of the file's size by preallocation; 0 if nothing was preallocated. */
  #end = 0
  /** Whether a preallocation has failed. The free space is then left to other writes. */
  #isRefused = false

  constructor(segment: GrowingSegment) {
    this.#segment = segment
  }

  /** Whether the file may extend beyond the last batch. */
  get isTaken(): boolean {
    return this.#end > this.#segment.sizeBytes
  }

  /** Whether {@link Preallocation.takeFor} must be called before `sizeBytes` bytes are written. */
  isDueFor(sizeBytes: number, limitBytes: number): boolean {
    return this.#dueFor(sizeBytes, limitBytes) !== null
  }

  /**
   * Preallocates what is due before `sizeBytes` bytes are written after the last batch. Must not
   * overlap with writes. If it fails, the segment does without preallocation from then on.
   *
   * @param limitBytes size up to which the file may grow.
   */
  async takeFor(sizeBytes: number, limitBytes: number): Promise<void> {
    const range = this.#dueFor(sizeBytes, limitBytes)
    if (range === null) return
    const { file, sizeBytes: position } = this.#segment
    const endBefore = Math.max(this.#end, position)
    this.#end = range.end
    try {
      await file.write([FILL.subarray(0, range.end - range.start)], range.start)
    } catch {
      this.#isRefused = true
      // Frees what was allocated, for the next batch. If that fails, a roll or a close does it.
      const isGivenBack = await file.shrink(endBefore).then(
        () => true,
        () => false,
      )
      if (isGivenBack) this.#end = endBefore
    }
  }

  /** The file was truncated and ends after the last batch. */
  noteCut(): void {
    this.#end = 0
  }

  #dueFor(sizeBytes: number, limitBytes: number): { start: number; end: number } | null {
    const { sizeBytes: position, durable } = this.#segment
    const start = position + sizeBytes
    if (sizeBytes === 0 || start <= this.#end || durable.sizeBytes !== position) return null
    // With large batches, the journal is a small part of the cost of a sync.
    if (this.#isRefused || sizeBytes > MAX_PREALLOCATED_BYTES) return null
    const most = Math.min(start + MAX_PREALLOCATED_BYTES, limitBytes, LARGEST_FILE_BYTES)
    const doubled = Math.max(2 * start, start + BLOCK_BYTES)
    const end = Math.floor(Math.min(doubled, most) / BLOCK_BYTES) * BLOCK_BYTES
    return end > start ? { start, end } : null
  }
}

/** Whether [`position`, `end`) is not empty and all preallocated, so that no batch begins in it. */
export async function isPreallocated(
  file: FileSource,
  position: number,
  end: number,
): Promise<boolean> {
  for (let from = position; from < end; from += FILL.length) {
    const bytes = Buffer.allocUnsafe(Math.min(FILL.length, end - from))
    const sizeBytes = await readFully(file, bytes, from)
    if (!bytes.subarray(0, sizeBytes).equals(FILL.subarray(0, sizeBytes))) return false
  }
  return end > position
}
