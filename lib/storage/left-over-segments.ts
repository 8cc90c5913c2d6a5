import type { FileSystem } from '../platform/file-system.ts'
import { orInDoubt } from './in-doubt-error.ts'
import type { LogSegment } from './log-segment.ts'
import { removeSegmentFiles, TRANSACTION_KINDS } from './segment-removal.ts'

/**
 * Segments that were taken from the end of a log: their files must go before it grows again. Calls must
 * not overlap.
 */
export class LeftOverSegments {
  readonly #fileSystem: FileSystem
  readonly #dir: string
  readonly #removeLog: (segment: LogSegment) => Promise<void>
  #segments: readonly LogSegment[] = []

  /** @param removeLog closes a segment and removes its log file and what is made anew from that. */
  constructor(
    fileSystem: FileSystem,
    dir: string,
    removeLog: (segment: LogSegment) => Promise<void>,
  ) {
    this.#fileSystem = fileSystem
    this.#dir = dir
    this.#removeLog = removeLog
  }

  /** Those whose files may still be there. */
  get all(): readonly LogSegment[] {
    return this.#segments
  }

  /** @param segments in the order in which they are to go, before those that are left already. */
  add(segments: readonly LogSegment[]): void {
    this.#segments = [...segments, ...this.#segments]
  }

  /**
   * Removes their files; durable when it resolves, but for what is noted of their transactions.
   *
   * @throws what the file system says, after which another call goes on; InDoubtError when a sync fails.
   */
  async remove(): Promise<void> {
    for (const segment of this.#segments) {
      await this.#removeLog(segment)
      // Before the next is removed: a power loss that takes back one removal and not another must
      // not leave a later segment without the one before it.
      await orInDoubt('a sync failed', () => this.#fileSystem.syncDirectory(this.#dir))
      // Nor a log in which what was aborted shows as committed. Without a log it goes at the next open.
      const { baseOffset } = segment
      await removeSegmentFiles(this.#fileSystem, this.#dir, baseOffset, TRANSACTION_KINDS)
      this.#segments = this.#segments.slice(1)
    }
  }
}
