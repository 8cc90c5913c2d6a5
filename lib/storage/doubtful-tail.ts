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

/** Where what is durable of a log ends in its files, and what becomes of the rest after a failed sync. */
export class DoubtfulTail {
  /** Where the durable end lies in the files; `null` while that is not known. */
  durablePosition: LogPosition | null = null
  readonly #mark: DurableEndFile

  constructor(fileSystem: FileSystem, dir: string) {
    this.#mark = new DurableEndFile(fileSystem, dir)
  }

  /**
   * After an InDoubtError: drops from memory, and if possible from the file, what may not be on
   * disk, and leaves a mark for the next open, which may find the file uncut.
   */
  async drop(log: DoubtfulLog, error: InDoubtError): Promise<void> {
    const { segments, durableEndOffset, leaderEpoch } = log
    const position = this.durablePosition
    log.logEndOffset = durableEndOffset
    // Whatever has the name now is not ours to mark or to cut.
    if (error instanceof LogGoneError || !(await segments.isOurs())) return
    if (position !== null) await this.#mark.leave({ ...position, leaderEpoch }).catch(() => null)
    // What is cut from a segment while a later one is still there would be a hole.
    if (segments.hasLeftOvers) return
    // The page cache shows what a failed sync has lost as if it were there, also to the next open.
    await segments.changing(async () => {
      await segments.active?.truncateTo(durableEndOffset)
    })
  }

  /** Leaves the mark that a failure has prevented, if there is one and the disk obeys by now. */
  async leaveOwedMark(segments: LogSegments): Promise<void> {
    if (await segments.isOurs()) await this.#mark.leaveOwed().catch(() => undefined)
  }
}
