import type { ResolvedTopicConfig } from '../config.ts'
import { ClosedError } from '../errors.ts'
import type { Clock } from '../platform/clock.ts'
import type { FileSystem } from '../platform/file-system.ts'
import type { Random } from '../platform/random.ts'
import { RecordBatch, stampBatch } from '../record/record-batch.ts'
import { MAX_EPOCH, type LeaderEpochCache } from './leader-epoch-cache.ts'
import type { LoadedLog } from './log-loader.ts'
import { LogSegment, type SegmentOptions } from './log-segment.ts'
import type { LogSegments } from './log-segments.ts'
import type { ProducerState } from './producer-state.ts'

/** Where an append came to lie. */
export interface AppendResult {
  readonly baseOffset: number
  /** Inclusive. */
  readonly lastOffset: number
  /** Largest timestamp of the appended records, or the append time where the topic says so. */
  readonly timestamp: number
}

/** What a log is made of besides its files. */
export interface LocalLogOptions {
  readonly dir: string
  readonly fileSystem: FileSystem
  readonly clock: Pick<Clock, 'now'>
  readonly random: Pick<Random, 'integer'>
  readonly readOnly: boolean
  readonly recoveryPoint: number
}

/** A sync, or a change that cannot be taken back, has failed: nobody can tell what is on disk. */
export class InDoubtError extends Error {
  override readonly name = 'InDoubtError'
}

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
  #config: Readonly<ResolvedTopicConfig>
  #activeSinceMs: number
  /** How much earlier than after `segmentMs` the active segment is rolled. */
  #rollJitterMs: number

  constructor(options: LocalLogOptions, config: Readonly<ResolvedTopicConfig>, loaded: LoadedLog) {
    this.#options = options
    this.#config = config
    this.#rollJitterMs = this.#drawRollJitter()
    this.segments = loaded.segments
    this.epochs = loaded.epochs
    this.leaderEpoch = loaded.leaderEpoch
    this.producers = loaded.producers
    this.logStartOffset = loaded.logStartOffset
    this.logEndOffset = loaded.logEndOffset
    this.recoveryPoint = Math.min(options.recoveryPoint, loaded.logEndOffset)
    this.durableEndOffset = loaded.logEndOffset
    this.#activeSinceMs = options.clock.now()
  }

  get config(): Readonly<ResolvedTopicConfig> {
    return this.#config
  }

  set config(config: Readonly<ResolvedTopicConfig>) {
    this.#config = config
    // One that was drawn before may be longer than the new `segmentMs`.
    this.#rollJitterMs = this.#drawRollJitter()
  }

  /**
   * Stamps and writes batches behind the last one, rolling where needed. When it rejects, none of
   * them is in the log.
   *
   * @throws InDoubtError when that cannot be said any more; otherwise what the file system said.
   */
  async append(buffers: readonly Buffer[]): Promise<AppendResult> {
    const startOffset = this.logEndOffset
    let hasBegun = false
    try {
      await this.#assignEpoch(startOffset)
      hasBegun = true
      return await this.#appendAll(buffers)
    } catch (error) {
      if (error instanceof InDoubtError) throw error
      try {
        await this.#cutBack(startOffset)
      } catch (undoError) {
        throw new InDoubtError('what a failed write left could not be cut off', {
          cause: new AggregateError([error, undoError]),
        })
      }
      // Another process that reads along may have seen some of it.
      if (hasBegun) this.#raiseEpoch()
      throw error
    }
  }

  /** Makes everything appended so far durable. @throws InDoubtError */
  async flush(): Promise<void> {
    const { logEndOffset } = this
    const { active } = this.segments
    if (active === undefined || logEndOffset === this.durableEndOffset) return
    await orInDoubt('a sync failed', () => active.flush())
    this.durableEndOffset = logEndOffset
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
    await this.flush()
    await active.seal()
    await this.producers.takeSnapshot(this.logEndOffset)
    const segment = await LogSegment.create(this.logEndOffset, this.#segmentOptions())
    const { fileSystem, dir } = this.#options
    try {
      await orInDoubt('a sync failed', () => fileSystem.syncDirectory(dir))
    } catch (error) {
      await segment.close()
      throw error
    }
    await this.segments.add(segment)
    this.#activeSinceMs = this.#options.clock.now()
    this.#rollJitterMs = this.#drawRollJitter()
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
    const restEndOffset = await this.endOfRestBelow(offset)
    const truncate = async (): Promise<void> => {
      this.logEndOffset = offset
      this.durableEndOffset = Math.min(this.durableEndOffset, offset)
      await this.segments.removeAbove(offset)
      await this.segments.active?.truncateTo(offset)
      this.epochs.truncateFromEnd(offset)
      this.#raiseEpoch()
      await this.epochs.write()
      await this.producers.removeSnapshots((each) => each <= offset)
      await this.#reloadProducers()
      // Nothing in the last segment says where the log ends now. The name of the next one does.
      if (restEndOffset < offset) await this.roll()
    }
    await orInDoubt('a truncation failed', () => this.segments.changing(truncate))
  }

  /** After an InDoubtError: drops from memory, and if possible from the file, what may not be on disk. */
  async dropInDoubt(): Promise<void> {
    const { durableEndOffset } = this
    this.logEndOffset = durableEndOffset
    // What is cut from a segment while a later one is still there would be a hole.
    if (this.segments.hasLeftOvers) return
    // The page cache shows what a failed sync has lost as if it were there, also to the next open.
    await this.segments.changing(async () => {
      await this.segments.active?.truncateTo(durableEndOffset)
    })
  }

  /** Writes the indexes that have changed, so that all below the durable end are on disk. */
  async checkpoint(): Promise<void> {
    let isNew = false
    for (const segment of this.segments.all) isNew = (await segment.writeIndexes()) || isNew
    const { fileSystem, dir } = this.#options
    if (isNew) await fileSystem.syncDirectory(dir)
    if (this.producers.entries.length === 0 || this.durableEndOffset < this.logEndOffset) return
    // Otherwise an unclean open would have to read everything since the last roll.
    await this.producers.takeSnapshot(this.logEndOffset)
    const wanted = new Set(this.segments.all.map((segment) => segment.baseOffset))
    await this.producers.removeSnapshots(
      (offset) => wanted.has(offset) || offset === this.logEndOffset,
    )
  }

  /** Writes what the log keeps besides its segments, so that the next open need not look for it. */
  async seal(): Promise<void> {
    for (const segment of this.segments.all) {
      await (segment === this.segments.active ? segment.seal() : segment.writeIndexes())
    }
    // Without it, the next open would go on with an epoch whose records may be lost.
    if (this.epochs.latestEpoch >= 0) this.epochs.assign(this.leaderEpoch, this.logEndOffset)
    await this.epochs.write()
    // Its sync of the directory covers the names of new index files.
    await this.producers.takeSnapshot(this.logEndOffset)
  }

  async #appendAll(buffers: readonly Buffer[]): Promise<AppendResult> {
    const baseOffset = this.logEndOffset
    let timestamp = -1
    let nextOffset = baseOffset
    let pending: RecordBatch[] = []
    let pendingBytes = 0
    for (const buffer of buffers) {
      let batch = this.#stamp(buffer, nextOffset)
      if (await this.#mustRoll(batch, pending[0], pendingBytes)) {
        await this.#write(pending)
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
    await this.#write(pending)
    return { baseOffset, lastOffset: nextOffset - 1, timestamp }
  }

  async #write(batches: readonly RecordBatch[]): Promise<void> {
    const { active } = this.segments
    if (active === undefined) throw new ClosedError('the log has no segment to append to')
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

  async #mustRoll(
    batch: RecordBatch,
    firstPending: RecordBatch | undefined,
    pendingBytes: number,
  ): Promise<boolean> {
    const { active } = this.segments
    if (active === undefined) return false
    if (!active.fits(batch.lastOffset)) return true
    const sizeBytes = active.sizeBytes + pendingBytes
    if (sizeBytes === 0) return false
    if (sizeBytes > this.config.segmentBytes - batch.sizeBytes) return true
    await active.loadIndexes()
    if (active.indexes.isFull) return true
    const first =
      active.sizeBytes === 0 ? firstPending?.maxTimestamp : await active.firstBatchTimestamp()
    // By the records' own time; only where they have none, by the clock.
    const waitedMs =
      first !== undefined && first >= 0
        ? batch.maxTimestamp - first
        : this.#options.clock.now() - this.#activeSinceMs
    return waitedMs > this.config.segmentMs - this.#rollJitterMs
  }

  #drawRollJitter(): number {
    const { segmentJitterMs, segmentMs } = this.#config
    const bound = Math.min(segmentJitterMs, segmentMs)
    return bound === 0 ? 0 : this.#options.random.integer(bound)
  }

  /** A new epoch is on disk before the first batch that carries it. */
  async #assignEpoch(startOffset: number): Promise<void> {
    this.epochs.assign(this.leaderEpoch, startOffset)
    await this.epochs.write()
  }

  #raiseEpoch(): void {
    this.leaderEpoch = Math.min(Math.max(this.leaderEpoch, this.epochs.latestEpoch) + 1, MAX_EPOCH)
  }

  /** Brings the log back to where it ended before an append that failed. */
  async #cutBack(offset: number): Promise<void> {
    await this.segments.changing(async () => {
      this.logEndOffset = offset
      this.durableEndOffset = Math.min(this.durableEndOffset, offset)
      await this.segments.removeAbove(offset)
      const { active } = this.segments
      if (active === undefined) return
      if (active.nextOffset > offset) await active.truncateTo(offset)
      else await active.cutFile()
    })
    if (this.producers.entries.length === 0) return
    await this.producers.removeSnapshots((each) => each <= offset)
    await this.#reloadProducers()
  }

  /** Producer state as of the end of the log: the newest snapshot and the batches behind it. */
  async #reloadProducers(): Promise<void> {
    if (this.producers.entries.length === 0) return
    const { logEndOffset } = this
    const limits = { maxBytes: 1024 * 1024, endOffset: logEndOffset }
    const fromOffset = await this.producers.load(logEndOffset)
    await this.producers.replay(fromOffset, (offset) => this.segments.read(offset, limits))
  }

  #segmentOptions(): SegmentOptions {
    const { indexIntervalBytes, segmentIndexBytes } = this.config
    const { dir, fileSystem, readOnly } = this.#options
    return { dir, fileSystem, readOnly, indexIntervalBytes, segmentIndexBytes }
  }
}

async function orInDoubt<T>(what: string, task: () => Promise<T>): Promise<T> {
  try {
    return await task()
  } catch (error) {
    if (error instanceof InDoubtError) throw error
    throw new InDoubtError(what, { cause: error })
  }
}
