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
 * The segments of one log, with the end of the log and the end of what is durable. Knows how to
 * append, roll and truncate, and leaves to `Log` who may do so and when: calls that change anything
 * must not overlap, but for appends and flushes with a {@link LogCheckpoint}; reads of the segments may
 * overlap with everything.
 *
 * After an {@link InDoubtError} nothing must be changed any more.
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
  /** Everything below is covered by a sync that succeeded. */
  durableEndOffset: number
  /** Everything below was acknowledged, or shown: what of that is not durable must not go without a word. */
  acknowledgedEndOffset = 0
  /** Everything below is known to be durable, with its indexes, to whom opens the log next. */
  recoveryPoint: number
  /**
   * What is appended belongs to it. It rises when records are taken back that somebody may have
   * seen: at their offsets there will be others.
   */
  leaderEpoch: number
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

  /** Bytes of all log files, with those of deleted segments that could not be removed yet. */
  get sizeBytes(): number {
    const { sizeBytes, dead } = this.segments
    return dead.reduce((sum, segment) => sum + segment.sizeBytes, sizeBytes)
  }

  /** What is told of the segments, in offset order. */
  get segmentInfos(): readonly LogSegmentInfo[] {
    return this.segments.all.map(({ baseOffset, nextOffset, sizeBytes, path }) => {
      return { baseOffset, nextOffset, sizeBytes, path }
    })
  }

  /** Makes everything appended so far durable. @throws InDoubtError when the sync fails */
  async flush(): Promise<void> {
    await this.#sync()
    // Before anybody is told of a record in a new segment it is on record that there is one. An
    // append that fails takes its segments back before it comes here.
    if (!this.#recorder.isBehind) return
    if (this.checkpoint.ended !== null) await this.checkpoint.ended
    await this.#recorder.catchUp(this.logStartOffset, this.segments)
  }

  /**
   * The same inside of the call.
   *
   * @returns false, and nothing is done, when something has to be waited for.
   * @throws InDoubtError when the sync fails
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

  /** See {@link SegmentRecorder.write}. @param without segments of which the record is to know nothing */
  recordSegments(
    logStartOffset: number = this.logStartOffset,
    without: ReadonlySet<LogSegment> = new Set(),
  ): Promise<void> {
    return this.#recorder.write(logStartOffset, this.segments, without)
  }

  /** A segment of this log that is nowhere yet; see {@link LogSegment}. */
  newSegment(baseOffset: number, suffix?: string): LogSegment {
    return new LogSegment(baseOffset, { ...this.#options, ...this.config }, suffix)
  }

  async #sync(): Promise<void> {
    const { active } = this.segments
    if (active === undefined || this.logEndOffset === this.durableEndOffset) return
    await orInDoubt('a sync failed', () => active.flush())
    this.noteDurable()
  }

  /** Ends the last file behind its last batch, which must be durable; `null` where it does already. */
  cutPreallocated(): Promise<void> | null {
    const { active } = this.segments
    return active?.preallocation.isTaken === true ? active.cutFile() : null
  }

  /** @throws LogGoneError when what is appended would go to a file that no name stands for any more. */
  async ensureInPlace(): Promise<void> {
    const { active } = this.segments
    if (active === undefined || (await active.file.isInPlace())) return
    throw new LogGoneError(active.path)
  }

  /** The same inside of the call. @returns false when it has to be waited for, to be sure */
  isInPlaceNow(): boolean {
    const { active } = this.segments
    return active === undefined || active.file.isInPlaceNow()
  }

  /** Another number when the last file was opened by its name meanwhile; of one that was made it says nothing. */
  get timesFound(): number {
    return this.segments.active?.file.timesFound ?? 0
  }

  /**
   * Closes the active segment and begins a new one, unless it is empty. The old one is durable
   * before the new one exists, so a later segment proves that an earlier one was whole. When it
   * rejects, the old one stays active.
   *
   * @throws InDoubtError when a sync fails; otherwise what the file system said.
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
      // Records that go into the old segment after all must not lie above a later one.
      this.segments.discard(segment)
      throw error
    }
    await this.segments.add(segment)
    // The mark of a failed sync has to leave this segment, which may be on record by then.
    this.noteDurable()
    this.#recorder.isBehind = true
    this.#rollPolicy.rolled()
  }

  /** End of the last batch that a truncation to `offset` leaves: `offset`, or below it. */
  async endOfRestBelow(offset: number): Promise<number> {
    const segment = this.segments.all[this.segments.floorSlot(offset)]
    return (await segment?.restBelow(offset))?.endOffset ?? offset
  }

  /**
   * Drops every record from `offset` on, and the rest of the batch that holds it; durable when it
   * resolves.
   *
   * @throws InDoubtError when it fails half way.
   */
  async truncateTo(offset: number): Promise<void> {
    const slot = this.segments.floorSlot(offset)
    const rest = (await this.segments.all[slot]?.restBelow(offset)) ?? null
    const kept = entriesUpTo(this.segments, slot, rest)
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
      // What is left was synced together with the cut.
      this.noteDurable()
      // Nothing in the last segment says where the log ends now. The name of the next one does.
      if (rest !== null && rest.endOffset < offset) {
        // What a failure leaves a mark of is what the next open can find.
        this.tail.durablePosition = { ...this.end, offset: rest.endOffset }
        await this.roll()
      }
      await this.recordSegments()
    }
    await inDoubt('a truncation failed', () => this.segments.changing(truncate))
  }

  /** What a broker has noted of transactions that are cut off must not stand beside what follows. */
  async #forgetTransactions(offset: number): Promise<void> {
    const { active } = this.segments
    if (active === undefined) return
    const { fileSystem, dir } = this.#options
    await truncateTransactionIndex(fileSystem, dir, { baseOffset: active.baseOffset, offset })
  }

  /** Writes what the recovery point promises to be there: all indexes, and the record of segments. */
  async writeUpToDurable(): Promise<void> {
    if (await this.segments.writeIndexes()) await this.segments.syncNames()
    await this.recordSegments()
    if (this.producers.entries.length === 0 || this.durableEndOffset < this.logEndOffset) return
    // Otherwise an unclean open would have to read everything since the last roll.
    const { logEndOffset } = this
    await this.producers.takeSnapshot(logEndOffset)
    await this.producers.keepSnapshots([...this.segments.baseOffsets, logEndOffset])
  }

  /** Writes what the log keeps besides its segments, so that the next open need not look for it. */
  async seal(): Promise<void> {
    const isSealNew = (await this.segments.active?.seal()) ?? false
    const hasNewNames = (await this.segments.writeIndexes()) || isSealNew
    // Without it, the next open would go on with an epoch whose records may be lost.
    if (this.epochs.latestEpoch >= 0) this.epochs.assign(this.leaderEpoch, this.logEndOffset)
    await this.epochs.write()
    await this.#recorder.settle(this.logStartOffset, this.segments)
    // Its sync of the directory covers the names of new index files.
    const isSynced = await this.producers.takeSnapshot(this.logEndOffset)
    if (hasNewNames && !isSynced) await this.segments.syncNames()
  }

  /** Where the records of an epoch, and of all before it, end: never behind the end of the log. */
  endOffsetForEpoch(epoch: number): number {
    // A truncation that has failed half way may have left epochs that begin there.
    return Math.min(this.epochs.endOffsetFor(epoch) ?? Infinity, this.logEndOffset)
  }

  /** What is appended from now on may be in the place of what somebody has seen. */
  raiseEpoch(): void {
    this.leaderEpoch = Math.min(Math.max(this.leaderEpoch, this.epochs.latestEpoch) + 1, MAX_EPOCH)
  }

  /** See {@link RollPolicy.activeSince}. */
  activeSince(active: LogSegment, nowMs: number): Promise<number> {
    return this.#rollPolicy.activeSince(active, nowMs)
  }

  /** Where the next batch goes. */
  get end(): LogPosition {
    const offset = this.logEndOffset
    const { active } = this.segments
    return active === undefined
      ? { offset, segment: 0, position: 0 }
      : { offset, segment: active.baseOffset, position: active.sizeBytes }
  }

  /** Everything that is in the log is durable. */
  noteDurable(): void {
    this.durableEndOffset = this.logEndOffset
    this.tail.durablePosition = this.end
  }

  /** Producer state as of the end of the log, where it covers more than that. */
  refreshProducers(): Promise<void> {
    return this.producers.refresh(this.logEndOffset, replayReader(this.segments, this.logEndOffset))
  }
}
