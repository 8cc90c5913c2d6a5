import { ClosedError } from '../errors.ts'
import type { Clock } from '../platform/clock.ts'
import { RecordBatch, stampBatch } from '../record/record-batch.ts'
import type { AppendResult } from './append-record.ts'
import type { LogPosition } from './durable-end.ts'
import { InDoubtError, LeftOversError } from './in-doubt-error.ts'
import type { LocalLog } from './local-log.ts'
import type { LogSegment } from './log-segment.ts'
import type { RollPolicy } from './roll-policy.ts'

/**
 * Appends batches to a log, and removes what a failed append has left. Calls must not overlap with
 * each other, nor with other changes of the log.
 */
export class LogAppender {
  readonly #log: LocalLog
  readonly #rollPolicy: RollPolicy
  readonly #clock: Pick<Clock, 'now'>
  /** End of the log before a failed write whose bytes are still to be truncated. */
  #leftOversFrom: LogPosition | null = null

  constructor(log: LocalLog, rollPolicy: RollPolicy, clock: Pick<Clock, 'now'>) {
    this.#log = log
    this.#rollPolicy = rollPolicy
    this.#clock = clock
  }

  /**
   * Stamps and appends batches, rolling if necessary. If it rejects, none of them is in the log.
   *
   * @throws InDoubtError or LeftOversError if that is not certain; otherwise the error of the file
   * system.
   */
  async append(buffers: readonly Buffer[]): Promise<AppendResult> {
    const { epochs, leaderEpoch, end } = this.#log
    const appendTime = this.#appendTime()
    // A new epoch is on disk before the first batch that carries it.
    epochs.assign(leaderEpoch, end.offset)
    if (epochs.isDirty) await epochs.write()
    try {
      return await this.#appendAll(buffers, end, appendTime)
    } catch (error) {
      return this.#undo(error)
    }
  }

  /**
   * Synchronous variant of {@link LogAppender.append}, if there is nothing to wait for.
   *
   * @returns `null` if there is: nothing has changed, and {@link LogAppender.append} has to follow;
   * a promise, with the errors of {@link LogAppender.append}, if the write has started and has
   * failed or was short.
   */
  appendNow(buffers: readonly Buffer[]): AppendResult | Promise<AppendResult> | null {
    try {
      return this.#appendNow(buffers)
    } catch (error) {
      return this.#undo(error)
    }
  }

  /** Whether {@link LogAppender.cutLeftOvers} has anything to do. */
  get hasLeftOvers(): boolean {
    const { segments, producers } = this.#log
    return this.#leftOversFrom !== null || segments.hasLeftOvers || producers.isStale
  }

  /**
   * Restores the files to the end of the log before a failed write. This has to succeed before
   * anything else is changed; if it fails, the next call tries again.
   *
   * @throws InDoubtError if a sync fails; otherwise the error of the file system.
   */
  async cutLeftOvers(): Promise<void> {
    await this.#log.checkpoint.ended
    const from = this.#leftOversFrom
    const { segments, producers } = this.#log
    if (from !== null) {
      producers.markStale()
      await segments.changing(() => this.#cutBack(from))
      this.#leftOversFrom = null
      // Another process that follows the log may have seen some of it.
      this.#log.raiseEpoch()
      // The truncation may have made records durable in a segment that is not on record yet.
      await this.#log.flush()
    }
    await segments.removeLeftOvers()
    await this.#log.refreshProducers()
  }

  /**
   * Removes what the append that failed with `error` has left. Never resolves.
   *
   * @throws `error`; InDoubtError or LeftOversError if the removal fails.
   */
  async #undo(error: unknown): Promise<never> {
    if (error instanceof InDoubtError) throw error
    try {
      await this.cutLeftOvers()
    } catch (undoError) {
      if (undoError instanceof InDoubtError) throw undoError
      throw new LeftOversError('the remains of a failed write could not be removed', {
        cause: new AggregateError([error, undoError]),
      })
    }
    throw error
  }

