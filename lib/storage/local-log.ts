import type { ResolvedTopicConfig } from '../config.ts'
import { MAX_EPOCH, type LeaderEpochCache } from './leader-epoch-cache.ts'
import type { LoadedLog } from './loaded-log.ts'
import { DoubtfulTail } from './doubtful-tail.ts'
import { endsGoneBack } from './ends-gone-back.ts'
import type { LogPosition } from './durable-end.ts'
import { InDoubtError, LogGoneError, inDoubt, orInDoubt } from './in-doubt-error.ts'
import { LogAppender } from './log-appender.ts'
import { LogCheckpoint } from './log-checkpoint.ts'
import type { LocalLogOptions, LogSegmentInfo } from './log-options.ts'
import { LogSegment } from './log-segment.ts'
import type { LogSegments } from './log-segments.ts'
import type { ProducerState } from './producer-state.ts'
import { replayReader } from './replay-reader.ts'
import { RollPolicy } from './roll-policy.ts'
import { entriesUpTo, SegmentRecorder } from './segment-recorder.ts'
import { truncateTransactionIndex } from './transaction-index.ts'

/**
 * The segments of one log, with the log end offset and the durable end offset. Implements append,
 * roll and truncation; `Log` decides who may call them and when. Changes must not overlap, except
 * for appends and flushes with a {@link LogCheckpoint}. Reads of the segments may overlap with
 * everything.
 *
 * After an {@link InDoubtError} nothing may be changed any more.
 */
export class LocalLog {
  readonly segments: LogSegments
  readonly epochs: LeaderEpochCache
  readonly producers: ProducerState
  readonly tail: DoubtfulTail
  readonly appender: LogAppender
  readonly checkpoint: LogCheckpoint = new LogCheckpoint()
  readonly #recorder: SegmentRecorder
  #logEndOffset: number
  logStartOffset: number
  /** Everything below is covered by a successful sync. */
  durableEndOffset: number
  /**
   * Everything below was acknowledged or shown to a reader. The loss of any of it must be reported.
   */
  acknowledgedEndOffset = 0
  /** Everything below is durable, including its indexes, and the next open will know it. */
  recoveryPoint: number
  /**
   * The epoch of appended batches. It rises when records that a reader may have seen are removed,
   * since other records will get their offsets.
   */
  leaderEpoch: number
  /** Whether there may be index files whose names no sync has covered. */
  #hasNewNames = false
  readonly #options: LocalLogOptions
  readonly #rollPolicy: RollPolicy

