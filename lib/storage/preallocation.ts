import { readFully } from '../platform/file-io.ts'
import type { File } from '../platform/file-system.ts'
import type { SegmentFile } from './segment-file.ts'

/** Most that is taken at a time. The sync that it is part of would take three times as long with 1 MiB. */
export const MAX_PREALLOCATED_BYTES: number = 256 * 1024
/** A broker of Kafka opens no file that is larger. */
const LARGEST_FILE_BYTES = 2 ** 31 - 1
/** What file systems give out. */
const BLOCK_BYTES = 4096
/**
 * What stands in it. Bytes that were lost are zeros, and no batch begins with this byte: it would be a
 * negative offset. Kafka's recovery takes the negative length for what it is.
 */
const FILL_BYTE = 0xfe
const FILL = Buffer.alloc(MAX_PREALLOCATED_BYTES, FILL_BYTE)

/** What is asked of the segment whose file it is. */
interface GrowingSegment {
  readonly file: Pick<SegmentFile, 'write' | 'shrink'>
  /** Where its last batch ends. */
  readonly sizeBytes: number
  /** What of it is covered by a sync. */
  readonly durable: { readonly sizeBytes: number }
}

/**
 * Bytes behind the last batch of a log file, which are on the disk before the batches that take their
 * place: the topic config `preallocate`.
 *
 * A sync of a file that has grown writes its new size and its new blocks to the journal of the file
 * system, and waits for that; one that overwrites what is there does not. A hole would not do, so
 * bytes are written; never more than the file has already, or a block, because many small logs should
 * not fill a disk. They are written before a batch that outgrows the file, and only while everything in
 * the file is durable: an error of that write is then that of no record, whichever way the file system
 * reports it. One that the file system keeps for the sync stops the log, as any error of a sync does.
 *
 * The end of a log is the end of its last whole batch. A segment that is rolled or closed ends there
 * as a file, too.
 */
export class Preallocation {
  readonly #segment: GrowingSegment
  /** Where the file ends at most because of it; 0 when nothing was taken. */
  #end = 0
  /** Whether a write of it has failed: what room is left is for what cannot do without. */
  #isRefused = false

  constructor(segment: GrowingSegment) {
    this.#segment = segment
  }

  /** Whether the file may go on behind the last batch. */
  get isTaken(): boolean {
    return this.#end > this.#segment.sizeBytes
  }

  /** Whether {@link Preallocation.takeFor} has to come before so many bytes. */
  isDueFor(sizeBytes: number, limitBytes: number): boolean {
    return this.#dueFor(sizeBytes, limitBytes) !== null
  }

  /**
   * Takes what is due before `sizeBytes` are written behind the last batch. Must not overlap with
   * writes. Room that cannot be had is done without.
   *
   * @param limitBytes up to which the file may grow.
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
      // What it has got before it failed is for the batch that comes; otherwise a roll or a close cuts it off.
      const isGivenBack = await file.shrink(endBefore).then(
        () => true,
        () => false,
      )
      if (isGivenBack) this.#end = endBefore
    }
  }

  /** The file was cut: it ends behind the last batch. */
  noteCut(): void {
    this.#end = 0
  }

  #dueFor(sizeBytes: number, limitBytes: number): { start: number; end: number } | null {
    const { sizeBytes: position, durable } = this.#segment
    const start = position + sizeBytes
    if (sizeBytes === 0 || start <= this.#end || durable.sizeBytes !== position) return null
    // There the journal is a small part of what the sync costs.
    if (this.#isRefused || sizeBytes > MAX_PREALLOCATED_BYTES) return null
    const most = Math.min(start + MAX_PREALLOCATED_BYTES, limitBytes, LARGEST_FILE_BYTES)
    const doubled = Math.max(2 * start, start + BLOCK_BYTES)
    const end = Math.floor(Math.min(doubled, most) / BLOCK_BYTES) * BLOCK_BYTES
    return end > start ? { start, end } : null
  }
}

/** Whether all bytes in [`position`, `end`) are such bytes. No batch begins with one of them. */
export async function isPreallocated(file: File, position: number, end: number): Promise<boolean> {
  for (let from = position; from < end; from += FILL.length) {
    const bytes = Buffer.allocUnsafe(Math.min(FILL.length, end - from))
    const sizeBytes = await readFully(file, bytes, from)
    if (!bytes.subarray(0, sizeBytes).equals(FILL.subarray(0, sizeBytes))) return false
  }
  return end > position
}
