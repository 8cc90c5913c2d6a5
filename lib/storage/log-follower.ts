import { join } from 'node:path'
import { CorruptRecordError } from '../errors.ts'
import { isSystemError, systemError } from '../platform/system-error.ts'
import type { LocalLog } from './local-log.ts'
import type { LogGuard } from './log-guard.ts'
import { ensureDeleted } from './log-inventory.ts'
import type { LogState } from './log-state.ts'
import { segmentFilePath } from './log-files.ts'
import { LogSegment } from './log-segment.ts'
import { isOfAnotherTopic } from './partition-metadata.ts'
import { auditFollowed, breachError, uncoveredOffset, type SegmentBreach } from './segment-audit.ts'
import type { SegmentOptions } from './segment-options.ts'
import { SegmentRecordFile, SEGMENTS_FILE, type SegmentRecord } from './segment-record.ts'
import type { LogSegments } from './log-segments.ts'
import { findLogFiles } from './swap-files.ts'

/** What a {@link LogFollower} is given besides the segments that are known. */
export interface LogFollowerOptions extends SegmentOptions {
  /** Everything below this offset is durable, and its indexes are. */
  readonly recoveryPoint: number
  /** Reads what the writer remembers of the log outside of its own files. */
  readonly loadState?: (() => Promise<LogState>) | undefined
}

/**
 * Keeps a read-only view of a log up with the process that writes it: batches that were appended,
 * segments that were rolled, segments that were removed or replaced. What is no whole batch yet is
 * left for the next time. Nothing on disk is changed.
 *
 * Where a segment is not there though the writer has it on record, the log is damaged, and ends before it,
 * until the writer has it on record no more. Damage that was found by opening the log is for good.
 *
 * Calls of {@link LogFollower.refresh} must not overlap; reads of the segments may.
 */
export class LogFollower {
  readonly #options: LogFollowerOptions
  readonly #log: LocalLog
  readonly #guard: LogGuard
  readonly #segments: LogSegments
  /** What the last look that could tell has found wrong; it is believed when it is found once more. */
  #suspicion: string | null = null
  /** Where the last such look has found no file, see {@link uncoveredOffset}; believed in the same way. */
  #uncovered: number | null = null
  /** Where the log was cut since the last look that has come to its end: the epochs tell it once. */
  #cutOffset = Infinity
  /**
   * Which record the last look at all segments has met, where it has found nothing wrong, under way or of
   * somebody else: as long as that is the record, only the last segment changes. `null` where it has.
   */
  #settledAt: string | null = null
  /** The damage that was found here; `null` while there is none. */
  #damage: CorruptRecordError | null = null

  constructor(options: LogFollowerOptions, log: LocalLog, guard: LogGuard) {
    this.#options = options
    this.#log = log
    this.#guard = guard
    this.#segments = log.segments
  }