  constructor(options: LocalLogOptions, config: Readonly<ResolvedTopicConfig>, loaded: LoadedLog) {
    this.#options = options
    this.#rollPolicy = new RollPolicy(config, options, loaded.segments.active)
    this.appender = new LogAppender(this, this.#rollPolicy, options.clock)
    this.segments = loaded.segments
    this.epochs = loaded.epochs
    this.leaderEpoch = loaded.leaderEpoch
    this.producers = loaded.producers
    this.#recorder = new SegmentRecorder(loaded.recordFile)
    this.tail = new DoubtfulTail(options.fileSystem, options.dir)
    this.logStartOffset = loaded.logStartOffset
    this.#logEndOffset = loaded.logEndOffset
    this.recoveryPoint = Math.min(options.recoveryPoint, loaded.logEndOffset)
    this.noteDurable()
    this.durableEndOffset = loaded.owed?.durableEndOffset ?? loaded.logEndOffset
  }

  get logEndOffset(): number {
    return this.#logEndOffset
  }

  set logEndOffset(offset: number) {
    if (offset < this.#logEndOffset) endsGoneBack.count += 1
    this.#logEndOffset = offset
  }

  get config(): Readonly<ResolvedTopicConfig> {
    return this.#rollPolicy.config
  }

  set config(config: Readonly<ResolvedTopicConfig>) {
    this.#rollPolicy.config = config
  }

  /** Total size of the log files, including deleted segments that could not be removed yet. */
  get sizeBytes(): number {
    const { sizeBytes, dead } = this.segments
    return dead.reduce((sum, segment) => sum + segment.sizeBytes, sizeBytes)
  }

  /** Public information about the segments, in offset order. */
  get segmentInfos(): readonly LogSegmentInfo[] {
    return this.segments.all.map(({ baseOffset, nextOffset, sizeBytes, path }) => {
      return { baseOffset, nextOffset, sizeBytes, path }
    })
  }

  /** Makes everything appended so far durable. @throws InDoubtError if the sync fails */
  async flush(): Promise<void> {
    await this.#sync()
    // A new segment is on record before any of its records is acknowledged. A failed append has
    // removed its segments before this point.
    if (!this.#recorder.isBehind) return
    if (this.checkpoint.ended !== null) await this.checkpoint.ended
    await this.#recorder.catchUp(this.logStartOffset, this.segments)
  }

  /**
   * Synchronous variant of {@link LocalLog.flush}.
   *
   * @returns false if it has to wait; then nothing was done.
   * @throws InDoubtError if the sync fails
   */
  flushNow(): boolean {
    const { active } = this.segments
    if (this.#recorder.isBehind || active === undefined) return false
    if (this.logEndOffset === this.durableEndOffset) return true
    try {
      if (!active.flushNow()) return false
    } catch (error) {
      throw new InDoubtError('a sync failed', { cause: error })
    }
    this.noteDurable()
    return true
  }

  /** See {@link SegmentRecorder.write}. @param without segments to leave out of the record */
  recordSegments(
    logStartOffset: number = this.logStartOffset,
    without: ReadonlySet<LogSegment> = new Set(),
  ): Promise<void> {
    return this.#recorder.write(logStartOffset, this.segments, without)
  }

  /** A new segment of this log that has no file yet; see {@link LogSegment}. */
  newSegment(baseOffset: number, suffix?: string): LogSegment {
    const { indexIntervalBytes, segmentIndexBytes } = this.config
    const options = { indexIntervalBytes, segmentIndexBytes, ...this.#options }
    return new LogSegment(baseOffset, options, suffix)
  }

  async #sync(): Promise<void> {
    const { active } = this.segments
    if (active === undefined || this.logEndOffset === this.durableEndOffset) return
    await orInDoubt('a sync failed', () => active.flush())
    this.noteDurable()
  }

  /**
   * Truncates the active file after its last batch, which must be durable; `null` if not needed.
   */
  cutPreallocated(): Promise<void> | null {
    const { active } = this.segments
    return active?.preallocation.isTaken === true ? active.cutFile() : null
  }

  /**
   * @throws LogGoneError if the active file no longer has its name, so that appends would be lost.
   */
  async ensureInPlace(): Promise<void> {
    const { active } = this.segments
    if (active === undefined || (await active.file.isInPlace())) return
    throw new LogGoneError(active.path)
  }

  /**
   * Synchronous variant of {@link LocalLog.ensureInPlace}. @returns false if that has to be called
   */
  isInPlaceNow(): boolean {
    const { active } = this.segments
    return active === undefined || active.file.isInPlaceNow()
  }

  /** Changes whenever the active file is opened by its name, but not when it is created. */
  get timesFound(): number {
    return this.segments.active?.file.timesFound ?? 0
  }

  /**
   * Closes the active segment and starts a new one, unless it is empty. The old segment is durable
   * before the new one exists, so a later segment proves that an earlier one was complete. If the
   * promise rejects, the old segment stays active.
   *
   * @throws InDoubtError if a sync fails; otherwise the error of the file system.
   */
  async roll(): Promise<void> {
    const { active } = this.segments
    if (active === undefined) return
    if (active.sizeBytes === 0 && active.baseOffset === this.logEndOffset) return
    if (this.checkpoint.ended !== null) await this.checkpoint.ended
    await this.ensureInPlace()
    await this.#sync()
    const cutting = this.cutPreallocated()
    if (cutting !== null) await cutting
    await active.seal()
    await this.producers.takeSnapshot(this.logEndOffset)
    const segment = this.newSegment(this.logEndOffset)
    try {
      await segment.create()
      await orInDoubt('a sync failed', () => this.segments.syncNames())
    } catch (error) {
      // The old segment may receive more records. They must not lie above a later segment.
      this.segments.discard(segment)
      throw error
    }
    await this.segments.add(segment)
    // The mark of a failed sync must preserve this segment, which may be on record by then.
    this.noteDurable()
    this.#recorder.isBehind = true
    this.#rollPolicy.rolled()
  }

  /** End of the last batch that a truncation to `offset` leaves: at or below `offset`. */
  async endOfRestBelow(offset: number): Promise<number> {
    const segment = this.segments.all[this.segments.floorSlot(offset)]
    return (await segment?.restBelow(offset))?.endOffset ?? offset
  }

  /**
   * Removes every record from `offset` on, and the whole batch that holds it, also the records of
   * that batch below `offset`. Durable when it resolves.
   *
   * @throws InDoubtError if it fails half-way.
   */
  async truncateTo(offset: number): Promise<void> {
    const slot = this.segments.floorSlot(offset)
    const rest = (await this.segments.all[slot]?.restBelow(offset)) ?? null
    const kept = entriesUpTo(this.segments, offset, slot, rest)
    await this.#recorder.replace(this.logStartOffset, kept)
    const truncate = async (): Promise<void> => {
      this.logEndOffset = offset
      this.durableEndOffset = Math.min(this.durableEndOffset, offset)
      this.acknowledgedEndOffset = Math.min(this.acknowledgedEndOffset, offset)
      this.tail.durablePosition = null
      await this.segments.removeAbove(offset)
      await this.segments.active?.truncateTo(offset)
      await this.#forgetTransactions(rest?.endOffset ?? offset)
      this.epochs.truncateFromEnd(offset)
      this.raiseEpoch()
      await this.epochs.write()
      await this.producers.removeSnapshots((each) => each <= offset)
      this.producers.markStale()
      await this.refreshProducers()
      // What is left was synced together with the truncation.
      this.noteDurable()
      // No batch of the last segment shows where the log ends now. The name of the next segment
      // does.
      if (rest !== null && rest.endOffset < offset) {
        // If the roll fails, the mark must hold a position that the next open can find.
        this.tail.durablePosition = { ...this.end, offset: rest.endOffset }
        await this.roll()
      }
      await this.recordSegments()
    }
    await inDoubt('a truncation failed', () => this.segments.changing(truncate))
  }

  /** A broker's entries for truncated transactions must not apply to the records that follow. */
  async #forgetTransactions(offset: number): Promise<void> {
    const { active } = this.segments
    if (active === undefined) return
    const { fileSystem, dir } = this.#options
    await truncateTransactionIndex(fileSystem, dir, { baseOffset: active.baseOffset, offset })
  }

  /** Writes what the recovery point promises: all indexes, and the segment record. */
  async writeUpToDurable(): Promise<void> {
    const hadNewNames = this.#hasNewNames
    // If it fails half-way, it does not tell whether it has added names.
    this.#hasNewNames = true
    if ((await this.segments.writeIndexes()) || hadNewNames) await this.segments.syncNames()
    this.#hasNewNames = false
    await this.recordSegments()
    if (this.producers.entries.length === 0 || this.durableEndOffset < this.logEndOffset) return
    // Otherwise an unclean open would have to read everything since the last roll.
    const { logEndOffset } = this
    await this.producers.takeSnapshot(logEndOffset)
    await this.producers.keepSnapshots([...this.segments.baseOffsets, logEndOffset])
  }

  /** Writes everything besides the segments that lets the next open avoid a scan. */
  async seal(): Promise<void> {
    const isSealNew = (await this.segments.active?.seal()) ?? false
    const hasNewNames = (await this.segments.writeIndexes()) || isSealNew || this.#hasNewNames
    // Otherwise the next open would continue with an epoch whose records may be lost.
    if (this.epochs.latestEpoch >= 0) this.epochs.assign(this.leaderEpoch, this.logEndOffset)
    await this.epochs.write()
    await this.#recorder.settle(this.logStartOffset, this.segments)
    // Its sync of the directory covers the names of new index files.
    const isSynced = await this.producers.takeSnapshot(this.logEndOffset)
    if (hasNewNames && !isSynced) await this.segments.syncNames()
  }

  /** End of the records of an epoch and of all earlier ones: never beyond the log end offset. */
  endOffsetForEpoch(epoch: number): number {
    // A truncation that failed half-way may have left epochs that begin there.
    return Math.min(this.epochs.endOffsetFor(epoch) ?? Infinity, this.logEndOffset)
  }

  /** Records appended from now on may replace records that a reader has seen. */
  raiseEpoch(): void {
    this.leaderEpoch = Math.min(Math.max(this.leaderEpoch, this.epochs.latestEpoch) + 1, MAX_EPOCH)
  }

  /** See {@link RollPolicy.activeSince}. */
  activeSince(active: LogSegment, nowMs: number): Promise<number> {
    return this.#rollPolicy.activeSince(active, nowMs)
  }

  /** Where the next batch will be written. */
  get end(): LogPosition {
    const offset = this.logEndOffset
    const { active } = this.segments
    return active === undefined
      ? { offset, segment: 0, position: 0 }
      : { offset, segment: active.baseOffset, position: active.sizeBytes }
  }

  /** Notes that all records of the log are durable. */
  noteDurable(): void {
    this.durableEndOffset = this.logEndOffset
    this.tail.durablePosition = this.end
  }

  /** Updates the producer state to the end of the log if it covers records beyond that. */
  refreshProducers(): Promise<void> {
    return this.producers.refresh(this.logEndOffset, replayReader(this.segments, this.logEndOffset))
  }
}
