import type { LocalLog } from './local-log.ts'
import {
  NOTHING_FREED,
  retentionTarget,
  type FreedSpace,
  type RetentionRequest,
} from './log-retention.ts'
import { isNoRoom } from './owed-recovery.ts'

/**
 * Takes records away from the beginning of a log. Calls must not overlap with each other, nor with
 * other changes of the log.
 */
export class LogDeletion {
  readonly #log: LocalLog
  readonly #saveStart: (logStartOffset: number) => Promise<void>

  /** @param saveStart makes a new start of the log durable, and the one that counts. */
  constructor(log: LocalLog, saveStart: (logStartOffset: number) => Promise<void>) {
    this.#log = log
    this.#saveStart = saveStart
  }

  /** Makes `offset` the start of the log, unless that is beyond it, and removes what lies below. */
  async advanceTo(offset: number): Promise<FreedSpace> {
    const { logStartOffset } = this.#log
    if (offset <= logStartOffset && !this.#hasRemains) return NOTHING_FREED
    return this.#advance(Math.max(offset, logStartOffset))
  }

  /** Deletes what the limits of the log no longer keep; see {@link retentionTarget}. */
  async enforceRetention(request: RetentionRequest): Promise<FreedSpace> {
    const { segments, logEndOffset } = this.#log
    const { offset, isBySize } = await retentionTarget(this.#log, request)
    // A power loss must not take what is kept in place of what goes.
    if (isBySize) await this.#log.flush()
    // The end of the log is the name of a segment then, so no offset is given out again.
    const isEmptied = offset === logEndOffset && (segments.active?.sizeBytes ?? 0) > 0
    if (isEmptied) {
      try {
        await this.#log.roll()
      } catch (error) {
        if (!isNoRoom(error)) throw error
        // What is sealed goes first; the next look finds room for a new segment then.
        const freed = await this.advanceTo(segments.active?.baseOffset ?? 0)
        if (freed.segments === 0) throw error
        return freed
      }
    }
    return this.advanceTo(offset)
  }

  /**
   * Whether there are files of what was deleted before: those that could not be removed, and those of
   * a segment that the start had come to lie in, or behind, while it was the active one.
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
      await this.#decideToStartAt(offset)
    } catch (error) {
      // Even a deletion has to write something first. The indexes of what goes are not needed for it.
      if (!isNoRoom(error) || !(await segments.removeIndexesBelow(offset))) throw error
      await this.#decideToStartAt(offset)
    }
    const freed = await segments.changing(() => segments.removeBelow(offset))
    epochs.truncateFromStart(offset)
    await epochs.write()
    return freed
  }

  async #decideToStartAt(logStartOffset: number): Promise<void> {
    // The record has a checksum and comes first, so a checkpoint beyond it is a damaged one.
    await this.#log.recordSegments(logStartOffset)
    // The state is the decision: bytes that are still there are not records any more.
    await this.#saveStart(logStartOffset)
  }
}
