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

/** How long a log goes on without looking whether its file still has its name. */
const IN_PLACE_INTERVAL_MS = 1_000

/**
 * Changes a log: what `Log` offers for that, without the order of the calls, which must not overlap.
 *
 * When a change fails in a way that leaves the disk in doubt, none follows.
 */
export class LogWriter {
  /** Bytes appended since the recovery point was saved. */
  bytesSinceCheckpoint = 0
  readonly #log: LocalLog
  readonly #guard: LogGuard
  readonly #context: LogContext
  readonly #deletion: LogDeletion
  /** When the files were last seen where they should be. */
  #inPlaceMs: number
  /** What opening the log had no room for. Nothing is changed before it is done. */
  #owed: OwedRecovery | null

  constructor(log: LocalLog, guard: LogGuard, context: LogContext, owed: OwedRecovery | null) {
    this.#log = log
    this.#guard = guard
    this.#context = context
    this.#owed = owed
    this.#inPlaceMs = context.clock.now()
    this.#deletion = new LogDeletion(log, (logStartOffset) => this.#save({ logStartOffset }))
  }

  /** What is remembered of the log outside of its own files. */
  get state(): LogState {
    const { recoveryPoint, logStartOffset } = this.#log
    return { recoveryPoint, logStartOffset }
  }

  /**
   * How large a batch may be is asked where it is taken: a limit that is lowered while it waits must
   * not fail it, and with it whoever shares its group. Where the log ends is known only in its turn:
   * what stood before it in the queue may have appended or cut. Whether records need a key is asked again
   * then: compaction would remove the others without a word.
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
      // Who has just opened the file by its name has looked.
      if (this.#log.timesFound !== timesFound) this.#inPlaceMs = nowMs
      if (this.#mustAwaitLook()) await this.#ensureInPlace()
      return result
    })
  }

  /**
   * The same inside of the call, where nothing has to be waited for, not even to hear of another configuration.
   *
   * @returns `null` when {@link LogWriter.append} has to follow; a promise when the write has failed,
   * only part was written so far, or it has to be looked where it went: nothing may be changed before
   * it has settled.
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

  /** Syncs when `flushMessages` records are not durable; then the caller is told of all that is there. */
  async acknowledge(): Promise<void> {
    const { logEndOffset, durableEndOffset, config } = this.#log
    if (logEndOffset - durableEndOffset >= config.flushMessages) await this.flush()
    this.noteAcknowledged(logEndOffset)
  }

  /** Somebody is told, or shown, that there are records below `endOffset`. */
  noteAcknowledged(endOffset: number): void {
    if (endOffset > this.#log.acknowledgedEndOffset) this.#log.acknowledgedEndOffset = endOffset
  }

  flush(): Promise<void> {
    // What is to be made durable has been written: a failure before this call leaves it in doubt.
    return this.#change('flush', 'unknown', () => this.#log.flush(), 'unknown')
  }

  /**
   * The same inside of the call, where nothing has to be waited for.
   *
   * @returns false when {@link LogWriter.flush} has to follow; a promise, which rejects, when the
   * sync has failed.
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
    return this.#changeAlone('truncate', 'unknown', async () => {
      ensureInRange(this.#log, this.#context, offset)
      if (offset === this.#log.logEndOffset) return
      // A recovery point beyond the end would look like lost records at the next open.
      const endOfRest = await this.#log.endOfRestBelow(offset)
      if (endOfRest < this.#log.recoveryPoint) await this.#save({ recoveryPoint: endOfRest })
      await this.#context.beforeTruncation?.(offset)
      await this.#log.truncateTo(offset)
    })
  }

  /** @returns what that has freed. */
  advanceLogStartOffset(offset: number): Promise<FreedSpace> {
    return this.#changeAlone('delete records', 'unknown', async () => {
      // Another call may have deleted more since this one was made.
      if (offset > this.#log.logStartOffset) ensureInRange(this.#log, this.#context, offset)
      return this.#deletion.advanceTo(offset)
    })
  }

