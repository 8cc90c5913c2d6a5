import { join } from 'node:path'
import { CorruptRecordError } from '../errors.ts'
import { readWholeFile, writeFully } from '../platform/file-io.ts'
import type { FileSystem } from '../platform/file-system.ts'
import { crc32c } from '../record/crc32c.ts'

/** Name of the file in a partition's directory. A Kafka broker ignores files it does not know. */
export const DURABLE_END_FILE = 'varve-durable-end'

const VERSION = 1
const MAX_FILE_BYTES = 4096
const CONTENT = /^varve-durable-end (\d{1,9}) ([0-9a-f]{8})\n(\d+) (\d+) (\d+) (\d+)\n$/

/** A position in a log: an offset, and where it is in the files. */
export interface LogPosition {
  readonly offset: number
  /** Base offset of the segment. */
  readonly segment: number
  /** Number of bytes of the segment below the offset. */
  readonly position: number
}

/** The durable end of a log whose sync failed. */
export interface DurableEnd extends LogPosition {
  /** Epoch of the failed log. The log that obeys the mark continues with a later one. */
  readonly leaderEpoch: number
}

/**
 * The mark that a failed sync leaves: the durable end of the log.
 *
 * ```
 * varve-durable-end 1 9ae2c5f1    format version, CRC-32C of everything after this line
 * 120 97 4096 3                   offset, base offset of its segment, position there, leader epoch
 * ```
 *
 * After a failed sync the page cache shows bytes that are not on disk. The next process sees them
 * too, and its syncs succeed, because the pages count as clean. The mark is meant for that process.
 * A power loss, which may lose the mark, also clears the page cache.
 */
export class DurableEndFile {
  readonly path: string
  readonly #fileSystem: FileSystem
  readonly #dir: string
  #owed: DurableEnd | null = null

  constructor(fileSystem: FileSystem, dir: string) {
    this.#fileSystem = fileSystem
    this.#dir = dir
    this.path = join(dir, DURABLE_END_FILE)
  }

  /** Reads the mark; `null` if there is none, or it was not completely written. */
  async read(): Promise<DurableEnd | null> {
    let content: Buffer | null
    try {
      content = await readWholeFile(this.#fileSystem, this.path, MAX_FILE_BYTES)
    } catch (error) {
      // Larger than any mark.
      if (error instanceof CorruptRecordError) return null
      throw error
    }
    const match = CONTENT.exec(content?.toString('latin1') ?? '')
    if (match === null || Number(match[1]) !== VERSION) return null
    const numbers = match.slice(3).map(Number) as [number, number, number, number]
    const [offset, segment, position, leaderEpoch] = numbers
    const end = { offset, segment, position, leaderEpoch }
    const isSane = Object.values(end).every(Number.isSafeInteger) && match[2] === checksum(end)
    return isSane ? end : null
  }

  /**
   * Reads the mark, unless it was already obeyed: a power loss may restore it after that, and
   * records appended since then must not be truncated.
   *
   * @param latestEpoch the latest epoch of the log's records. Records after a mark have a later
   * one.
   * @param durableEnd offset up to which the log was last known to be durable.
   */
  async readUnlessObeyed(latestEpoch: number, durableEnd: number): Promise<DurableEnd | null> {
    const end = await this.read()
    if (end === null || end.leaderEpoch < latestEpoch || end.offset < durableEnd) return null
    return end
  }

  /**
   * Writes the mark as far as the disk permits. It is useful to the next process even if it is not
   * synced, so only a failed write prevents its rename into place. After such a failure the mark is
   * owed, see {@link DurableEndFile.leaveOwed}.
   */
  async leave(end: DurableEnd): Promise<void> {
    this.#owed = end
    const temporaryPath = `${this.path}.tmp`
    const file = await this.#fileSystem.open(temporaryPath, 'create')
    try {
      await file.truncate(0)
      await writeFully(file, [Buffer.from(contentOf(end), 'latin1')], 0)
      await file.sync().catch(() => undefined)
    } finally {
      await file.close().catch(() => undefined)
    }
    await this.#fileSystem.rename(temporaryPath, this.path)
    this.#owed = null
    await this.#fileSystem.syncDirectory(this.#dir).catch(() => undefined)
  }

  /** Tries again to write an owed mark. */
  async leaveOwed(): Promise<void> {
    if (this.#owed !== null) await this.leave(this.#owed)
  }

  /** Removes the mark, if there is one. Durable when it resolves. */
  async remove(): Promise<void> {
    if ((await this.#fileSystem.stat(this.path)) === null) return
    await this.#fileSystem.unlink(this.path)
    await this.#fileSystem.syncDirectory(this.#dir)
  }
}

function contentOf(end: DurableEnd): string {
  return `varve-durable-end ${VERSION} ${checksum(end)}\n${lineOf(end)}`
}

function lineOf({ offset, segment, position, leaderEpoch }: DurableEnd): string {
  return `${offset} ${segment} ${position} ${leaderEpoch}\n`
}

function checksum(end: DurableEnd): string {
  return crc32c(Buffer.from(lineOf(end), 'latin1'))
    .toString(16)
    .padStart(8, '0')
}
