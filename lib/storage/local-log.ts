import type { ResolvedTopicConfig } from '../config.ts'
import { ClosedError } from '../errors.ts'
import { RecordBatch, stampBatch } from '../record/record-batch.ts'
import type { AppendResult } from './append-record.ts'
import { MAX_EPOCH, type LeaderEpochCache } from './leader-epoch-cache.ts'
import type { LoadedLog } from './loaded-log.ts'
import { DoubtfulTail } from './doubtful-tail.ts'
import type { LogPosition } from './durable-end.ts'
import { InDoubtError, LeftOversError, LogGoneError, inDoubt, orInDoubt } from './in-doubt-error.ts'
import type { LocalLogOptions } from './log-options.ts'
import { LogSegment } from './log-segment.ts'
import type { LogSegments } from './log-segments.ts'
import type { ProducerState } from './producer-state.ts'
import { RollPolicy } from './roll-policy.ts'
import { entriesUpTo, SegmentRecorder } from './segment-recorder.ts'

/**
 * The segments of one log, with the end of the log and the end of what is durable. Knows how to
 * append, roll and truncate, and leaves to `Log` who may do so and when: calls that change anything
 * must not overlap, reads of the segments may overlap with everything.
 *
 * After an {@link InDoubtError} nothing must be changed any more.
 */
export class LocalLog {
  readonly segments: LogSegments
  readonly epochs: LeaderEpochCache
  readonly producers: ProducerState
  readonly tail: DoubtfulTail
  readonly #recorder: SegmentRecorder
  logStartOffset: number
  logEndOffset: number
  /** Everything below is covered by a sync that succeeded. */
  durableEndOffset: number
  /** Everything below is known to be durable, with its indexes, to whom opens the log next. */
  recoveryPoint: number
  /**
   * What is appended belongs to it. It rises when records are taken back that somebody may have
   * seen: at their offsets there will be others.
   */
  leaderEpoch: number
  readonly #options: LocalLogOptions
  readonly #rollPolicy: RollPolicy
  /** Where the log ended before a write that failed and whose bytes are still to be cut off. */
  #leftOversFrom: LogPosition | null = null

  constructor(options: LocalLogOptions, config: Readonly<ResolvedTopicConfig>, loaded: LoadedLog) {
    this.#options = options
    this.#rollPolicy = new RollPolicy(config, options)
    this.segments = loaded.segments
    this.epochs = loaded.epochs
    this.leaderEpoch = loaded.leaderEpoch
    this.producers = loaded.producers
    this.#recorder = new SegmentRecorder(loaded.recordFile)
    this.tail = new DoubtfulTail(options.fileSystem, options.dir)
    this.logStartOffset = loaded.logStartOffset
    this.logEndOffset = loaded.logEndOffset
    this.recoveryPoint = Math.min(options.recoveryPoint, loaded.logEndOffset)
    this.noteDurable()
    this.durableEndOffset = loaded.owed?.durableEndOffset ?? loaded.logEndOffset
  }

  get config(): Readonly<ResolvedTopicConfig> {
    return this.#rollPolicy.config
  }

  set config(config: Readonly<ResolvedTopicConfig>) {
    this.#rollPolicy.config = config
  }

  /**
   * Stamps and writes batches behind the last one, rolling where needed. When it rejects, none of
   * them is in the log.
   *
   * @throws InDoubtError or LeftOversError when that cannot be said for sure; otherwise what the
   * file system said.
   */
  async append(buffers: readonly Buffer[]): Promise<AppendResult> {
    const start = this.#end()
    // A new epoch is on disk before the first batch that carries it.
    this.epochs.assign(this.leaderEpoch, start.offset)
    if (this.epochs.isDirty) await this.epochs.write()
    try {
      return await this.#appendAll(buffers, start)
    } catch (error) {
      if (error instanceof InDoubtError) throw error
      try {
        await this.cutLeftOvers()
      } catch (undoError) {
        if (undoError instanceof InDoubtError) throw undoError
        throw new LeftOversError('what a failed write left could not be cut off', {
          cause: new AggregateError([error, undoError]),
        })
      }
      throw error
    }
  }

  /** Whether {@link LocalLog.cutLeftOvers} has anything to do. */
  get hasLeftOvers(): boolean {
    return this.#leftOversFrom !== null || this.segments.hasLeftOvers || this.producers.isStale
  }

