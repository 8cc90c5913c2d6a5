import { CorruptRecordError } from '../errors.ts'
import { isSystemError, systemError } from '../platform/system-error.ts'
import type { LocalLog } from './local-log.ts'
import type { LogGuard } from './log-guard.ts'
import type { LogState } from './log-state.ts'
import { LogSegment } from './log-segment.ts'
import { readPartitionMetadata } from './partition-metadata.ts'
import type { SegmentOptions } from './segment-options.ts'
import type { LogSegments } from './log-segments.ts'
import { findLogFiles } from './swap-files.ts'

/** What a {@link LogFollower} is given besides the segments that are known. */
export interface LogFollowerOptions extends SegmentOptions {
  /** Everything below this offset is durable, and its indexes are. */
  readonly recoveryPoint: number
  /** Whose log it is; absent where nobody says so. */
  readonly topicId?: string | undefined
  /** Reads what the writer remembers of the log outside of its own files. */
  readonly loadState?: (() => Promise<LogState>) | undefined
}

/**
 * Keeps a read-only view of a log up with the process that writes it: batches that were appended,
 * segments that were rolled, segments that were removed or replaced. What is no whole batch yet is
 * left for the next time. Nothing on disk is changed.
 *
 * Calls of {@link LogFollower.refresh} must not overlap; reads of the segments may.
 */
export class LogFollower {
  readonly #options: LogFollowerOptions
  readonly #log: LocalLog
  readonly #guard: LogGuard
  readonly #segments: LogSegments

  constructor(options: LogFollowerOptions, log: LocalLog, guard: LogGuard) {
    this.#options = options
    this.#log = log
    this.#guard = guard
    this.#segments = log.segments
  }

  /** Looks at the directory and takes in what has changed. @throws {@link StorageError} when the disk fails. */
  async refresh(): Promise<void> {
    const log = this.#log
    const { epochs } = log
    try {
      if (!(await this.#isSameTopic())) return
      const state = await this.#options.loadState?.()
      const knownEndOffset = log.logEndOffset
      let logEndOffset = (await this.#refreshSegments()) ?? 0
      // After the segments: an epoch is in the file before its first batch is written.
      const cutOffset = await epochs.reload()
      log.leaderEpoch = Math.max(0, epochs.latestEpoch)
      if (cutOffset !== null && cutOffset < knownEndOffset) {
        logEndOffset = (await this.#refreshSegments(cutOffset)) ?? 0
      }
      const [first] = this.#segments.all
      const firstOffset = Math.max(state?.logStartOffset ?? 0, first?.baseOffset ?? 0)
      log.logStartOffset = Math.max(log.logStartOffset, firstOffset)
      log.logEndOffset = Math.max(logEndOffset, log.logStartOffset)
      log.durableEndOffset = log.logEndOffset
    } catch (error) {
      // The writer removes segments while they are looked at: the next look sees what is left.
      if (!isSystemError(error, 'ENOENT')) throw this.#guard.failed('refresh', error, 'not-written')
    }
  }

  /**
   * Looks at the directory once. When it rejects, which it may do with `ENOENT` while segments are
   * removed, the view is as before.
   *
   * @param cutOffset what was known from this offset on has been replaced. @defaultValue nothing
   * @returns where the log ends now, `null` when it has no segment.
   */
  async #refreshSegments(cutOffset: number = Infinity): Promise<number | null> {
    const places = await this.#findSegments()
    const sound = this.#segments.all.filter((segment) => segment.nextOffset <= cutOffset)
    const known = new Map(sound.map((segment) => [segment.path, segment]))
    const segments: LogSegment[] = []
    try {
      for (const [slot, place] of places.entries()) {
        const next = places[slot + 1]
        const segment = await this.#follow(place, known.get(place.path), next === undefined)
        if (next !== undefined) segment.nextOffset = next.baseOffset
        segments.push(segment)
      }
      const isNew = segments.some((segment) => known.get(segment.path) !== segment)
      // The directory may have been given to another topic since it was looked at.
      if (isNew && !(await this.#isSameTopic())) throw gone(this.#options.dir)
    } catch (error) {
      for (const segment of segments) {
        if (known.get(segment.path) !== segment) await segment.close()
      }
      throw error
    }
    const isSame =
      segments.length === this.#segments.all.length &&
      segments.every((segment) => known.get(segment.path) === segment)
    if (!isSame) await this.#segments.changing(() => this.#segments.replace(segments))
    return segments.at(-1)?.nextOffset ?? null
  }

  async #findSegments(): Promise<SegmentPlace[]> {
    const { fileSystem, dir } = this.#options
    const places: SegmentPlace[] = []
    for (const { kind, offset, suffix, path } of await findLogFiles(fileSystem, dir)) {
      if (kind !== 'log') continue
      const stat = await fileSystem.stat(path)
      // It has got its name, or is gone. Without it the log would seem to begin behind it.
      if (stat === null) throw systemError('ENOENT', 'stat', path, 'it was in the list')
      const { sizeBytes, identity } = stat
      places.push({ baseOffset: offset, suffix, path, sizeBytes, identity })
    }
    return places
  }

  async #follow(
    place: SegmentPlace,
    known: LogSegment | undefined,
    isLast: boolean,
  ): Promise<LogSegment> {
    const { sizeBytes, identity } = place
    if (known !== undefined) {
      // What is no longer the last one does not grow. Compaction may have put another file in its place,
      // which may have the size that was known of it when it did.
      const isSame = known.sizeBytes === sizeBytes && known.file.identity === identity
      if (!isLast && isSame) return known
      // An unclean open gives an empty segment a new file, and what is open would stay empty.
      if (isLast && (await known.file.isInPlace()) && (await known.follow(sizeBytes))) return known
    }
    const segment = new LogSegment(place.baseOffset, this.#options, place.suffix)
    segment.sizeBytes = sizeBytes
    segment.file.identity = identity
    if (!isLast) return segment
    try {
      await segment.recover(sizeBytes, this.#options.recoveryPoint)
      return segment
    } catch (error) {
      await segment.close()
      throw error
    }
  }

  /**
   * Whether the directory does not belong to a later topic of the same name, whose records are for the
   * list of topics to tell.
   *
   * One that names no topic, or whose file is damaged, does not: whoever makes a topic writes the file,
   * in one step, before there is anything else in the directory, and removes it behind all else. So
   * what lies in a directory without it was there before, as with brokers older than the file.
   */
  async #isSameTopic(): Promise<boolean> {
    const { fileSystem, dir, topicId } = this.#options
    if (topicId === undefined) return true
    try {
      const metadata = await readPartitionMetadata(fileSystem, dir)
      return metadata === null || metadata.topicId === topicId
    } catch (error) {
      if (error instanceof CorruptRecordError) return true
      throw error
    }
  }
}

/** Tells that the files that were known are there no more, whatever has their names. */
function gone(dir: string): Error {
  return systemError('ENOENT', 'open', dir, 'it belongs to another topic by now')
}

interface SegmentPlace {
  readonly baseOffset: number
  readonly suffix: string
  readonly path: string
  readonly sizeBytes: number
  readonly identity: string
}