  async #appendAll(
    buffers: readonly Buffer[],
    start: LogPosition,
    appendTime: number | null,
  ): Promise<AppendResult> {
    const { offset: baseOffset } = start
    let [nextOffset, timestamp] = [baseOffset, -1]
    let pending: RecordBatch[] = []
    let pendingBytes = 0
    for (const buffer of buffers) {
      const { active } = this.#log.segments
      if (mayFillIndex(active, pending, pendingBytes)) {
        await this.#write(pending, pendingBytes, start)
        pending = []
        pendingBytes = 0
      }
      let batch = this.#stamp(buffer, nextOffset, appendTime)
      const mustRoll = this.#rollPolicy.mustRoll(active, batch, pending[0], pendingBytes)
      if (mustRoll instanceof Promise ? await mustRoll : mustRoll) {
        await this.#write(pending, pendingBytes, start)
        pending = []
        pendingBytes = 0
        await this.#log.roll()
        batch = this.#stamp(buffer, nextOffset, appendTime)
      }
      pending.push(batch)
      pendingBytes += batch.sizeBytes
      nextOffset = batch.nextOffset
      timestamp = Math.max(timestamp, batch.maxTimestamp)
    }
    await this.#write(pending, pendingBytes, start)
    // From here on nothing of this append is removed.
    this.#leftOversFrom = null
    return { baseOffset, lastOffset: nextOffset - 1, timestamp }
  }

  #appendNow(buffers: readonly Buffer[]): AppendResult | Promise<AppendResult> | null {
    const { epochs, leaderEpoch, end, segments } = this.#log
    const { active } = segments
    epochs.assign(leaderEpoch, end.offset)
    if (epochs.isDirty || active === undefined) return null
    const batches: RecordBatch[] = []
    const appendTime = this.#appendTime()
    let pendingBytes = 0
    let [nextOffset, timestamp] = [end.offset, -1]
    for (const buffer of buffers) {
      if (mayFillIndex(active, batches, pendingBytes)) return null
      const batch = this.#stamp(buffer, nextOffset, appendTime)
      // Must not start anything that has to be awaited.
      const mustRoll = this.#rollPolicy.mustRollNow(active, batch, batches[0], pendingBytes)
      if (mustRoll !== false) return null
      batches.push(batch)
      pendingBytes += batch.sizeBytes
      nextOffset = batch.nextOffset
      timestamp = Math.max(timestamp, batch.maxTimestamp)
    }
    const limitBytes = this.#growthLimit
    if (limitBytes > 0 && active.preallocation.isDueFor(pendingBytes, limitBytes)) return null
    this.#leftOversFrom = end
    const count = active.appendNow(batches, pendingBytes)
    if (count < 0) {
      // The write was not attempted, so nothing is left: a truncation would cost syncs and a new
      // epoch.
      this.#leftOversFrom = null
      return null
    }
    const result = { baseOffset: end.offset, lastOffset: nextOffset - 1, timestamp }
    if (count < pendingBytes) return this.#writeRest(active, batches, result)
    this.#noteWritten(batches)
    this.#leftOversFrom = null
    return result
  }

  /**
   * Completes a short write like any other write: whatever it leaves belongs to this append,
   * however it ends.
   */
  async #writeRest(
    active: LogSegment,
    batches: readonly RecordBatch[],
    result: AppendResult,
  ): Promise<AppendResult> {
    try {
      // From the start: the bytes already written are overwritten with the same content.
      await active.append(batches)
    } catch (error) {
      return this.#undo(error)
    }
    this.#noteWritten(batches)
    this.#leftOversFrom = null
    return result
  }

  async #write(
    batches: readonly RecordBatch[],
    sizeBytes: number,
    start: LogPosition,
  ): Promise<void> {
    const { active } = this.#log.segments
    if (active === undefined) throw new ClosedError('the log has no segment to append to')
    const begin = (): void => {
      this.#leftOversFrom = start
    }
    // Without batches, a roll follows, which may leave files too.
    if (batches.length === 0) begin()
    const limitBytes = this.#growthLimit
    if (limitBytes > 0) await active.preallocation.takeFor(sizeBytes, limitBytes)
    // If the file cannot be opened, nothing was written: the truncation would need the file too,
    // and cost several syncs and a new epoch.
    await active.append(batches, begin)
    this.#noteWritten(batches)
  }

  /** Size up to which files may be preallocated; 0 if preallocation is off. */
  get #growthLimit(): number {
    const { preallocate, maxBytes, minFreeBytes, segmentBytes } = this.#log.config
    return preallocate && maxBytes < 0 && minFreeBytes === 0 ? segmentBytes : 0
  }

  #noteWritten(batches: readonly RecordBatch[]): void {
    for (const batch of batches) this.#log.producers.update(batch)
    this.#log.logEndOffset = batches.at(-1)?.nextOffset ?? this.#log.logEndOffset
  }

  /**
   * The time of an append that begins now, `null` if its records keep their own timestamps. All of
   * its batches get the same, even if it rolls or the topic is altered meanwhile: it is the one
   * that its callers are told.
   */
  #appendTime(): number | null {
    const isAppendTime = this.#log.config.messageTimestampType === 'LogAppendTime'
    return isAppendTime ? this.#clock.now() : null
  }

  #stamp(buffer: Buffer, baseOffset: number, appendTime: number | null): RecordBatch {
    const { leaderEpoch, durableEndOffset } = this.#log
    stampBatch(buffer, {
      baseOffset,
      partitionLeaderEpoch: leaderEpoch,
      groupStart: baseOffset === durableEndOffset,
      logAppendTime: appendTime,
    })
    return new RecordBatch(buffer)
  }

  /** Restores the segments to the end of the log before a failed append. */
  async #cutBack(from: LogPosition): Promise<void> {
    const log = this.#log
    log.logEndOffset = from.offset
    if (log.durableEndOffset > from.offset) {
      log.durableEndOffset = from.offset
      log.tail.durablePosition = from
    }
    await log.segments.removeAbove(from.offset)
    const { active } = log.segments
    if (active === undefined) return
    await (active.nextOffset > from.offset ? active.truncateTo(from.offset) : active.cutFile())
    // The sync of the truncation covers all remaining bytes, including earlier unsynced appends.
    active.noteDurable()
    log.noteDurable()
  }
}

/**
 * Whether the pending batches have to be written before it can be decided whether to roll: until
 * then they are not counted in the indexes of the segment.
 */
function mayFillIndex(
  active: LogSegment | undefined,
  pending: readonly RecordBatch[],
  pendingBytes: number,
): boolean {
  if (pending.length === 0 || active?.held.canAppend !== true) return false
  return active.indexes.mayBeFullBehind(pending.length, pendingBytes)
}
