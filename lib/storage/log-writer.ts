import { OffsetConflictError, type AppendOutcome, type VarveError } from '../errors.ts'
import { isSystemError } from '../platform/system-error.ts'
import { InDoubtError, NamesInDoubtError } from './in-doubt-error.ts'
import { checkKeyless, type AppendResult } from './append-record.ts'
import type { LocalLog } from './local-log.ts'
import { LogDeletion } from './log-deletion.ts'
import type { LogGuard } from './log-guard.ts'
import type { LogContext } from './log-options.ts'
import { offsetsBeyondLast } from './last-offset.ts'
import { ensureInRange } from './log-reader.ts'
import type { FreedSpace, RetentionRequest } from './log-retention.ts'
import type { LogState } from './log-state.ts'
import { isNoRoom, type OwedRecovery } from './owed-recovery.ts'

/** How long a log continues without checking that its file still has its name. */
const IN_PLACE_INTERVAL_MS = 1_000

/**
 * Implements the changes of a `Log`. It does not serialize the calls, which must not overlap.
 *
 * After a failure that leaves the disk in doubt, all further changes fail.
 */
export class LogWriter {
  /** Bytes appended since the recovery point was saved. */
  bytesSinceCheckpoint = 0
  readonly #log: LocalLog
  readonly #guard: LogGuard
  readonly #context: LogContext
  readonly #deletion: LogDeletion
  /** When the files were last seen in their place. */
  #inPlaceMs: number
  /** Work for which the open had no room. It has to be done before anything is changed. */
  #owed: OwedRecovery | null

  constructor(log: LocalLog, guard: LogGuard, context: LogContext, owed: OwedRecovery | null) {
    this.#log = log
    this.#guard = guard
    this.#context = context
    this.#owed = owed
    this.#inPlaceMs = context.clock.now()
    this.#deletion = new LogDeletion(log, (logStartOffset) => this.#save({ logStartOffset }))
  }

  /** The state that is kept outside the log's own files. */
  get state(): LogState {
    const { recoveryPoint, logStartOffset } = this.#log
    return { recoveryPoint, logStartOffset }
  }

