import { ClosedError, type Consumer, type ConsumerRecord, type TopicPartition } from '../index.ts'
import { onAbort } from '../platform/abort-listeners.ts'
import { promptIo } from '../platform/prompt-io.ts'
import { PushBrake } from './push-brake.ts'
import { commitNew, ensureCommits } from './push-commit.ts'
import { PushDelivery, type PushResult, type Write } from './push-delivery.ts'
import { PushEnd } from './push-end.ts'
import type { ResolvedPushOptions } from './push-options.ts'
import { PushPartitions } from './push-partitions.ts'
import {
  isInFront,
  partitionKey,
  PushQueue,
  type PushEntry,
  type PushLane,
  type PushPartition,
} from './push-queue.ts'

const WOKEN: Error = new Error('there is something to do')
/** Polls that do not wait would keep the process busy while there is nothing to do. */
const WAIT_MS = 100

/** The loop of a push: commits, polls and starts writes until it ends. */
export class PushRun<K, V> {
  readonly #consumer: Consumer<K, V>
  readonly #delivery: PushDelivery<K, V>
  readonly #options: ResolvedPushOptions<K, V>
  readonly #partitions: PushPartitions<K, V>
  readonly #queue: PushQueue<K, V>
  /** Partitions being drained. They may no longer be assigned, but their writes still count. */
  readonly #draining: Set<PushPartition<K, V>> = new Set()
  readonly #drains: Set<Promise<void>> = new Set()
  readonly #brake: PushBrake<K, V>
  readonly #writes: Map<Promise<void>, PushPartition<K, V>> = new Map()
  readonly #end: PushEnd
  #inFlight = 0
  #isTurnAwaited = false
  /** From then on the consumer is the caller's again, and stays where the caller moves it. */
  #hasEnded = false
  #wake: AbortController = new AbortController()
  #committing: Promise<void> = Promise.resolve()

  constructor(consumer: Consumer<K, V>, write: Write<K, V>, options: ResolvedPushOptions<K, V>) {
    this.#consumer = consumer
    this.#end = new PushEnd(() => consumer.controls.isClosing)
    this.#delivery = new PushDelivery(write, options, this.#end)
    this.#options = options
    this.#partitions = new PushPartitions(consumer)
    this.#queue = new PushQueue(options.orderBy)
    this.#brake = new PushBrake(consumer, options.maxInFlight)
  }

  /**
   * From now on only writes that precede another one are started, and none that fails is retried.
   */
  stop(): void {
    this.#end.stop()
    this.#wake.abort(WOKEN)
  }

