import { readFully } from '../platform/file-io.ts'
import type { File } from '../platform/file-system.ts'
import type { SegmentFile } from './segment-file.ts'

/** Most that a file has of it. The one sync that it is part of would take three times as long with 1 MiB. */
export const MAX_SPACE_BYTES: number = 256 * 1024
/** A broker of Kafka opens no file that is larger. */
const LARGEST_FILE_BYTES = 2 ** 31 - 1
/** What file systems give out. */
const BLOCK_BYTES = 4096
const ZEROS = Buffer.alloc(MAX_SPACE_BYTES)

/** What is asked of the segment whose space it is. */
interface GrowingSegment {
  readonly file: Pick<SegmentFile, 'write' | 'writeNow'>
  /** Where its last batch ends. */
  readonly sizeBytes: number
  /** What of it is covered by a sync. */
  readonly durable: { readonly sizeBytes: number }
}

/**
 * Space behind the last batch of a log file: zeros, which are on the disk before the batches that
 * take their place.
 *
 * A sync of a file that has grown writes its new size and its new blocks to the journal of the file
 * system, and waits for that; one that overwrites what is there does not, and takes two thirds of the
 * time for a small record, half of it for a group of 32 KiB. So a sync of few bytes, which others will
 * follow, takes the space of those along. Never more than the file has already: many small logs do
 * not fill a disk with zeros.
 *
 * The end of a log is the end of its last whole batch, and zeros are none, so after a crash they are
 * what any other torn tail is. Kafka's `preallocate` leaves files like that too, of the full size of a
 * segment and without blocks, which saves nothing here. A segment that is rolled or closed ends behind
 * its last batch again.
 */
export class SpaceAhead {
  readonly #segment: GrowingSegment
  /** Where the file ends at most because of what was taken; 0 when nothing was. */
  #end = 0

  constructor(segment: GrowingSegment) {
    this.#segment = segment
  }

  /** Whether the file may go on behind the last batch. */
  get isTaken(): boolean {
    return this.#end > this.#segment.sizeBytes
  }

  /** Whether the next sync is one that should take some. */
  get isDue(): boolean {
    return this.#dueBytes() > 0
  }

  /** Takes space if that is due. Must not overlap with writes. A failure is none: nothing depends on it. */
  async take(): Promise<void> {
    const dueBytes = this.#dueBytes()
    if (dueBytes <= 0) return
    const { file, sizeBytes } = this.#segment
    this.#end = sizeBytes + dueBytes
    await file.write([ZEROS.subarray(0, dueBytes)], sizeBytes).catch(() => undefined)
  }

  /** The same inside of the call, unless it has to be waited for. */
  takeNow(): void {
    const dueBytes = this.#dueBytes()
    if (dueBytes <= 0) return
    const { file, sizeBytes } = this.#segment
    try {
      if (file.writeNow([ZEROS.subarray(0, dueBytes)], sizeBytes) < 0) return
    } catch {
      // Some of it may have been written all the same.
    }
    this.#end = sizeBytes + dueBytes
  }

  /** The file was cut: it ends behind the last batch. */
  noteCut(): void {
    this.#end = 0
  }

  #dueBytes(): number {
    const { sizeBytes, durable } = this.#segment
    const growthBytes = sizeBytes - durable.sizeBytes
    if (growthBytes <= 0 || growthBytes > MAX_SPACE_BYTES || sizeBytes < this.#end) return 0
    const doubled = Math.ceil((2 * sizeBytes) / BLOCK_BYTES) * BLOCK_BYTES
    const most = Math.floor((sizeBytes + MAX_SPACE_BYTES) / BLOCK_BYTES) * BLOCK_BYTES
    return Math.min(doubled, most, LARGEST_FILE_BYTES) - sizeBytes
  }
}

/** Whether the bytes in [`position`, `end`) may be such space: zeros, and no more than there ever are. */
export async function isSpaceAhead(file: File, position: number, end: number): Promise<boolean> {
  if (end - position > MAX_SPACE_BYTES) return false
  const bytes = Buffer.allocUnsafe(end - position)
  const sizeBytes = await readFully(file, bytes, position)
  return bytes.subarray(0, sizeBytes).equals(ZEROS.subarray(0, sizeBytes))
}
