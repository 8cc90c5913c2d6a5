import type { LocalLog } from './local-log.ts'
import {
  NOTHING_FREED,
  retentionTarget,
  type FreedSpace,
  type RetentionRequest,
} from './log-retention.ts'
import { isNoRoom } from './owed-recovery.ts'

/**
 * Deletes records from the beginning of a log. Calls must not overlap with each other, nor with
 * other changes of the log.
 */
export class LogDeletion {
  readonly #log: LocalLog
  readonly #saveStart: (logStartOffset: number) => Promise<void>

  /** @param saveStart makes a new log start offset durable and effective. */
  constructor(log: LocalLog, saveStart: (logStartOffset: number) => Promise<void>) {
    this.#log = log
    this.#saveStart = saveStart
  }

  /** Raises the log start offset to `offset`, if that is higher, and removes the segments below. */
  async advanceTo(offset: number): Promise<FreedSpace> {
    const { logStartOffset } = this.#log
    if (offset <= logStartOffset && !this.#hasRemains) return NOTHING_FREED
    return this.#advance(Math.max(offset, logStartOffset))
  }

  /** Deletes what exceeds the limits of the log; see {@link retentionTarget}. */
  async enforceRetention(request: RetentionRequest): Promise<FreedSpace> {
    const { segments, logEndOffset } = this.#log
    const { offset, isBySize } = await retentionTarget(this.#log, request)
    // Otherwise a power loss could take the kept records as well as the deleted ones.
    if (isBySize) await this.#log.flush()
    // If everything goes, the name of a new segment keeps the log end offset: no offset is reused.
    const isEmptied = offset === logEndOffset && (segments.active?.sizeBytes ?? 0) > 0
    if (isEmptied) {
      try {
        await this.#log.roll()
      } catch (error) {
        if (!isNoRoom(error)) throw error
        // Delete sealed segments first; the next check then finds room for a new segment.
        const freed = await this.advanceTo(segments.active?.baseOffset ?? 0)
        if (freed.segments === 0) throw error
        return freed
      }
    }
    return this.advanceTo(offset)
  }

  /**
   * Whether files of earlier deletions exist: files that could not be removed, and those of a
   * segment that was active when the log start offset moved into it or beyond it.
   */
  get #hasRemains(): boolean {
    const { segments, logStartOffset } = this.#log
    return segments.dead.length > 0 || segments.hasBelow(logStartOffset)
  }

  async #advance(offset: number): Promise<FreedSpace> {
    const { segments, epochs } = this.#log
    // Otherwise a power loss might leave a log that ends before it starts.
    if (offset > this.#log.durableEndOffset) await this.#log.flush()
    try {
      await this.#makeRoomToStartAt(offset)
    } catch (error) {
      // The record may have had room for this where the checkpoint had none. The next open would
      // obey it, and carry out what is refused here. It is taken back as far as possible.
      await this.#log.recordSegments().catch(() => undefined)
      throw error
    }
    const freed = await segments.changing(() => segments.removeBelow(offset))
    epochs.truncateFromStart(offset)
    await epochs.write()
    return freed
  }

  async #makeRoomToStartAt(logStartOffset: number): Promise<void> {
    try {
      await this.#decideToStartAt(logStartOffset)
    } catch (error) {
      // Even a deletion has to write first. The indexes of the deleted segments can be removed for
      // that.
      const { segments } = this.#log
      if (!isNoRoom(error) || !(await segments.removeIndexesBelow(logStartOffset))) throw error
      await this.#decideToStartAt(logStartOffset)
    }
  }

  async #decideToStartAt(logStartOffset: number): Promise<void> {
    // The record has a checksum and is written first, so a checkpoint beyond it is damaged.
    await this.#log.recordSegments(logStartOffset)
    // Saving the state commits the deletion: bytes that still exist are no longer records.
    await this.#saveStart(logStartOffset)
  }
}
