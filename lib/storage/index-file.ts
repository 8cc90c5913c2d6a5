import { CorruptRecordError } from '../errors.ts'
import { readWholeFile, writeFully } from '../platform/file-io.ts'
import type { FileSystem } from '../platform/file-system.ts'

/** No memory is taken for a larger file, unless the configuration allows for it: it is built anew. */
const LARGEST_EXPECTED_BYTES = 16 * 1024 * 1024

/** Where an index lives and how large it may grow. */
export interface IndexFileOptions {
  readonly fileSystem: FileSystem
  readonly path: string
  /** Base offset of the segment: entries hold offsets relative to it. */
  readonly baseOffset: number
  /** Largest size, bytes; rounded down to whole entries. */
  readonly maxIndexBytes: number
}

/** What {@link IndexFile.load} found. `corrupt` and `missing` leave the index empty. */
export type IndexLoadResult = 'loaded' | 'missing' | 'corrupt'

/**
 * Entries of a fixed size, kept in memory and written to their file from time to time.
 *
 * An index is derived from the log and holds no checksum: it is a hint, checked against the log
 * wherever it is used, and rebuilt where it is missing or does not fit. Losing the entries that
 * were not written yet costs a scan of the log and nothing else, so nothing waits for an index to
 * reach the disk except the recovery point, which promises that the indexes below it are there.
 *
 * Appends and lookups are synchronous. Loads and writes must not overlap.
 */
export abstract class IndexFile {
  readonly path: string
  readonly baseOffset: number
  readonly maxEntries: number
  protected entries: Buffer = Buffer.alloc(0)
  #count = 0
  /** Entries [0, this) stand in the file as they are in memory. */
  #writtenCount = 0
  /** What the file holds, also beyond `#writtenCount`; -1 while there is none, `null` if unknown. */
  #fileSizeBytes: number | null = -1
  /** Whether a sync covered what the file holds. What a killed process has left may be in memory alone. */
  #isSynced = false
  readonly #fileSystem: FileSystem
  readonly #entrySizeBytes: number

  constructor(options: IndexFileOptions, entrySizeBytes: number) {
    this.#fileSystem = options.fileSystem
    this.path = options.path
    this.baseOffset = options.baseOffset
    this.#entrySizeBytes = entrySizeBytes
    this.maxEntries = Math.floor(options.maxIndexBytes / entrySizeBytes)
  }

  /** Number of entries. */
  get count(): number {
    return this.#count
  }

  /** Size the entries take on disk. */
  get sizeBytes(): number {
    return this.#count * this.#entrySizeBytes
  }

  /** Whether no further entry fits. */
  abstract get isFull(): boolean

  /** Whether the entry at `slot` may stand behind the one before it. */
  protected abstract isInOrder(slot: number): boolean

  /** Reads the file. What is in memory is dropped. */
  async load(): Promise<IndexLoadResult> {
    this.#count = 0
    this.#writtenCount = 0
    this.#isSynced = false
    const content = await this.#readFile()
    if (typeof content === 'string') return content
    if (content.length % this.#entrySizeBytes !== 0) return 'corrupt'
    this.entries = content
    const count = this.#countEntries(content)
    if (count === null) return 'corrupt'
    // A preallocated file is mostly zeros, which need not stay in memory.
    this.entries = Buffer.from(content.subarray(0, count * this.#entrySizeBytes))
    this.#count = count
    this.#writtenCount = count
    return 'loaded'
  }

  async #readFile(): Promise<Buffer | 'missing' | 'corrupt'> {
    // A file may be larger than the limit when the limit was lowered since it was written.
    const limitBytes = Math.max(LARGEST_EXPECTED_BYTES, this.maxEntries * this.#entrySizeBytes)
    try {
      const content = await readWholeFile(this.#fileSystem, this.path, limitBytes)
      this.#fileSizeBytes = content?.length ?? -1
      return content ?? 'missing'
    } catch (error) {
      if (!(error instanceof CorruptRecordError)) throw error
      this.#fileSizeBytes = null
      return 'corrupt'
    }
  }

  /** Number of entries before the end or before nothing but zeros; `null` if they are in disorder. */
  #countEntries(content: Buffer): number | null {
    const slots = content.length / this.#entrySizeBytes
    let count = 0
    while (count < slots && this.isInOrder(count)) count += 1
    if (count === slots) return count
    // Kafka preallocates indexes: after a crash of its broker zeros stand behind the entries. A
    // first entry of zeros that is followed by others is none either.
    const isPreallocated = isZero(content, count * this.#entrySizeBytes)
    if (!isPreallocated) return null
    return count === 1 && isZero(content, 0) ? 0 : count
  }

  /** Makes room for one more entry and returns its position in {@link IndexFile.entries}. */
  protected claimSlot(): number {
    const position = this.#count * this.#entrySizeBytes
    if (position + this.#entrySizeBytes > this.entries.length) {
      const grown = Buffer.alloc(Math.max(this.entries.length * 2, 64 * this.#entrySizeBytes))
      this.entries.copy(grown, 0, 0, position)
      this.entries = grown
    }
    this.#count += 1
    return position
  }

  /** Drops all entries from slot `count` on. The file follows with the next {@link IndexFile.write}. */
  protected keepFirst(count: number): void {
    if (count >= this.#count) return
    this.#count = count
    this.#writtenCount = Math.min(this.#writtenCount, count)
  }

  /** Drops all entries. */
  clear(): void {
    this.keepFirst(0)
  }

  /**
   * Brings the file up to date with memory, as small as the entries, and makes it durable. The
   * directory entry is the caller's duty.
   *
   * @returns whether the file did not exist before.
   */
  async write(): Promise<boolean> {
    const sizeBytes = this.sizeBytes
    const fileSizeBytes = this.#fileSizeBytes
    const isWritten = this.#writtenCount === this.#count && fileSizeBytes === sizeBytes
    if (isWritten && this.#isSynced) return false
    const isNew = fileSizeBytes === null || fileSizeBytes < 0
    const file = await this.#fileSystem.open(this.path, 'create')
    this.#fileSizeBytes = null
    try {
      const from = this.#writtenCount * this.#entrySizeBytes
      // An entry that is no longer true must not survive behind the new ones.
      if (fileSizeBytes !== from) await file.truncate(from)
      if (sizeBytes > from) await writeFully(file, [this.entries.subarray(from, sizeBytes)], from)
      await file.datasync()
    } catch (error) {
      // Pages of a sync that failed count as clean: only bytes written again reach the disk.
      this.#writtenCount = 0
      throw error
    } finally {
      await file.close()
    }
    this.#writtenCount = sizeBytes / this.#entrySizeBytes
    this.#fileSizeBytes = sizeBytes
    this.#isSynced = true
    return isNew
  }

  /** The largest slot whose entry is at most the target, by `compare(slot) <= 0`; -1 when none is. */
  protected floorSlot(compare: (slot: number) => number): number {
    let low = 0
    let high = this.#count - 1
    while (low <= high) {
      const middle = (low + high) >>> 1
      if (compare(middle) <= 0) low = middle + 1
      else high = middle - 1
    }
    return high
  }
}

function isZero(bytes: Buffer, from: number): boolean {
  for (let position = from; position < bytes.length; position += 1) {
    if (bytes[position] !== 0) return false
  }
  return true
}