  async drain(partitions: readonly TopicPartition[]): Promise<void> {
    if (this.#hasEnded) return
    const drain = this.#drain(partitions)
    const ended = drain.catch(() => undefined)
    this.#drains.add(ended)
    try {
      await drain
    } finally {
      this.#drains.delete(ended)
    }
  }

  async #drain(partitions: readonly TopicPartition[]): Promise<void> {
    const drained = partitions.flatMap((each) => this.#partitions.get(partitionKey(each)) ?? [])
    // Waiting records are dropped at once, except those that keep a later record from being
    // committed. Writes in progress still count.
    this.#queue.dropUnstarted(drained)
    for (const each of drained) this.#draining.add(each)
    for (const each of drained) each.drain()
    // The dropped ones may have kept all partitions paused.
    this.#wakeIfDone()
    try {
      await this.#whenWritten(drained)
      await this.#commit()
    } finally {
      for (const each of drained) this.#draining.delete(each)
      // Another drain of a partition, if it has ended before, has moved the consumer back already.
      const left = drained.filter((each) => !each.isOver)
      this.#forget(left)
      if (!this.#hasEnded) this.#partitions.goBack(left)
      this.#wakeIfDone()
    }
  }

  /** Waits until no record of these partitions waits or is being written. */
  async #whenWritten(partitions: readonly PushPartition<K, V>[]): Promise<void> {
    for (;;) {
      this.#forgetLost()
      this.#dispatch()
      const own = [...this.#writes].filter(([, partition]) => partitions.includes(partition))
      // Records that precede others may wait for the writes of another drain.
      const isDue =
        own.length > 0 || (this.#end.failure === null && this.#queue.hasInFront(partitions))
      if (!isDue) return
      await Promise.race(own.length > 0 ? own.map(([write]) => write) : this.#writes.keys())
    }
  }

  async run(): Promise<PushResult> {
    const { signal } = this.#options
    const end = (): void => {
      this.#end.abort(signal?.reason)
      this.stop()
    }
    const stopFollowing = signal === null ? null : onAbort(signal, end)
    if (signal?.aborted === true) end()
    try {
      await ensureCommits(this.#consumer)
      while (!this.#end.isStopping) await this.#turn()
    } catch (error) {
      this.#end.failUnlessClosed(error)
    }
    this.stop()
    await this.#settle()
    this.#hasEnded = true
    stopFollowing?.()
    const { failure } = this.#end
    if (failure !== null) throw failure.error
    return this.#delivery.result
  }

  async #turn(): Promise<void> {
    await this.#commit()
    this.#brake.set(this.#heldRecords)
    this.#wake = new AbortController()
    if (this.#end.isStopping) return
    let records: ConsumerRecord<K, V>[] = []
    const maxWaitMs = this.#consumer.controls.maxWaitMs || WAIT_MS
    try {
      records = await this.#consumer.poll({ maxWaitMs, signal: this.#wake.signal })
      this.#brake.took(records.length)
    } catch (error) {
      if (error !== WOKEN && !this.#brake.emptiesBefore(error, this.#heldRecords)) throw error
    }
    this.#take(records)
    this.#dispatch()
  }

  /** Updates the partitions, and takes the records of a poll. */
  #take(records: readonly ConsumerRecord<K, V>[]): void {
    this.#forgetLost()
    const comingAgain = new Set<string>()
    for (const record of records) {
      if (comingAgain.size > 0 && comingAgain.has(partitionKey(record))) continue
      const partition = this.#partitionFor(record)
      if (partition === null) {
        comingAgain.add(partitionKey(record))
        continue
      }
      const epoch = this.#consumer.controls.epochBefore(record, record.offset + 1)
      const entry = this.#partitions.add(partition, record, epoch)
      if (!this.#draining.has(partition)) this.#queue.add(entry)
    }
  }

  /** The partition of a record; `null` if the record comes again, as do those after it. */
  #partitionFor(record: ConsumerRecord<K, V>): PushPartition<K, V> | null {
    const known = this.#partitions.get(partitionKey(record))
    const isSame = known !== undefined && this.#partitions.isCurrent(known)
    if (isSame && record.offset >= known.nextOffset) return known
    // A drain, say, has moved it back since the poll took the record. What lies in between is not
    // written either, and a commit that begins at the record would leave it out.
    if (this.#partitions.comesAgain(record)) return null
    if (known !== undefined) {
      // It was revoked and assigned again, its topic was recreated, its position was moved, or its
      // log was truncated: the records that were taken come again.
      this.#forget([known])
      // Nobody has written the records in between, and the consumer is past them: it goes back.
      if (isSame && record.offset > known.doneOffset) {
        this.#partitions.goBack([known], true)
        return null
      }
    }
    return this.#partitions.begin(record)
  }

  /** Partitions that the group has revoked, even in a pending poll, belong to the next owner. */
  #forgetLost(): void {
    try {
      const lost = this.#partitions.lost().filter((each) => !this.#draining.has(each))
      if (lost.length > 0) this.#forget(lost)
    } catch (error) {
      // The poll fails as well, and ends the push.
      if (!(error instanceof ClosedError)) throw error
      this.#end.isClosed = true
    }
  }

  #forget(partitions: readonly PushPartition<K, V>[]): void {
    this.#partitions.forget(partitions)
    if (partitions.length > 0) this.#queue.drop(partitions)
  }

  /** Taken records that no commit can cover yet. */
  get #heldRecords(): number {
    return this.#inFlight + this.#queue.size + this.#partitions.heldBack
  }

  #dispatch(): void {
    for (;;) {
      const taken = this.#next()
      const [first] = taken?.entries ?? []
      if (taken === null || first === undefined) return
      this.#inFlight += taken.entries.length
      this.#partitions.start(first.partition, taken.entries)
      const write = this.#writeEntries(first.partition, taken).then(() => {
        this.#writes.delete(write)
        this.#onSettled()
      })
      this.#writes.set(write, first.partition)
    }
  }

  /** The next write; `null` if none can be started. */
  #next(): { lane: PushLane<K, V>; entries: PushEntry<K, V>[] } | null {
    const { concurrency, maxInFlight, batchRecords } = this.#options
    const mostRecords = batchRecords ?? 1
    const hasSlot = this.#writes.size < concurrency
    if (this.#end.failure !== null) return null
    // A place is kept for each record that all others of its partition wait for.
    const { heldBack, lackingFirst } = this.#partitions
    const room = maxInFlight - this.#inFlight - heldBack - lackingFirst
    // A rebalance waits for drained partitions, even if the consumer is closed, so they come first.
    // One of their writes may exceed the concurrency, in case the writes of other partitions hang.
    if (this.#draining.size > 0) {
      const isStuck = ![...this.#writes.values()].some((each) => this.#draining.has(each))
      const isDrained = (entry: PushEntry<K, V>): boolean =>
        this.#draining.has(entry.partition) && isInFront(entry)
      const taken = hasSlot || isStuck ? this.#queue.take(mostRecords, room, isDrained) : null
      if (taken !== null) return taken
    }
    if (this.#end.isClosed || !hasSlot) return null
    // What precedes a write is still due: the next push would otherwise repeat the records after it.
    return this.#queue.take(mostRecords, room, this.#end.isStopping ? isInFront : undefined)
  }

  async #writeEntries(
    partition: PushPartition<K, V>,
    { lane, entries }: { readonly lane: PushLane<K, V>; readonly entries: PushEntry<K, V>[] },
  ): Promise<void> {
    try {
      const isNeeded = (): boolean => this.#isNeeded(partition, entries)
      if (await this.#delivery.deliver(partition, entries, isNeeded)) {
        this.#partitions.finish(partition, entries)
      } else {
        this.#partitions.giveBack(partition, entries)
        // What waits behind them in a drained partition precedes nothing that is written any more.
        if (partition.draining.aborted) this.#queue.dropUnstarted([partition])
      }
    } catch (error) {
      this.#end.fail(error)
      this.stop()
    }
    this.#inFlight -= entries.length
    this.#queue.free(lane)
  }

  /** Whether a stop or a drain has records tried once more instead of waiting for their retry. */
  #isNeeded(partition: PushPartition<K, V>, entries: readonly PushEntry<K, V>[]): boolean {
    this.#forgetLost()
    if (this.#end.failure !== null) return false
    if (this.#end.isClosed && !this.#draining.has(partition)) return false
    return partition.holdsBack(entries)
  }

  #onSettled(): void {
    this.#dispatchInTurn()
    this.#commit().catch((error: unknown) => {
      this.#end.failUnlessClosed(error)
      this.stop()
    })
    this.#wakeIfDone()
  }

