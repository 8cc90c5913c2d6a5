import type { FileSystem } from '../platform/file-system.ts'
import { DurableEndFile, type LogPosition } from './durable-end.ts'
import { LogGoneError, type InDoubtError } from './in-doubt-error.ts'
import type { LogSegments } from './log-segments.ts'

/** A log whose last bytes may not be on disk. */
interface DoubtfulLog {
  readonly segments: LogSegments
  readonly durableEndOffset: number
  readonly leaderEpoch: number
  logEndOffset: number
}

/** Tracks the position of the durable end, and handles the bytes beyond it after a failed sync. */
export class DoubtfulTail {
  /** Position of the durable end in the files; `null` while it is unknown. */
  durablePosition: LogPosition | null = null
  readonly #mark: DurableEndFile

  constructor(fileSystem: FileSystem, dir: string) {
    this.#mark = new DurableEndFile(fileSystem, dir)
  }

  /**
   * Called after an InDoubtError. Drops the bytes that may not be on disk from memory, and from the
   * file if possible. Leaves a mark for the next open, which may find the file not truncated.
   */
  async drop(log: DoubtfulLog, error: InDoubtError): Promise<void> {
    const { segments, durableEndOffset, leaderEpoch } = log
    const position = this.durablePosition
    log.logEndOffset = durableEndOffset
    // Another file may have the name by now: it must not be marked or truncated.
    if (error instanceof LogGoneError || !(await segments.isOurs())) return
    if (position !== null) await this.#mark.leave({ ...position, leaderEpoch }).catch(() => null)
    // Truncating a segment while a later one still exists would leave a hole.
    if (segments.hasLeftOvers) return
    // After a failed sync the page cache still shows the lost bytes, even to the next open.
    await segments.changing(async () => {
      await segments.active?.truncateTo(durableEndOffset)
    })
  }

  /** Writes the mark that a failure has prevented, if there is one and the disk works again. */
  async leaveOwedMark(segments: LogSegments): Promise<void> {
    if (await segments.isOurs()) await this.#mark.leaveOwed().catch(() => undefined)
  }
}
