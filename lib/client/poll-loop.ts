import type { LockLoss } from '../broker/lock-loss.ts'
import { ClosedError, IllegalStateError, WakeupError } from '../errors.ts'
import type { Clock } from '../platform/clock.ts'
import { nextTurn } from '../platform/event-loop.ts'
import { promptIo } from '../platform/prompt-io.ts'
import { TurnsBetweenRecords } from '../platform/turns-between-records.ts'
import type { ConsumerRecord } from './consumer-record.ts'
import type { Fetcher } from './fetcher.ts'
import type { GroupSession } from './group-session.ts'
import type { OffsetCommitter } from './offset-committer.ts'
import type { SubscriptionState } from './subscription-state.ts'

/** The parts that a {@link PollLoop} drives. */
export interface PollParts<K, V> {
  readonly subscription: SubscriptionState
  readonly group: GroupSession
  readonly committer: OffsetCommitter
  readonly fetcher: Fetcher<K, V>
  readonly lockLoss: Pick<LockLoss, 'error'>
}

/** The parameters of one poll. */
export interface PollRequest {
  /** At least 1. */
  readonly maxCount: number
  /** Milliseconds; 0 does not wait. */
  readonly maxWaitMs: number
  readonly signal: AbortSignal | undefined
}

/**
 * Records returned without a poll keep a member alive, but its timer need not be more exact than
 * this.
 */
const POLL_TIMER_STEP_MS = 1

/**
 * Runs the steps of a poll in order. First the group, then automatic commits, which therefore cover
 * what earlier polls have returned, then reading, and finally taking the records in one step.
 *
 * Only one `run` at a time. All other calls may be made meanwhile and take effect at once.
 */
export class PollLoop<K, V> {
  readonly #clock: Clock
  readonly #parts: PollParts<K, V>
  #running: Promise<unknown> | null = null
  #isStopped = false
  #isWoken = false
  /** Whether something has changed since the loop last checked. */
  #hasChanged = false
  #endWait: (() => void) | null = null
  readonly #onWake = (wake: () => void): void => {
    this.#endWait = wake
    // The position lookup may have called back before there was a wait to end.
    if (this.#hasChanged) wake()
  }
  #polledMs = 0
  readonly #turns: TurnsBetweenRecords = new TurnsBetweenRecords()
  /** The turn of the event loop that buffered records have to wait for. */
  #turn: Promise<void> | null = null

  constructor(clock: Clock, parts: PollParts<K, V>) {
    this.#clock = clock
    this.#parts = parts
  }

  /** The poll in progress, `null` for none. */
  get running(): Promise<unknown> | null {
    return this.#running
  }

  get isStopped(): boolean {
    return this.#isStopped
  }

  /** Makes a waiting poll check again. */
  notify(): void {
    this.#hasChanged = true
    this.#endWait?.()
  }

  /** Makes the poll in progress, or else the next one, reject with {@link WakeupError}. */
  wakeup(): void {
    this.#isWoken = true
    this.notify()
  }

  /** Makes every poll from now on, and the one in progress, reject with {@link ClosedError}. */
  stop(): void {
    this.#isStopped = true
    this.#parts.group.end()
    this.#parts.fetcher.stop()
    this.notify()
  }

  /**
   * Runs one poll. The records it returns count as consumed only after {@link PollLoop.handOver}.
   *
   * @param hold receives the first record in the same step in which it is taken
   * @throws {@link IllegalStateError} when another poll is in progress, there is nothing to poll,
   * or a listener calls
   * @throws {@link WakeupError}, {@link ClosedError} or the signal's reason when the poll is
   * interrupted
   * @throws the errors of the parts
   */
  async run(
    request: PollRequest,
    hold?: (record: ConsumerRecord<K, V>) => void,
  ): Promise<ConsumerRecord<K, V>[]> {
    if (this.#running !== null) {
      throw new IllegalStateError('another poll of this consumer is in progress: await it first')
    }
    const { group, subscription } = this.#parts
    if (group.listener.isCalling) {
      throw new IllegalStateError('a rebalance listener must not poll: the poll waits for it')
    }
    if (subscription.type === 'none') {
      throw new IllegalStateError('the consumer has nothing to poll: call subscribe() or assign()')
    }
    group.startPoll()
    // Records that an interrupted poll skipped do not count as returned.
    subscription.poll += 1
    const running = this.#run(request, hold)
    this.#running = running
    try {
      return await running
    } catch (error) {
      // Records that it has taken still count as not returned. Only the next run ends that.
      this.#hasChanged = true
      throw error
    } finally {
      this.#running = null
      this.#polledMs = this.#clock.monotonic()
      group.endPoll()
    }
  }

