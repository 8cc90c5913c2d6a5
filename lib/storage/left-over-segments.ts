import type { FileSystem } from '../platform/file-system.ts'
import { orInDoubt } from './in-doubt-error.ts'
import type { LogSegment } from './log-segment.ts'
import { removeSegmentFiles, TRANSACTION_KINDS } from './segment-removal.ts'

/**
 * Segments removed from the end of a log, whose files must be deleted before it grows again. Calls
 * must not overlap.
 */
export class LeftOverSegments {
  readonly #fileSystem: FileSystem
  readonly #dir: string
  readonly #removeLog: (segment: LogSegment) => Promise<void>
  #segments: readonly LogSegment[] = []

  /** @param removeLog closes a segment and deletes its log file and the files rebuilt from that. */
  constructor(
    fileSystem: FileSystem,
    dir: string,
    removeLog: (segment: LogSegment) => Promise<void>,
  ) {
    this.#fileSystem = fileSystem
    this.#dir = dir
    this.#removeLog = removeLog
  }

  /** Segments whose files may still exist. */
  get all(): readonly LogSegment[] {
    return this.#segments
  }

  /** @param segments in deletion order; they are deleted before those added earlier. */
  add(segments: readonly LogSegment[]): void {
    this.#segments = [...segments, ...this.#segments]
  }

  /**
   * Deletes their files. Durable when it resolves, except for the transaction indexes.
   *
   * @throws the error of the file system, after which another call continues; InDoubtError if a
   * sync fails.
   */
  async remove(): Promise<void> {
    for (const segment of this.#segments) {
      await this.#removeLog(segment)
      // Before the next one is deleted: a power loss that undoes one deletion and not another must
      // not leave a later segment without the one before it.
      await orInDoubt('a sync failed', () => this.#fileSystem.syncDirectory(this.#dir))
      // Nor a log in which aborted records appear as committed. Without its log file, the
      // transaction index is deleted by the next open.
      const { baseOffset } = segment
      await removeSegmentFiles(this.#fileSystem, this.#dir, baseOffset, TRANSACTION_KINDS)
      this.#segments = this.#segments.slice(1)
    }
  }
}
