import { join } from 'node:path'
import type { CorruptRecordError } from '../errors.ts'
import { isSystemError, systemError } from '../platform/system-error.ts'
import type { LocalLog } from './local-log.ts'
import type { LogGuard } from './log-guard.ts'
import { ensureDeleted, readRecord } from './log-inventory.ts'
import type { LogState } from './log-state.ts'
import { segmentFilePath } from './log-files.ts'
import { LogSegment } from './log-segment.ts'
import { isOfAnotherTopic } from './partition-metadata.ts'
import { auditFollowed, breachError, uncoveredOffset, type SegmentBreach } from './segment-audit.ts'
import type { SegmentOptions } from './segment-options.ts'
import { SegmentRecordFile, SEGMENTS_FILE, type SegmentRecord } from './segment-record.ts'
import type { LogSegments } from './log-segments.ts'
import { findLogFiles } from './swap-files.ts'

/** Options of a {@link LogFollower}. */
export interface LogFollowerOptions extends SegmentOptions {
  /** Everything below this offset is durable, including its indexes. */
  readonly recoveryPoint: number
  /** Reads the writer's state that is kept outside the log's own files. */
  readonly loadState?: (() => Promise<LogState>) | undefined
}

/**
 * Keeps a read-only view of a log up to date with the process that writes it: appended batches,
 * rolled segments, and segments that were removed or replaced. Incomplete batches are left to the
 * next refresh. Nothing on disk is changed.
 *
 * If a segment that the writer has on record is missing, the log is damaged and ends before it,
 * until the writer removes it from the record. Damage found when the log was opened is permanent.
 *
 * Calls of {@link LogFollower.refresh} must not overlap; reads of the segments may.
 */
export class LogFollower {
  readonly #options: LogFollowerOptions
  readonly #log: LocalLog
  readonly #guard: LogGuard
  readonly #segments: LogSegments
  /** Error found by the last conclusive look; it is believed once it is found again. */
  #suspicion: string | null = null
  /**
   * The last such look found no file here, see {@link uncoveredOffset}; believed in the same way.
   */
  #uncovered: number | null = null
  /** Offset of a truncation since the last complete look: the epochs report it only once. */
  #cutOffset = Infinity
  /** The recovery point of the last look: a truncation lowers it first, whatever it was at the open. */
  #recoveryPoint = Infinity
  /**
   * Identity of the record at the last look at all segments, if that found no error, no replacement
   * in progress and no other topic. While the record is the same, only the last segment changes.
   * `null` otherwise.
   */
  #settledAt: string | null = null
  /** The damage that was found here; `null` if there is none. */
  #damage: CorruptRecordError | null = null

  constructor(options: LogFollowerOptions, log: LocalLog, guard: LogGuard) {
    this.#options = options
    this.#log = log
    this.#guard = guard
    this.#segments = log.segments
  }