  /**
   * Must be called in the same step in which the application receives the records of `run`; see
   * {@link Fetcher.handOver}.
   *
   * @throws {@link ClosedError} when the consumer was closed meanwhile, and has committed without
   * these records
   */
  handOver(records: ConsumerRecord<K, V>[]): ConsumerRecord<K, V>[] {
    if (this.#isStopped) throw consumerClosed()
    return this.#parts.fetcher.handOver(records)
  }

  /** Returns one record if that needs no other step of a poll; `null` otherwise. */
  takeReady(): ConsumerRecord<K, V> | null {
    // A wakeup or the end is a change too.
    if (this.#running !== null || this.#hasChanged) return null
    this.#turn ??= this.#turns.turnIfDue()
    if (this.#turn !== null) return null
    const { committer, fetcher, group } = this.#parts
    // If nothing is due by time, reading the clock would be a large part of a record's cost.
    if (!committer.isAutomatic && !group.hasMember) return fetcher.takeReady()
    const nowMs = this.#clock.monotonic()
    if (committer.isDue(nowMs)) return null
    const record = fetcher.takeReady()
    if (record !== null && nowMs - this.#polledMs >= POLL_TIMER_STEP_MS) {
      this.#polledMs = nowMs
      group.endPoll()
    }
    return record
  }

  async #run(
    { maxCount, maxWaitMs, signal }: PollRequest,
    hold?: (record: ConsumerRecord<K, V>) => void,
  ): Promise<ConsumerRecord<K, V>[]> {
    const { subscription, group, committer, fetcher, lockLoss } = this.#parts
    const deadlineMs = this.#clock.monotonic() + maxWaitMs
    // Decoding records that were read before is also work without a system call.
    const turn = this.#turn ?? promptIo.turnIfDue()
    if (turn !== null) await turn
    this.#turn = null
    for (;;) {
      this.#ensureUninterrupted(signal)
      this.#hasChanged = false
      if (group.listener.isRunning && (await this.#isListenerRunning(deadlineMs, signal))) return []
      await group.drive()
      this.#ensureUninterrupted(signal)
      await committer.commitIfDue()
      this.#ensureUninterrupted(signal)
      // The listener may have unsubscribed.
      if (subscription.type === 'none') return []
      const remainingMs = deadlineMs - this.#clock.monotonic()
      const hasProgressed = await this.#fetch(deadlineMs, signal)
      this.#ensureUninterrupted(signal)
      const decoding = fetcher.decode()
      if (decoding !== null) await decoding
      this.#ensureUninterrupted(signal)
      const records = fetcher.take(maxCount)
      // A deserializer may have closed the consumer.
      if (this.#isStopped) throw consumerClosed()
      if (records[0] !== undefined) {
        hold?.(records[0])
        return records
      }
      // Checked here too, for a consumer without a partition that reports it.
      if (lockLoss.error !== null && !hasProgressed) throw lockLoss.error
      if (remainingMs > 0 || hasProgressed || this.#hasChangedMeanwhile()) {
        // The wait times of many polls may end at the same moment.
        const turn = promptIo.turnIfDue()
        if (turn !== null) await turn
        continue
      }
      // A loop of polls without waiting would otherwise keep all other code from running.
      if (maxWaitMs === 0) await nextTurn()
      this.#ensureUninterrupted(signal)
      return records
    }
  }

  /**
   * Waits for the listener of an unsubscribe, up to the poll's wait time: if the listener itself
   * polls, an unlimited wait would never end.
   *
   * @returns whether it is still running
   */
  async #isListenerRunning(deadlineMs: number, signal: AbortSignal | undefined): Promise<boolean> {
    const { group } = this.#parts
    while (group.listener.isRunning) {
      const remainingMs = deadlineMs - this.#clock.monotonic()
      if (remainingMs > 0) {
        this.#hasChanged = false
        await this.#idle(remainingMs, signal)
      } else await nextTurn()
      this.#ensureUninterrupted(signal)
      if (remainingMs <= 0) return group.listener.isRunning
    }
    return false
  }

  async #idle(maxWaitMs: number, signal: AbortSignal | undefined): Promise<void> {
    const onWake = this.#onWake
    try {
      await this.#parts.fetcher.idle(maxWaitMs, { signal, onWake })
    } finally {
      this.#endWait = null
    }
  }

  async #fetch(deadlineMs: number, signal: AbortSignal | undefined): Promise<boolean> {
    const maxWaitMs = (): number => {
      // The time spent before the wait is part of it.
      const remainingMs = deadlineMs - this.#clock.monotonic()
      // Appends of the directory's new owner wake nobody here.
      const isVain = this.#hasChanged || this.#parts.lockLoss.error !== null
      // Whether there is something to commit has to be checked in all partitions.
      if (isVain || remainingMs <= 0) return 0
      return Math.min(remainingMs, this.#parts.committer.msUntilDue())
    }
    const onWake = this.#onWake
    try {
      return await this.#parts.fetcher.fetch({ maxWaitMs, deadlineMs, signal, onWake })
    } finally {
      this.#endWait = null
    }
  }

  /**
   * A separate method, because the compiler assumes that a value assigned before an await is
   * unchanged.
   */
  #hasChangedMeanwhile(): boolean {
    return this.#hasChanged
  }

  #ensureUninterrupted(signal: AbortSignal | undefined): void {
    if (this.#isStopped) throw consumerClosed()
    if (this.#isWoken) {
      this.#isWoken = false
      throw new WakeupError()
    }
    signal?.throwIfAborted()
  }
}

/** The error of all calls after the close of a consumer. */
export function consumerClosed(): ClosedError {
  return new ClosedError('the consumer is closed')
}