  /**
   * The size of a batch was checked when it was accepted: a limit lowered while it waits must not
   * fail it, and with it the rest of its group. The log end offset is only known here: earlier
   * calls in the queue may have appended or truncated. Whether records need a key is checked again,
   * since compaction would silently remove those without one.
   *
   * @param hasKeyless whether there is a record without a key.
   */
  append(
    batches: readonly Buffer[],
    expectedOffset?: number,
    hasKeyless = false,
  ): Promise<AppendResult> {
    return this.#change('append', 'not-written', async () => {
      if (batches.length === 0) throw new RangeError('an append must hold at least one batch')
      if (expectedOffset !== undefined) this.#ensureEndsAt(expectedOffset)
      if (hasKeyless) checkKeyless(this.#log.config, this.#context.topic)
      this.#ensureOffsetsLeft(batches)
      let sizeBytes = 0
      for (const { length } of batches) sizeBytes += length
      const { timesFound } = this.#log
      const nowMs = this.#context.clock.now()
      const result = await this.#log.appender.append(batches)
      this.bytesSinceCheckpoint += sizeBytes
      // Opening the file by its name was such a check.
      if (this.#log.timesFound !== timesFound) this.#inPlaceMs = nowMs
      if (this.#mustAwaitLook()) await this.#ensureInPlace()
      return result
    })
  }

  /**
   * Synchronous variant of {@link LogWriter.append}, if there is nothing to wait for. Then the
   * configuration cannot have changed either, so keys are not checked again.
   *
   * @returns `null` if {@link LogWriter.append} has to follow; a promise if the write has failed or
   * was short, or if the file's place has to be checked. Until it has settled, nothing may be
   * changed.
   */
  appendNow(
    batches: readonly Buffer[],
    expectedOffset?: number,
  ): AppendResult | Promise<AppendResult> | null {
    if (!this.#isAtEase || batches.length === 0) return null
    const { logEndOffset } = this.#log
    if (expectedOffset !== undefined && expectedOffset !== logEndOffset) return null
    if (offsetsBeyondLast(logEndOffset, batches) > 0) return null
    const result = this.#log.appender.appendNow(batches)
    if (result === null) return null
    if (result instanceof Promise || this.#mustAwaitLook()) return this.#finish(result, batches)
    for (const { length } of batches) this.bytesSinceCheckpoint += length
    return result
  }

  /** Syncs if at least `flushMessages` records are not durable. Then notes the acknowledgement. */
  async acknowledge(): Promise<void> {
    const { logEndOffset, durableEndOffset, config } = this.#log
    if (logEndOffset - durableEndOffset >= config.flushMessages) await this.flush()
    this.noteAcknowledged(logEndOffset)
  }

  /** Notes that records below `endOffset` are acknowledged or shown to a reader. */
  noteAcknowledged(endOffset: number): void {
    if (endOffset > this.#log.acknowledgedEndOffset) this.#log.acknowledgedEndOffset = endOffset
  }

  flush(): Promise<void> {
    // The records were written before: an earlier failure leaves them in doubt.
    return this.#change('flush', 'unknown', () => this.#log.flush(), 'unknown')
  }

  /**
   * Synchronous variant of {@link LogWriter.flush}, if there is nothing to wait for.
   *
   * @returns false if {@link LogWriter.flush} has to follow; a promise, which rejects, if the sync
   * failed.
   */
  flushNow(): boolean | Promise<never> {
    if (!this.#isAtEase) return false
    try {
      return this.#log.flushNow()
    } catch (error) {
      return this.#rejected('flush', error, 'unknown')
    }
  }

  roll(): Promise<void> {
    return this.#changeAlone('roll', 'not-written', () => this.#log.roll())
  }

  truncateTo(offset: number): Promise<void> {
    return this.#changeAlone('truncation', 'unknown', async () => {
      ensureInRange(this.#log, this.#context, offset)
      if (offset === this.#log.logEndOffset) return
      // A recovery point beyond the end would look like lost records at the next open.
      const endOfRest = await this.#log.endOfRestBelow(offset)
      if (endOfRest < this.#log.recoveryPoint) await this.#save({ recoveryPoint: endOfRest })
      await this.#context.beforeTruncation?.(offset, this.#log.leaderEpoch)
      await this.#log.truncateTo(offset)
    })
  }

  /** @returns the freed space. */
  advanceLogStartOffset(offset: number): Promise<FreedSpace> {
    return this.#changeAlone('record deletion', 'unknown', async () => {
      // Another call may have deleted more since this one was made.
      if (offset > this.#log.logStartOffset) ensureInRange(this.#log, this.#context, offset)
      return this.#deletion.advanceTo(offset)
    })
  }

  /** @param swap replaces segments by others, see `SegmentSwap.run`. */
  compact<T>(swap: () => Promise<T>): Promise<T> {
    return this.#changeAlone('compaction', 'not-written', swap)
  }

  /**
   * Deletes what exceeds the log's limits; see `retentionTarget`. Also removes files that earlier
   * deletions have left.
   *
   * @param request is called when its turn comes, since its data may change before.
   */
  enforceRetention(request: () => RetentionRequest): Promise<FreedSpace> {
    return this.#changeAlone('retention', 'unknown', () =>
      this.#deletion.enforceRetention(request()),
    )
  }

  /**
   * Begins to save the recovery point. Resolves when everything that may leave the log in doubt is
   * done. Appends and flushes need not wait for `saved`, see {@link LogCheckpoint}.
   */
  checkpoint(): Promise<{ readonly saved: Promise<void> }> {
    return this.#changeAlone('checkpoint', 'not-written', async () => {
      await this.#log.ensureInPlace()
      const saving = this.#log.checkpoint.run(() => this.#saveRecoveryPoint())
      const saved = saving.catch((error: unknown) =>
        this.#rejected('checkpoint', error, 'not-written'),
      )
      // It is awaited only later, and an unhandled rejection would end the process.
      saved.catch(() => undefined)
      return { saved }
    })
  }

  async #saveRecoveryPoint(): Promise<void> {
    const recoveryPoint = this.#log.durableEndOffset
    const { bytesSinceCheckpoint } = this
    await this.#log.writeUpToDurable()
    await this.#save({ recoveryPoint })
    this.bytesSinceCheckpoint -= bytesSinceCheckpoint
  }

  /**
   * Leaves the files as after a clean shutdown, unless the log accepts no writes. Closes them.
   * @throws also if an earlier failure has lost acknowledged records: it may not have been reported
   * to their producers.
   */
  async close(): Promise<void> {
    if (this.#log.checkpoint.ended !== null) await this.#log.checkpoint.ended
    try {
      if (this.#guard.failure !== null) await this.#log.tail.leaveOwedMark(this.#log.segments)
      if (this.#guard.refusal() === null) await this.#change('close', 'unknown', () => this.#seal())
    } finally {
      await this.#log.segments.close()
    }
    const { durableEndOffset, acknowledgedEndOffset } = this.#log
    const loss = this.#guard.lossOf(durableEndOffset, acknowledgedEndOffset)
    if (loss !== null) throw loss
  }

  async #seal(): Promise<void> {
    await this.#log.flush()
    const cutting = this.#log.cutPreallocated()
    if (cutting !== null) await cutting
    await this.#log.seal()
    await this.#save({ recoveryPoint: this.#log.logEndOffset })
    await this.#context.onClosed?.()
  }

  /**
   * Writes to an unlinked file succeed, and so do its syncs. To limit the time in which appends are
   * wrongly acknowledged, the log checks its file every second while there are appends.
   */
  async #ensureInPlace(): Promise<void> {
    const nowMs = this.#context.clock.now()
    try {
      await this.#log.ensureInPlace()
      this.#inPlaceMs = nowMs
    } catch (error) {
      // A failed check is inconclusive: the next append checks again.
      if (error instanceof InDoubtError) throw error
    }
  }

  /** Checks synchronously if a check is due. @returns whether an asynchronous one is needed */
  #mustAwaitLook(): boolean {
    const nowMs = this.#context.clock.now()
    // The wall clock may be set back.
    if (Math.abs(nowMs - this.#inPlaceMs) < IN_PLACE_INTERVAL_MS) return false
    if (!this.#log.isInPlaceNow()) return true
    this.#inPlaceMs = nowMs
    return false
  }

  #ensureEndsAt(expectedOffset: number): void {
    const { logEndOffset } = this.#log
    if (expectedOffset !== logEndOffset) throw new OffsetConflictError(expectedOffset, logEndOffset)
  }

  /** Before anything is written: records beyond the last offset could never be read. */
  #ensureOffsetsLeft(batches: readonly Buffer[]): void {
    const count = offsetsBeyondLast(this.#log.logEndOffset, batches)
    if (count > 0) throw this.#guard.noOffsetsLeft(this.#log.logEndOffset, count)
  }

  async #save(change: Partial<LogState>): Promise<void> {
    const state = { ...this.state, ...change }
    await this.#context.saveState(state)
    this.#log.recoveryPoint = state.recoveryPoint
    this.#log.logStartOffset = state.logStartOffset
  }

  /** Runs a change that must not overlap with a checkpoint. */
  #changeAlone<T>(what: string, outcome: AppendOutcome, change: () => Promise<T>): Promise<T> {
    const { ended } = this.#log.checkpoint
    if (ended === null) return this.#change(what, outcome, change)
    return ended.then(() => this.#change(what, outcome, change))
  }

  async #change<T>(
    what: string,
    outcome: AppendOutcome,
    change: () => Promise<T>,
    refusedOutcome: AppendOutcome = 'not-written',
  ): Promise<T> {
    // Each call that is refused after a failure tries again to write the mark of the failure.
    if (this.#guard.failure !== null && !this.#guard.isClosed)
      await this.#log.tail.leaveOwedMark(this.#log.segments)
    this.#guard.ensureWritable(refusedOutcome)
    try {
      if (this.#owed !== null) await this.#settle(this.#owed)
      if (this.#log.appender.hasLeftOvers) await this.#log.appender.cutLeftOvers()
      return await change()
    } catch (error) {
      throw await this.#failed(what, error, outcome)
    }
  }

  /** Whether nothing prevents a change, and nothing has to be done before it. */
  get #isAtEase(): boolean {
    if (this.#owed !== null || this.#guard.isClosed || this.#guard.refusal() !== null) return false
    return !this.#log.appender.hasLeftOvers
  }

  async #finish(
    writing: AppendResult | Promise<AppendResult>,
    batches: readonly Buffer[],
  ): Promise<AppendResult> {
    try {
      const result = await writing
      for (const { length } of batches) this.bytesSinceCheckpoint += length
      if (this.#mustAwaitLook()) await this.#ensureInPlace()
      return result
    } catch (error) {
      return this.#rejected('append', error, 'not-written')
    }
  }

  async #rejected(what: string, error: unknown, outcome: AppendOutcome): Promise<never> {
    throw await this.#failed(what, error, outcome)
  }

  /** Does the work left by the open. If it fails, nothing is changed either. */
  async #settle(owed: OwedRecovery): Promise<void> {
    try {
      await owed.settle()
    } catch (error) {
      // Nothing was lost, and the call can be repeated.
      if (isNoRoom(error) || (isSystemError(error) && error.syscall === 'open')) throw error
      throw error instanceof InDoubtError ? error : new InDoubtError('recovery', { cause: error })
    }
    this.#owed = null
    this.#log.noteDurable()
  }

  /** The error for the caller. First drops what may not be on disk, as far as possible. */
  async #failed(what: string, error: unknown, outcome: AppendOutcome): Promise<Error> {
    // Misuse is not a failure of the disk.
    if (error instanceof TypeError || error instanceof RangeError) return error
    const failure: VarveError = this.#guard.failed(what, error, outcome)
    // No bytes are lost if only names are in doubt.
    if (error instanceof NamesInDoubtError) return failure
    // Owed records may have been acknowledged: the next open checks them. Nothing is truncated.
    if (error instanceof InDoubtError && this.#owed === null) {
      await this.#log.checkpoint.ended
      await this.#log.tail.drop(this.#log, error).catch(() => undefined)
    }
    return failure
  }
}