  /**
   * Looks at the directory and picks up what has changed.
   *
   * @param isQuick whether to pick up only what the writer has done. The sizes of sealed segments
   * are not checked while the record is unchanged; damage is left to other refreshes.
   * @returns the error for a missing file, in which case the log is unchanged; `null` otherwise.
   * @throws {@link StorageError} if the disk fails.
   */
  async refresh(isQuick = false): Promise<Error | null> {
    if (this.#guard.damage !== this.#damage) return null
    const log = this.#log
    const { epochs } = log
    try {
      if (!(await this.#isSameTopic())) return null
      const state = await this.#options.loadState?.()
      this.#recoveryPoint = state?.recoveryPoint ?? Infinity
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
      // The writer removes segments during the look: the next look finds those that are left.
      if (isSystemError(error, 'ENOENT')) return error
      throw this.#guard.failed('refresh', error, 'not-written')
    }
  }

  /**
   * Looks at the directory once. If it rejects, possibly with `ENOENT` while segments are removed,
   * the segments are unchanged.
   *
   * @param cutOffset records known from this offset on have been replaced. @defaultValue none
   * @returns the log end offset; `null` if the log has no segment.
   */
  async #refreshSegments(cutOffset: number = Infinity): Promise<number | null> {
    this.#settledAt = null
    // First: the writer changes the record before it changes names, and after that.
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
      // The directory may have been given to another topic since the last check.
      const isOthers = isNew && !(await this.#isSameTopic())
      if (isOthers) throw gone(this.#options.dir, 'it now belongs to another topic')
    } catch (error) {
      for (const segment of segments) {
        if (known.get(segment.path) !== segment) await segment.close()
      }
      throw error
    }
    const isSame =
      segments.length === this.#segments.all.length &&
      segments.every((segment) => known.get(segment.path) === segment)
    // First: with the old start, a read below the new one would continue at the first remaining
    // segment.
    this.#raiseStart(segments[0]?.baseOffset ?? 0)
    if (!isSame) await this.#segments.changing(() => this.#segments.replace(segments))
    if (places.every(({ suffix }) => suffix === '')) this.#settledAt = record
    return segments.at(-1)?.nextOffset ?? null
  }

  /**
   * Picks up what was appended to the last segment. The only other change of the writer that may
   * not be on record yet is a roll, which creates a file where that segment ends.
   *
   * @param logStartOffset segments below are being removed.
   * @returns the log end offset; `null` if all segments have to be looked at.
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

  /** Changes whenever the record does; `null` if there is none. */
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
      // Some deleted segments may still have been found, while later ones are missing.
      this.#raiseStart(deletedUpTo)
    }
    // A log always has a segment, even if it is empty, so this one is being deleted.
    if (places.length === 0 && this.#segments.active !== undefined) throw gone(dir, 'it is empty')
    return places
  }

  #raiseStart(offset: number): void {
    const log = this.#log
    log.logStartOffset = Math.max(log.logStartOffset, offset)
    log.logEndOffset = Math.max(log.logEndOffset, log.logStartOffset)
  }

  /**
   * Whether segments are missing that should exist. A look that finds this for the first time may
   * have met a writer that is replacing segments, so it is discarded.
   */
  async #isDamaged(places: readonly SegmentPlace[]): Promise<boolean> {
    const { dir } = this.#options
    const areKnown = this.#areKnown(places)
    const record = areKnown ? null : await this.#readRecord()
    if (areKnown) this.#noteSound()
    // Without the record neither damage nor its end can be detected.
    if (record === null) return this.#damage !== null
    const known = new Set(this.#segments.all.map(({ baseOffset }) => baseOffset))
    const followed = { found: places, known, logStartOffset: this.#log.logStartOffset }
    const breach = auditFollowed(dir, record, followed)
    const uncovered = uncoveredOffset(record, followed)
    const [suspicion, uncoveredBefore] = [this.#suspicion, this.#uncovered]
    // Includes the base offset: compactions of successive segments may cause identical reasons.
    this.#suspicion = breach === null ? null : `${breach.entry.baseOffset}: ${breach.reason}`
    this.#uncovered = uncovered
    if (uncovered !== null && uncovered !== uncoveredBefore) {
      const reason = `the segment with offset ${uncovered} is being replaced`
      throw systemError('ENOENT', 'stat', dir, reason)
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

  /** Forgets damage that was found here. */
  #endDamage(): void {
    if (this.#damage !== null) this.#guard.damage = this.#damage = null
  }

  /** Whether the segments are those already known, unchanged except for the last one. */
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
    // Readers get the same error again.
    const isTold = this.#damage?.reason === breach.reason
    if (isTold && this.#damage?.firstOffset === log.logEndOffset) return
    const durableEnd = record.segments.at(-1)?.nextOffset ?? 0
    this.#damage = breachError(dir, breach, log.logEndOffset, durableEnd)
    this.#guard.damage = this.#damage
  }

  /** The writer's current record; `null` if it cannot be read. */
  async #readRecord(): Promise<SegmentRecord | null> {
    const { fileSystem, dir } = this.#options
    return (await readRecord(new SegmentRecordFile(fileSystem, dir))).record
  }

  async #follow(
    place: SegmentPlace,
    known: LogSegment | undefined,
    isLast: boolean,
  ): Promise<LogSegment> {
    const { sizeBytes, identity } = place
    if (known !== undefined) {
      // Only the last segment grows. Compaction may have replaced the file by one that has the size
      // known of the old one.
      const isSame = known.sizeBytes === sizeBytes && known.file.identity === identity
      if (!isLast && isSame) return known
      // An unclean open gives an empty segment a new file. The open one would stay empty.
      if (isLast && (await known.file.isInPlace()) && (await known.follow(sizeBytes))) return known
    }
    const segment = new LogSegment(place.baseOffset, this.#options, place.suffix)
    segment.sizeBytes = sizeBytes
    segment.file.identity = identity
    if (!isLast) return segment
    try {
      // What the index files hold above may be of records that were truncated since.
      const { recoveryPoint } = this.#options
      const trusted = Math.min(recoveryPoint, this.#recoveryPoint, this.#cutOffset)
      await segment.recover(sizeBytes, trusted)
      return segment
    } catch (error) {
      await segment.close()
      throw error
    }
  }

  /** The records of a later topic with the same name are left to the list of topics. */
  async #isSameTopic(): Promise<boolean> {
    const { fileSystem, dir, topicId } = this.#options
    return !(await isOfAnotherTopic(fileSystem, dir, topicId))
  }
}

/** The error for known files that no longer exist, whatever has their names now. */
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
