import { CorruptRecordError } from '../errors.ts'
import { readFully, readWholeFile, writeFully } from '../platform/file-io.ts'
import type { File, FileSystem } from '../platform/file-system.ts'
import { isSystemError } from '../platform/system-error.ts'

/** A larger file is not read but rebuilt, unless the configuration allows for its size. */
const LARGEST_EXPECTED_BYTES = 16 * 1024 * 1024

/**
 * Number of bytes, about eight entries, that {@link IndexFile.loadEnd} reads of a larger file.
 * Reading a disk block would cost the same, but checking it takes ten times as long in code that is
 * not yet compiled.
 */
const END_BYTES = 96

/** Location and maximum size of an index. */
export interface IndexFileOptions {
  readonly fileSystem: FileSystem
  readonly path: string
  /** Base offset of the segment: entries hold offsets relative to it. */
  readonly baseOffset: number
  /** Maximum size in bytes; rounded down to whole entries. */
  readonly maxIndexBytes: number
}

/**
 * Entries of a fixed size, kept in memory and written to their file from time to time.
 *
 * An index is derived from the log and has no checksum. It is a hint that is checked against the
 * log whenever it is used, and rebuilt if it is missing or does not match. Losing unwritten entries
 * costs only a scan of the log. So nothing waits for an index to reach the disk except the recovery
 * point, which promises that the indexes below it exist.
 *
 * Appends need only the last entries, so {@link IndexFile.loadEnd} reads no more, however large the
 * file is. Lookups have to wait for {@link IndexFile.complete}.
 *
 * Appends and lookups are synchronous. Loads must not overlap with each other or with writes.
 * During {@link IndexFile.complete} and {@link IndexFile.write} entries may be added, and the two
 * may overlap.
 */
export abstract class IndexFile {
  readonly path: string
  readonly baseOffset: number
  readonly maxEntries: number
  /** Entries [#firstSlot, count), and room for more. */
  protected entries: Buffer = NO_BYTES
  /** Entries below this slot are in the file only. */
  #firstSlot = 0
  #count = 0
  /** Entries [0, this) are the same in the file and in memory. */
  #writtenCount = 0
  /**
   * Size of the file, including bytes beyond `#writtenCount`; -1 if it is missing, `null` if
   * unknown.
   */
  #fileSizeBytes: number | null = -1
  /**
   * Whether the file was synced. What a killed process has written may only be in the page cache.
   */
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

  /** Size of the entries on disk. */
  get sizeBytes(): number {
    return this.#count * this.#entrySizeBytes
  }

  /** Whether all entries are in memory. */
  get isComplete(): boolean {
    return this.#firstSlot === 0
  }

  /** Whether the file exists and matches memory. */
  get isWritten(): boolean {
    return this.#writtenCount === this.#count && this.#fileSizeBytes === this.sizeBytes
  }

  /** Bytes of memory in use. */
  get memoryBytes(): number {
    return this.entries.length
  }

  /** Whether no further entry fits. */
  abstract get isFull(): boolean

  /** Whether the entry at `slot` may follow the one before it. */
  protected abstract isInOrder(slot: number): boolean