  /** @param swap takes segments for others, see `SegmentSwap.run`. */
  compact<T>(swap: () => Promise<T>): Promise<T> {
    return this.#changeAlone('compaction', 'not-written', swap)
  }

  /**
   * Deletes what the limits of the log no longer keep; see `retentionTarget`. Files that an earlier
   * deletion has left are removed now.
   *
   * @param request is called in its turn: what it rests on may change before.
   */
  enforceRetention(request: () => RetentionRequest): Promise<FreedSpace> {
    return this.#changeAlone('retention', 'unknown', () =>
      this.#deletion.enforceRetention(request()),
    )
  }

  /**
   * Begins to save the recovery point. What may leave the log in doubt is done when it resolves; appends
   * and flushes need not wait for the rest, see {@link LogCheckpoint}.
   */
  checkpoint(): Promise<{ readonly saved: Promise<void> }> {
    return this.#changeAlone('checkpoint', 'not-written', async () => {
      await this.#log.ensureInPlace()
      const saving = this.#log.checkpoint.run(() => this.#saveRecoveryPoint())
      const saved = saving.catch((error: unknown) =>
        this.#rejected('checkpoint', error, 'not-written'),
      )
      // Who waits for it comes later, and a rejection that nobody waits for ends the process.
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
   * Leaves the files as an orderly close does, unless the log takes no writes; closes them.
   *
   * @throws also where a failure before has cost records that were acknowledged: who was told of it may
   * have been nobody, or somebody else.
   */
  async close(): Promise<void> {
    if (this.#log.checkpoint.ended !== null) await this.#log.checkpoint.ended
    try {
      if (this.#guard.hasFailed) await this.#log.tail.leaveOwedMark(this.#log.segments)
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
   * Writing to a file that was unlinked succeeds, and so does syncing it. Whoever is acknowledged
   * must not depend on that for long, so while there are appends the log looks every second.
   */
  async #ensureInPlace(): Promise<void> {
    const nowMs = this.#context.clock.now()
    try {
      await this.#log.ensureInPlace()
      this.#inPlaceMs = nowMs
    } catch (error) {
      // A look that fails says nothing: the next append looks again.
      if (error instanceof InDoubtError) throw error
    }
  }

  /** Looks inside of the call, where it is time to. @returns whether the look has to be waited for */
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

  /** Before anything is begun: what is written beyond the last offset could never be read. */
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

  /** A change that no checkpoint may go on beside. */
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
    // Whatever is refused after a failure gives the disk another chance to take the mark of it.
    if (this.#guard.hasFailed && !this.#guard.isClosed)
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

  /** Whether nothing stands in the way of a change, and nothing has to be done before it. */
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

  /** Does what opening the log has left to do. After a failure nothing is changed either. */
  async #settle(owed: OwedRecovery): Promise<void> {
    try {
      await owed.settle()
    } catch (error) {
      // Nothing was lost, and another attempt tells the truth.
      if (isNoRoom(error) || (isSystemError(error) && error.syscall === 'open')) throw error
      throw error instanceof InDoubtError ? error : new InDoubtError('recovery', { cause: error })
    }
    this.#owed = null
    this.#log.noteDurable()
  }

  /** The error that the caller gets. What may not be on disk is dropped first, as far as possible. */
  async #failed(what: string, error: unknown, outcome: AppendOutcome): Promise<Error> {
    // Misuse is not a failure of the disk.
    if (error instanceof TypeError || error instanceof RangeError) return error
    const failure: VarveError = this.#guard.failed(what, error, outcome)
    // No bytes are lost where only names are in doubt.
    if (error instanceof NamesInDoubtError) return failure
    // What is owed may have been acknowledged: the next open looks at it again, and nothing is cut.
    if (error instanceof InDoubtError && this.#owed === null) {
      await this.#log.checkpoint.ended
      await this.#log.tail.drop(this.#log, error).catch(() => undefined)
    }
    return failure
  }
}
