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
  readonly file: Pick<SegmentFile, 'write' | 'writeNow'>
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
 * bytes are written; never more than the file has already, because many small logs should not fill a
 * disk. They are written before a batch that outgrows the file, and only while everything in the file
 * is durable: an error can then be that of no record, whichever way the file system reports it.
 *
 * The end of a log is the end of its last whole batch. A segment that is rolled or closed ends there
 * as a file, too.
 */
export class Preallocation {
  readonly #segment: GrowingSegment
  /** Where the file ends at most because of it; 0 when nothing was taken. */
  #end = 0
  /** Whether there was no room once: what is left is for what cannot do without. */
  #isRefused = false

  constructor(segment: GrowingSegment) {
    this.#segment = segment
  }

  /** Whether the file may go on behind the last batch. */
  get isTaken(): boolean {
    return this.#end > this.#segment.sizeBytes
  }

  /**
   * Takes what is due before `sizeBytes` are written behind the last batch. Must not overlap with
   * writes. A failure is none: nothing depends on it.
   *
   * @param limitBytes up to which the file may grow.
   */
  async takeFor(sizeBytes: number, limitBytes: number): Promise<void> {
    const range = this.#dueFor(sizeBytes, limitBytes)
    if (range === null) return
    this.#end = range.end
    try {
      await this.#segment.file.write([FILL.subarray(0, range.end - range.start)], range.start)
    } catch {
      this.#isRefused = true
    }
  }

  /** The same inside of the call; nothing, where it would have to be waited for. */
  takeNowFor(sizeBytes: number, limitBytes: number): void {
    const range = this.#dueFor(sizeBytes, limitBytes)
    if (range === null) return
    const { start, end } = range
    let count = 0
    try {
      count = this.#segment.file.writeNow([FILL.subarray(0, end - start)], start)
      if (count < 0) return
    } catch {
      // Some of it may be there all the same.
    }
    this.#end = end
    if (count < end - start) this.#isRefused = true
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

/** Where in [`position`, `end`) the bytes begin that were preallocated; `end` where there are none. */
export async function preallocatedFrom(file: File, position: number, end: number): Promise<number> {
  for (let from = end; from > position;) {
    const start = Math.max(position, from - BLOCK_BYTES)
    const bytes = Buffer.alloc(from - start)
    await readFully(file, bytes, start)
    const other = bytes.findLastIndex((byte) => byte !== FILL_BYTE)
    if (other >= 0) return start + other + 1
    from = start
  }
  return position
}

/** Whether what begins at `position` was preallocated, and is no batch. */
export async function isPreallocated(file: File, position: number): Promise<boolean> {
  const byte = Buffer.alloc(1)
  return (await readFully(file, byte, position)) === 1 && byte[0] === FILL_BYTE
}