  /**
   * Brings the files back to where the log ended before a write that failed. Nothing may be changed
   * before that is done; what it is prevented from is tried again by the next call.
   *
   * @throws InDoubtError when a sync fails; otherwise what the file system said.
   */
  async cutLeftOvers(): Promise<void> {
    const from = this.#leftOversFrom
    if (from !== null) {
      this.producers.markStale()
      await this.segments.changing(() => this.#cutBack(from))
      this.#leftOversFrom = null
      // Another process that reads along may have seen some of it.
      this.#raiseEpoch()
    }
    await this.segments.removeLeftOvers()
    await this.#refreshProducers()
  }

  /** Makes everything appended so far durable. @throws InDoubtError when the sync fails */
  async flush(): Promise<void> {
    await this.#sync()
    // Before anybody is told of a record in a new segment it is on record that there is one. An
    // append that fails takes its segments back before it comes here.
    if (this.#recorder.isBehind) await this.#recorder.catchUp(this.logStartOffset, this.segments)
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

  /** @throws LogGoneError when what is appended would go to a file that no name stands for any more. */
  async ensureInPlace(): Promise<void> {
    const { active } = this.segments
    if (active === undefined || (await active.isInPlace())) return
    throw new LogGoneError(active.path)
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
    await this.ensureInPlace()
    await this.#sync()
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
      this.tail.durablePosition = null
      await this.segments.removeAbove(offset)
      await this.segments.active?.truncateTo(offset)
      this.epochs.truncateFromEnd(offset)
      this.#raiseEpoch()
      await this.epochs.write()
      await this.producers.removeSnapshots((each) => each <= offset)
      this.producers.markStale()
      await this.#refreshProducers()
      // What is left was synced together with the cut.
      this.noteDurable()
      // Nothing in the last segment says where the log ends now. The name of the next one does.
      if (rest !== null && rest.endOffset < offset) await this.roll()
      await this.recordSegments()
    }
    await inDoubt('a truncation failed', () => this.segments.changing(truncate))
  }

  /** Writes the indexes that have changed, so that all below the durable end are on disk. */
  async checkpoint(): Promise<void> {
    await this.ensureInPlace()
    if (await this.segments.writeIndexes()) await this.segments.syncNames()
    await this.recordSegments()
    if (this.producers.entries.length === 0 || this.durableEndOffset < this.logEndOffset) return
    // Otherwise an unclean open would have to read everything since the last roll.
    await this.producers.takeSnapshot(this.logEndOffset)
    await this.producers.keepSnapshots([...this.segments.baseOffsets, this.logEndOffset])
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

  async #appendAll(buffers: readonly Buffer[], start: LogPosition): Promise<AppendResult> {
    const { offset: baseOffset } = start
    let [nextOffset, timestamp] = [baseOffset, -1]
    let pending: RecordBatch[] = []
    let pendingBytes = 0
    for (const buffer of buffers) {
      let batch = this.#stamp(buffer, nextOffset)
      const { active } = this.segments
      const mustRoll = this.#rollPolicy.mustRoll(active, batch, pending[0], pendingBytes)
      if (mustRoll instanceof Promise ? await mustRoll : mustRoll) {
        await this.#write(pending, start)
        pending = []
        pendingBytes = 0
        await this.roll()
        batch = this.#stamp(buffer, nextOffset)
      }
      pending.push(batch)
      pendingBytes += batch.sizeBytes
      nextOffset = batch.nextOffset
      timestamp = Math.max(timestamp, batch.maxTimestamp)
    }
    await this.#write(pending, start)
    // Nothing of it is to be taken back any more.
    this.#leftOversFrom = null
    return { baseOffset, lastOffset: nextOffset - 1, timestamp }
  }

  async #write(batches: readonly RecordBatch[], start: LogPosition): Promise<void> {
    const { active } = this.segments
    if (active === undefined) throw new ClosedError('the log has no segment to append to')
    this.#leftOversFrom = start
    await active.append(batches)
    for (const batch of batches) this.producers.update(batch)
    this.logEndOffset = batches.at(-1)?.nextOffset ?? this.logEndOffset
  }

  #stamp(buffer: Buffer, baseOffset: number): RecordBatch {
    const isAppendTime = this.config.messageTimestampType === 'LogAppendTime'
    stampBatch(buffer, {
      baseOffset,
      partitionLeaderEpoch: this.leaderEpoch,
      groupStart: baseOffset === this.durableEndOffset,
      ...(isAppendTime ? { logAppendTime: this.#options.clock.now() } : {}),
    })
    return new RecordBatch(buffer)
  }

  #raiseEpoch(): void {
    this.leaderEpoch = Math.min(Math.max(this.leaderEpoch, this.epochs.latestEpoch) + 1, MAX_EPOCH)
  }

  /** Brings the segments back to where the log ended before an append that failed. */
  async #cutBack(from: LogPosition): Promise<void> {
    this.logEndOffset = from.offset
    if (this.durableEndOffset > from.offset) {
      this.durableEndOffset = from.offset
      this.tail.durablePosition = from
    }
    await this.segments.removeAbove(from.offset)
    const { active } = this.segments
    if (active === undefined) return
    await (active.nextOffset > from.offset ? active.truncateTo(from.offset) : active.cutFile())
  }

  /** Where the next batch goes. */
  #end(): LogPosition {
    const offset = this.logEndOffset
    const { active } = this.segments
    return active === undefined
      ? { offset, segment: 0, position: 0 }
      : { offset, segment: active.baseOffset, position: active.sizeBytes }
  }

  /** Everything that is in the log is durable. */
  noteDurable(): void {
    this.durableEndOffset = this.logEndOffset
    this.tail.durablePosition = this.#end()
  }

  /** Producer state as of the end of the log, where it covers more than that. */
  #refreshProducers(): Promise<void> {
    return this.producers.refresh(this.logEndOffset, this.segments.readerUpTo(this.logEndOffset))
  }
}