  /** Reads the file; entries in memory are dropped. @returns false if it is missing or damaged */
  async load(): Promise<boolean> {
    this.#drop()
    const content = await this.#readFile()
    if (content === null || content.length % this.#entrySizeBytes !== 0) return false
    this.entries = content
    const count = this.#countEntries(content)
    if (count === null) return false
    // A preallocated file consists mostly of zeros, which need not stay in memory.
    if (count < content.length / this.#entrySizeBytes) {
      this.entries = Buffer.from(content.subarray(0, count * this.#entrySizeBytes))
    }
    this.#count = count
    this.#writtenCount = count
    return true
  }

  /**
   * Reads the last entries of the file and leaves the others to {@link IndexFile.complete}. If the
   * file does not end with entries in order, all of it is read. @returns as {@link IndexFile.load}
   */
  async loadEnd(): Promise<boolean> {
    this.#drop()
    const file = await this.#openOrNull()
    if (file === null) return false
    return (await this.#readEnd(file).finally(() => file.close())) || this.load()
  }

  async #readEnd(file: File): Promise<boolean> {
    const { sizeBytes } = await file.stat()
    const slots = sizeBytes / this.#entrySizeBytes
    const mostEntries = Math.floor(END_BYTES / this.#entrySizeBytes)
    const firstSlot = Math.max(0, slots - mostEntries)
    if (!Number.isInteger(slots) || sizeBytes > this.#limitBytes) return false
    const content = Buffer.allocUnsafeSlow((slots - firstSlot) * this.#entrySizeBytes)
    const readBytes = await readFully(file, content, firstSlot * this.#entrySizeBytes)
    if (readBytes < content.length) return false
    this.entries = content
    this.#firstSlot = firstSlot
    for (let slot = firstSlot === 0 ? 0 : firstSlot + 1; slot < slots; slot += 1) {
      if (!this.isInOrder(slot)) return false
    }
    this.#fileSizeBytes = sizeBytes
    this.#count = slots
    this.#writtenCount = slots
    return true
  }

  /**
   * Reads the entries that {@link IndexFile.loadEnd} has left in the file.
   *
   * @returns false, without a change, if they are missing or out of order.
   */
  async complete(): Promise<boolean> {
    const firstSlot = this.#firstSlot
    if (firstSlot === 0) return true
    const file = await this.#openOrNull()
    if (file === null) return false
    const head = Buffer.allocUnsafeSlow(firstSlot * this.#entrySizeBytes)
    const readBytes = await readFully(file, head, 0).finally(() => file.close())
    if (readBytes < head.length) return false
    const end = this.entries
    const endBytes = (this.#count - firstSlot) * this.#entrySizeBytes
    const whole = Buffer.allocUnsafeSlow(head.length + endBytes)
    head.copy(whole)
    end.copy(whole, head.length, 0, endBytes)
    this.entries = whole
    this.#firstSlot = 0
    for (let slot = 0; slot <= firstSlot; slot += 1) {
      if (this.isInOrder(slot)) continue
      this.entries = end
      this.#firstSlot = firstSlot
      return false
    }
    return true
  }

  /** A file is larger than the limit if the limit was lowered since it was written. */
  get #limitBytes(): number {
    return Math.max(LARGEST_EXPECTED_BYTES, this.maxEntries * this.#entrySizeBytes)
  }

  #drop(): void {
    this.entries = NO_BYTES
    this.#firstSlot = 0
    this.#count = 0
    this.#writtenCount = 0
    this.#fileSizeBytes = -1
    this.#isSynced = false
  }

  async #openOrNull(): Promise<File | null> {
    try {
      return await this.#fileSystem.open(this.path, 'read')
    } catch (error) {
      if (isSystemError(error, 'ENOENT')) return null
      throw error
    }
  }

  /** The content; `null` if the file is missing or too large. */
  async #readFile(): Promise<Buffer | null> {
    try {
      const content = await readWholeFile(this.#fileSystem, this.path, this.#limitBytes)
      this.#fileSizeBytes = content?.length ?? -1
      return content
    } catch (error) {
      if (!(error instanceof CorruptRecordError)) throw error
      this.#fileSizeBytes = null
      return null
    }
  }

  /** Number of entries up to the end, or to trailing zeros; `null` if they are out of order. */
  #countEntries(content: Buffer): number | null {
    const slots = content.length / this.#entrySizeBytes
    let count = 0
    while (count < slots && this.isInOrder(count)) count += 1
    if (count === slots) return count
    // Kafka preallocates indexes: after a crash of its broker, zeros follow the entries. A first
    // entry of zeros that is followed by zeros only is not an entry either.
    const isPreallocated = isZero(content, count * this.#entrySizeBytes)
    if (!isPreallocated) return null
    return count === 1 && isZero(content, 0) ? 0 : count
  }

  /** Makes room for one more entry and returns its position in {@link IndexFile.entries}. */
  protected claimSlot(): number {
    const position = this.positionOf(this.#count)
    if (position + this.#entrySizeBytes > this.entries.length) {
      const grown = Buffer.alloc(Math.max(this.entries.length * 2, 64 * this.#entrySizeBytes))
      this.entries.copy(grown, 0, 0, position)
      this.entries = grown
    }
    this.#count += 1
    return position
  }

  /** Position of the entry in `slot` in {@link IndexFile.entries}. */
  protected positionOf(slot: number): number {
    return (slot - this.#firstSlot) * this.#entrySizeBytes
  }

  /** Drops all entries from slot `count` on. The next {@link IndexFile.write} updates the file. */
  protected keepFirst(count: number): void {
    if (count >= this.#count) return
    this.#count = count
    this.#writtenCount = Math.min(this.#writtenCount, count)
  }

  /** Drops all entries. */
  clear(): void {
    this.keepFirst(0)
    this.#firstSlot = 0
    this.entries = NO_BYTES
  }

  /**
   * Updates the file from memory, truncates it to the entries, and makes it durable. The caller has
   * to sync the directory.
   *
   * A crash may interrupt it anywhere, or the disk be full: entries that are promised by the recovery
   * point stay in the file, and those that do not belong there are above it.
   *
   * @returns whether the file did not exist before.
   */
  async write(): Promise<boolean> {
    // Entries added from now on are left to the next write.
    const count = this.#count
    const fileSizeBytes = this.#fileSizeBytes
    if (this.isWritten && this.#isSynced) return false
    const isNew = fileSizeBytes === null || fileSizeBytes < 0
    const file = await this.#fileSystem.open(this.path, 'create')
    this.#fileSizeBytes = null
    try {
      const from = this.#writtenCount * this.#entrySizeBytes
      // Obsolete entries must not remain after the new ones.
      if (!isNew && fileSizeBytes !== from) await file.truncate(from)
      const added = this.entries.subarray(
        this.positionOf(this.#writtenCount),
        this.positionOf(count),
      )
      if (added.length > 0) await writeFully(file, [added], from)
      // After a failure, or a rebuild, the promised entries are above `from` as well, and are written
      // over.
      if (isNew) await file.truncate(count * this.#entrySizeBytes)
      await file.datasync()
    } catch (error) {
      // After a failed sync the pages count as clean: only bytes that are written again reach the
      // disk. Entries that are only in the file were not written by this object.
      this.#writtenCount = this.#firstSlot
      throw error
    } finally {
      await file.close()
    }
    this.#writtenCount = count
    this.#fileSizeBytes = count * this.#entrySizeBytes
    this.#isSynced = true
    return isNew
  }

  /** Notes that the content read from the file is covered by a sync. */
  noteSynced(): void {
    this.#isSynced = true
  }

  /**
   * The largest slot with `compare(slot) <= 0`, so that its entry is at most the target; -1 for
   * none.
   */
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

const NO_BYTES = Buffer.alloc(0)

function isZero(bytes: Buffer, from: number): boolean {
  for (let position = from; position < bytes.length; position += 1) {
    if (bytes[position] !== 0) return false
  }
  return true
}