  /**
   * Looks at the directory and takes in what has changed.
   *
   * @param isQuick whether it is enough to take in what the writer has done. Then the sealed segments are not
   * asked for their sizes where his record says that they are as they were; damage is left for other looks.
   * @returns what it has not found, so that all is as before; `null` where it has seen all there is.
   * @throws {@link StorageError} when the disk fails.
   */
  async refresh(isQuick = false): Promise<Error | null> {
    if (this.#guard.damage !== this.#damage) return null
    const log = this.#log
    const { epochs } = log
    try {
      if (!(await this.#isSameTopic())) return null
      const state = await this.#options.loadState?.()
      const knownEndOffset = log.logEndOffset
      const end = isQuick ? await this.#followLast(state?.logStartOffset ?? 0) : null
      let logEndOffset = end ?? (await this.#refreshSegments()) ?? 0
      // After the segments: an epoch is in the file before its first batch is written.
      this.#cutOffset = Math.min(this.#cutOffset, (await epochs.reload()) ?? Infinity)
      log.leaderEpoch = Math.max(0, epochs.latestEpoch)
      if (this.#cutOffset < knownEndOffset) {
        logEndOffset = (await this.#refreshSegments(this.#cutOffset)) ?? 0
      }
      this.#cutOffset = Infinity
      this.#raiseStart(state?.logStartOffset ?? 0)
      log.logEndOffset = Math.max(logEndOffset, log.logStartOffset)
      log.durableEndOffset = log.logEndOffset
      return null
    } catch (error) {
      // The writer removes segments while they are looked at: the next look sees what is left.
      if (isSystemError(error, 'ENOENT')) return error
      throw this.#guard.failed('refresh', error, 'not-written')
    }
  }

  /**
   * Looks at the directory once. When it rejects, which it may do with `ENOENT` while segments are
   * removed, the segments are as before.
   *
   * @param cutOffset what was known from this offset on has been replaced. @defaultValue nothing
   * @returns where the log ends now, `null` when it has no segment.
   */
  async #refreshSegments(cutOffset: number = Infinity): Promise<number | null> {
    this.#settledAt = null
    // Before the rest: the writer changes it before he changes names, and behind that.
    const record = await this.#recordIdentity()
    const places = await this.#findSegments()
    if (await this.#isDamaged(places)) return this.#log.logEndOffset
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
      const isOthers = isNew && !(await this.#isSameTopic())
      if (isOthers) throw gone(this.#options.dir, 'it belongs to another topic by now')
    } catch (error) {
      for (const segment of segments) {
        if (known.get(segment.path) !== segment) await segment.close()
      }
      throw error
    }
    const isSame =
      segments.length === this.#segments.all.length &&
      segments.every((segment) => known.get(segment.path) === segment)
    // First: with the old start, a read below the new one would go on at the first segment that is left.
    this.#raiseStart(segments[0]?.baseOffset ?? 0)
    if (!isSame) await this.#segments.changing(() => this.#segments.replace(segments))
    if (places.every(({ suffix }) => suffix === '')) this.#settledAt = record
    return segments.at(-1)?.nextOffset ?? null
  }

  /**
   * Takes in what was appended to the last segment. Of what else the writer does, a roll alone may be in no
   * record yet: it begins a file where that segment ends.
   *
   * @param logStartOffset what lies below it is being removed.
   * @returns where the log ends now, `null` where all segments have to be looked at.
   */
  async #followLast(logStartOffset: number): Promise<number | null> {
    const { fileSystem, dir } = this.#options
    const { active: last } = this.#segments
    if (last === undefined || this.#settledAt === null) return null
    const startOffset = Math.max(logStartOffset, this.#log.logStartOffset)
    if (this.#segments.hasBelow(startOffset)) return null
    if ((await this.#recordIdentity()) !== this.#settledAt) return null
    const stat = await fileSystem.stat(last.path)
    if (stat === null || stat.identity !== last.file.identity) return null
    if (!(await last.follow(stat.sizeBytes))) return null
    const { baseOffset, nextOffset } = last
    if (nextOffset === baseOffset) return nextOffset
    const nextPath = segmentFilePath(dir, nextOffset, 'log')
    return (await fileSystem.stat(nextPath)) === null ? nextOffset : null
  }

  /** Another one whenever the record is; `null` where there is none. */
  async #recordIdentity(): Promise<string | null> {
    const { fileSystem, dir } = this.#options
    const stat = await fileSystem.stat(join(dir, SEGMENTS_FILE))
    return stat && `${stat.identity} ${stat.sizeBytes} ${stat.modifiedMs}`
  }

  async #findSegments(): Promise<SegmentPlace[]> {
    const { fileSystem, dir } = this.#options
    const places: SegmentPlace[] = []
    const vanished: { path: string; endOffset: number | null }[] = []
    const files = (await findLogFiles(fileSystem, dir)).filter(({ kind }) => kind === 'log')
    for (const [slot, { offset, suffix, path }] of files.entries()) {
      const stat = await fileSystem.stat(path)
      if (stat === null) {
        vanished.push({ path, endOffset: files[slot + 1]?.offset ?? null })
        continue
      }
      const { sizeBytes, identity } = stat
      places.push({ baseOffset: offset, suffix, path, sizeBytes, identity })
    }
    if (vanished.length > 0) {
      const deletedUpTo = (await this.#readRecord())?.logStartOffset ?? 0
      ensureDeleted(vanished, deletedUpTo)
      // Some that are deleted may have been seen, with others missing behind them.
      this.#raiseStart(deletedUpTo)
    }
    // A log has a segment, also when it is empty: this one is being deleted.
    if (places.length === 0 && this.#segments.active !== undefined) throw gone(dir, 'it is empty')
    return places
  }

  #raiseStart(offset: number): void {
    const log = this.#log
    log.logStartOffset = Math.max(log.logStartOffset, offset)
    log.logEndOffset = Math.max(log.logEndOffset, log.logStartOffset)
  }

  /**
   * Whether segments are not there though they should be. A look that finds it for the first time may
   * have met a writer that replaces them, so it is not worth anything.
   */
  async #isDamaged(places: readonly SegmentPlace[]): Promise<boolean> {
    const { dir } = this.#options
    const areKnown = this.#areKnown(places)
    const record = areKnown ? null : await this.#readRecord()
    if (areKnown) this.#noteSound()
    // Where it cannot be read nothing can be told, neither of damage nor of its end.
    if (record === null) return this.#damage !== null
    const known = new Set(this.#segments.all.map(({ baseOffset }) => baseOffset))
    const followed = { found: places, known, logStartOffset: this.#log.logStartOffset }
    const breach = auditFollowed(dir, record, followed)
    const uncovered = uncoveredOffset(record, followed)
    const [suspicion, uncoveredBefore] = [this.#suspicion, this.#uncovered]
    // With the segment: a compaction makes of one after the other the same size out of the same size.
    this.#suspicion = breach === null ? null : `${breach.entry.baseOffset}: ${breach.reason}`
    this.#uncovered = uncovered
    if (uncovered !== null && uncovered !== uncoveredBefore) {
      throw systemError('ENOENT', 'stat', dir, `what holds offset ${uncovered} is being replaced`)
    }
    if (breach === null) {
      this.#endDamage()
      return false
    }
    if (this.#suspicion !== suspicion) throw systemError('ENOENT', 'stat', dir, breach.reason)
    this.#endBefore(breach, record)
    return true
  }

  #noteSound(): void {
    this.#suspicion = null
    this.#uncovered = null
    this.#endDamage()
  }

  /** What was found here is there no more. */
  #endDamage(): void {
    if (this.#damage !== null) this.#guard.damage = this.#damage = null
  }

  /** Whether all that is found was there before, as it was but for the last one, and all that was is. */
  #areKnown(places: readonly SegmentPlace[]): boolean {
    const known = this.#segments.all
    const sealed = new Map(known.slice(0, -1).map((each) => [each.baseOffset, each.sizeBytes]))
    const found = new Set(places.map(({ baseOffset }) => baseOffset))
    return (
      known.every(({ baseOffset }) => found.has(baseOffset)) &&
      places.slice(0, -1).every((place) => sealed.get(place.baseOffset) === place.sizeBytes)
    )
  }

  #endBefore(breach: SegmentBreach, record: SegmentRecord): void {
    const { dir } = this.#options
    const log = this.#log
    this.#raiseStart(record.logStartOffset)
    const endOffset = Math.min(log.logEndOffset, breach.entry.baseOffset)
    log.logEndOffset = Math.max(log.logStartOffset, endOffset)
    // Who was told of it before is told of the same.
    const isTold = this.#damage?.reason === breach.reason
    if (isTold && this.#damage?.firstOffset === log.logEndOffset) return
    const durableEnd = record.segments.at(-1)?.nextOffset ?? 0
    this.#damage = breachError(dir, breach, log.logEndOffset, durableEnd)
    this.#guard.damage = this.#damage
  }

  /** What the writer has on record as of now; `null` where that cannot be read. */
  async #readRecord(): Promise<SegmentRecord | null> {
    const { fileSystem, dir } = this.#options
    try {
      return await new SegmentRecordFile(fileSystem, dir).read()
    } catch (error) {
      if (error instanceof CorruptRecordError) return null
      throw error
    }
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

  /** The records of a later topic of the same name are for the list of topics to tell. */
  async #isSameTopic(): Promise<boolean> {
    const { fileSystem, dir, topicId } = this.#options
    return !(await isOfAnotherTopic(fileSystem, dir, topicId))
  }
}

/** Tells that the files that were known are there no more, whatever has their names. */
function gone(dir: string, reason: string): Error {
  return systemError('ENOENT', 'open', dir, reason)
}

interface SegmentPlace {
  readonly baseOffset: number
  readonly suffix: string
  readonly path: string
  readonly sizeBytes: number
  readonly identity: string
}