  /** Ends a poll of paused partitions once they may be resumed. */
  #wakeIfDone(): void {
    if (this.#brake.isDone(this.#heldRecords)) this.#wake.abort(WOKEN)
  }

  /** A target that answers at once must not keep the event loop from turning. */
  #dispatchInTurn(): void {
    if (this.#isTurnAwaited || this.#queue.size === 0) return
    const turn = promptIo.turnIfDue()
    if (turn === null) {
      this.#forgetLost()
      this.#dispatch()
      return
    }
    this.#isTurnAwaited = true
    void turn.then(() => {
      this.#isTurnAwaited = false
      this.#forgetLost()
      this.#dispatch()
      this.#wakeIfDone()
    })
  }

  /** Commits what is new, one call at a time. */
  #commit(): Promise<void> {
    const committing = this.#committing.then(() => this.#commitDone())
    this.#committing = committing.catch(() => undefined)
    return committing
  }

  async #commitDone(): Promise<void> {
    const deleted = await commitNew(this.#consumer, this.#partitions, this.#draining)
    if (deleted.length === 0) return
    this.#forget(deleted)
    this.#partitions.goBack(deleted)
    await this.#commitDone()
  }

  /** Waits for the writes, commits, and moves the consumer to the first unacknowledged records. */
  async #settle(): Promise<void> {
    this.#queue.dropUnstarted(this.#partitions.all)
    for (;;) {
      this.#forgetLost()
      this.#dispatch()
      if (this.#writes.size === 0 && this.#drains.size === 0) break
      await Promise.all([...this.#writes.keys(), ...this.#drains])
    }
    if (this.#end.isClosed) return
    try {
      await this.#commit()
    } catch (error) {
      this.#end.failUnlessClosed(error)
    }
    try {
      // Even without the commit: otherwise the next push would begin after the unwritten records.
      this.#brake.release()
      this.#partitions.goBack(this.#partitions.all)
    } catch (error) {
      this.#end.failUnlessClosed(error)
    }
  }
}
