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

/** What a {@link PollLoop} drives. */
export interface PollParts<K, V> {
  readonly subscription: SubscriptionState
  readonly group: GroupSession
  readonly committer: OffsetCommitter
  readonly fetcher: Fetcher<K, V>
  readonly lockLoss: Pick<LockLoss, 'error'>
}

/** What one poll is asked for. */
export interface PollRequest {
  /** At least 1. */
  readonly maxCount: number
  /** 0 never waits. */
  readonly maxWaitMs: number
  readonly signal: AbortSignal | undefined
}

/** Records handed out without a poll keep a member alive, but its timer need not be exact to less. */
const POLL_TIMER_STEP_MS = 1

/**
 * What happens in a poll, and in which order: the group, then automatic commits, which therefore
 * are of what earlier polls have handed out, then reading, and at last handing out, in one step.
 *
 * One `run` at a time; everything else may be called meanwhile, and is noticed at once.
 */
export class PollLoop<K, V> {
  readonly #clock: Clock
  readonly #parts: PollParts<K, V>
  #running: Promise<unknown> | null = null
  #isStopped = false
  #isWoken = false
  /** Whether something has happened since the loop has looked last. */
  #hasChanged = false
  #endWait: (() => void) | null = null
  readonly #onWake = (wake: () => void): void => {
    this.#endWait = wake
    // What looked for positions may have called back, before there was a wait to be ended.
    if (this.#hasChanged) wake()
  }
  #polledMs = 0
  readonly #turns: TurnsBetweenRecords = new TurnsBetweenRecords()
  /** What records that are at hand have to wait for. */
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

  /** Makes a poll that waits look again. */
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
   * One poll. What it returns is not consumed before {@link PollLoop.handOver}.
   *
   * @param hold is handed the first record in the same step in which it is taken
   * @throws {@link IllegalStateError} when another one is in progress, there is nothing to poll, or a
   * listener calls
   * @throws {@link WakeupError}, {@link ClosedError} or the signal's reason when it is interrupted
   * @throws what the parts throw
   */
  async run(
    request: PollRequest,
    hold?: (record: ConsumerRecord<K, V>) => void,
  ): Promise<ConsumerRecord<K, V>[]> {
    if (this.#running !== null) {
      throw new IllegalStateError('another poll of this consumer is in progress: await it first')
    }
    const { group, subscription } = this.#parts
    if (group.isCalledByListener) {
      throw new IllegalStateError('a rebalance listener must not poll: the poll waits for it')
    }
    if (subscription.type === 'none') {
      throw new IllegalStateError('the consumer has nothing to poll: call subscribe() or assign()')
    }
    group.startPoll()
    // What one that was interrupted has passed over is no record.
    subscription.poll += 1
    const running = this.#run(request, hold)
    this.#running = running
    try {
      return await running
    } finally {
      this.#running = null
      this.#polledMs = this.#clock.monotonic()
      group.endPoll()
    }
  }

  /**
   * To be called in the step in which the application is handed what `run` has returned; see
   * {@link Fetcher.handOver}.
   *
   * @throws {@link ClosedError} when the consumer has been closed meanwhile, which has committed without it
   */
  handOver(records: ConsumerRecord<K, V>[]): ConsumerRecord<K, V>[] {
    if (this.#isStopped) throw consumerClosed()
    return this.#parts.fetcher.handOver(records)
  }

  /** One record, if it can be had without anything else that a poll does; `null` if not. */
  takeReady(): ConsumerRecord<K, V> | null {
    // A wakeup, or the end, is a change too.
    if (this.#running !== null || this.#hasChanged) return null
    this.#turn ??= this.#turns.turnIfDue()
    if (this.#turn !== null) return null
    const { committer, fetcher, group } = this.#parts
    // Where nothing is due by time, asking for it would be a good part of what a record costs.
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
    // Also what is decoded for records that were read before is work that needs no call.
    const turn = this.#turn ?? promptIo.turnIfDue()
    if (turn !== null) await turn
    this.#turn = null
    for (;;) {
      this.#ensureUninterrupted(signal)
      this.#hasChanged = false
      if (group.isInListener && (await this.#isListenerRunning(deadlineMs, signal))) return []
      await group.drive()
      this.#ensureUninterrupted(signal)
      await committer.commitIfDue()
      this.#ensureUninterrupted(signal)
      // The listener may have ended the subscription.
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
      // Also where it has no partition to be told by.
      if (lockLoss.error !== null && !hasProgressed) throw lockLoss.error
      if (remainingMs > 0 || hasProgressed || this.#hasChangedMeanwhile()) {
        // The time of many polls may be over at once.
        const turn = promptIo.turnIfDue()
        if (turn !== null) await turn
        continue
      }
      // Whoever polls in a loop without waiting would keep all others from ever sending something.
      if (maxWaitMs === 0) await nextTurn()
      this.#ensureUninterrupted(signal)
      return records
    }
  }

  /**
   * Waits for the listener of an unsubscribe, no longer than the poll may: it may be what polls, and would
   * be waited for for ever.
   *
   * @returns whether it still runs
   */
  async #isListenerRunning(deadlineMs: number, signal: AbortSignal | undefined): Promise<boolean> {
    const { group } = this.#parts
    while (group.isInListener) {
      const remainingMs = deadlineMs - this.#clock.monotonic()
      if (remainingMs > 0) {
        this.#hasChanged = false
        await this.#idle(remainingMs, signal)
      } else await nextTurn()
      this.#ensureUninterrupted(signal)
      if (remainingMs <= 0) return group.isInListener
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
      // What the looks before the wait have taken is part of it.
      const remainingMs = deadlineMs - this.#clock.monotonic()
      // Of what others append nobody tells.
      const isVain = this.#hasChanged || this.#parts.lockLoss.error !== null
      // Whether there is something to commit is a question to all partitions.
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

  /** A call of its own, because the compiler takes what was assigned before an await for certain. */
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

/** What calls are refused with from the close of a consumer on. */
export function consumerClosed(): ClosedError {
  return new ClosedError('the consumer is closed')
}
