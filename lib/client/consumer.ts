import { types } from 'node:util'
import type { OffsetAndMetadata, OffsetCommit } from '../broker/offset-and-metadata.ts'
import type { TopicPartition } from '../broker/topic-partition.ts'
import { inTurn } from '../errors/several-failures.ts'
import {
  checkListener,
  checkOffsetCommits,
  checkPollOptions,
  checkTopicPartition,
  checkTopicPartitions,
  checkTopics,
  type PollOptions,
} from './consumer-arguments.ts'
import type { ConsumerContext } from './consumer-context.ts'
import {
  resolveConsumerOptions,
  type ConsumerOptions,
  type ResolvedConsumerOptions,
} from './consumer-options.ts'
import { ConsumerParts } from './consumer-parts.ts'
import type { ConsumerRecord } from './consumer-record.ts'
import { Iterations } from './iterations.ts'
import type { OffsetAndTimestamp, PartitionOffset, TimestampQuery } from './offset-lookup.ts'
import type { Lag, PartitionControls } from './partition-controls.ts'
import type { RebalanceListener } from './rebalance-listener.ts'

/**
 * Reads records from the topics that its group shares, or from partitions of its own choice, by
 * `poll` or `for await`.
 *
 * The position of a partition is the offset of the next record; it moves when a record is handed
 * out. What the group has committed is where a consumer begins. A record counts as consumed when
 * the poll that returned it has returned, in an iteration when the loop asks for the next one.
 *
 * One `poll` or `next` at a time. All other calls may be made at any time, also while a poll waits,
 * and are noticed at once. After `close` everything throws or rejects with {@link ClosedError}.
 */
export class Consumer<K = Buffer, V = Buffer> implements AsyncIterable<ConsumerRecord<K, V>> {
  /** Whether it commits of its own accord what its polls have handed out. */
  readonly enableAutoCommit: boolean
  readonly #context: ConsumerContext
  readonly #options: ResolvedConsumerOptions<K, V>
  readonly #parts: ConsumerParts<K, V>
  readonly #iterations: Iterations<K, V> = new Iterations()
  #closing: Promise<void> | null = null

  /** @internal */
  constructor(context: ConsumerContext, options: ConsumerOptions<K, V> = {}) {
    const resolved = resolveConsumerOptions(options, { readOnly: context.readOnly })
    this.enableAutoCommit = resolved.enableAutoCommit
    this.#context = context
    this.#options = resolved
    this.#parts = new ConsumerParts(context, resolved, this.#iterations)
  }

  /**
   * Takes part in the group for these topics, in place of those before. The group gives partitions in
   * the next polls. Topics that do not exist yet are read once they do; none is {@link Consumer.unsubscribe}.
   *
   * @param topics names, or a pattern for the names of all topics there are or will be
   * @throws {@link IllegalStateError} when the consumer has partitions of its own choice, or a
   * pattern in place of names, or the other way round
   * @throws {@link InvalidGroupIdError} without a `groupId`, {@link InvalidTopicError} for what is no topic's name
   */
  subscribe(topics: readonly string[] | RegExp, listener?: RebalanceListener): void {
    this.#parts.ensureNotClosing()
    const names = types.isRegExp(topics) ? null : checkTopics(topics)
    const checked = checkListener(listener)
    this.#parts.ensureGroup('subscribe()')
    if (names?.length === 0) {
      this.unsubscribe()
      return
    }
    if (names === null) this.#parts.subscription.subscribeToPattern(topics as RegExp)
    else this.#parts.subscription.subscribe(names)
    this.#parts.group.setListener(checked)
    this.#parts.loop.notify()
  }

  /**
   * Reads these partitions, in place of those before, without sharing them. Those that stay keep
   * their position; an empty list is {@link Consumer.unsubscribe}.
   *
   * @throws {@link IllegalStateError} when the consumer is subscribed
   * @throws {@link UnknownTopicOrPartitionError} when one of them does not exist
   */
  assign(partitions: readonly TopicPartition[]): void {
    this.#parts.ensureNotClosing()
    const checked = checkTopicPartitions(partitions)
    if (checked.length === 0) {
      this.unsubscribe()
      return
    }
    for (const each of checked) this.#parts.positions.ensureExists(each)
    if (this.#parts.subscription.type === 'partitions') this.#parts.committer.startCommitConsumed()
    this.#parts.subscription.assign(checked)
    this.#parts.loop.notify()
  }

  /**
   * Gives up all partitions and leaves the group. The listener is called in this call; the next
   * poll, as long as it may, or `close` waits for it and for the automatic commit, and rejects with
   * their error. Behind its first await the listener finds no partitions any more: there it commits
   * offsets that it names.
   */
  unsubscribe(): void {
    this.#parts.ensureNotClosing()
    this.#parts.giveUp().catch(() => undefined)
    this.#parts.subscription.unsubscribe()
    this.#parts.loop.notify()
  }

  /**
   * Waits for records and hands out at most `maxPollRecords` of them; none when the time is over.
   * What is there already is returned at once. An error comes after all records before it. What it has
   * taken counts as consumed once it has returned: a deserializer that closes makes it reject, and one
   * that commits does so without. Of partitions that are given up meanwhile it returns nothing.
   *
   * @throws {@link IllegalStateError} without a subscription, in a listener, or while another poll is in progress
   * @throws {@link CorruptRecordError} or {@link SerializationError} for what cannot be read, again
   * in each poll until the position is moved past it; with a group also when the committed offsets
   * are damaged
   * @throws {@link OffsetOutOfRangeError} or {@link NoOffsetForPartitionError} when `autoOffsetReset` is `'none'`
   * @throws {@link UnknownTopicOrPartitionError} when a partition of its own choice is gone
   * @throws {@link InconsistentGroupProtocolError} when the group has another strategy
   * @throws {@link StorageError} when a read fails, {@link LockLostError} when there is nothing more and the directory was
   * taken away, and what an automatic commit fails with, as `commit`
   * @throws {@link WakeupError} after `wakeup`, the signal's reason after an abort; no record is lost
   * @throws what the listener or `onOffsetReset` throws
   */
  async poll(options: PollOptions = {}): Promise<ConsumerRecord<K, V>[]> {
    const { loop } = this.#parts
    this.#parts.ensureNotClosing()
    const { maxWaitMs, signal } = checkPollOptions(options, this.#options.fetchMaxWaitMs)
    const maxCount = this.#options.maxPollRecords
    return loop.handOver(await loop.run({ maxCount, maxWaitMs, signal }))
  }

  /**
   * Goes through the records one by one, until the loop is left, or the consumer is closed. A record
   * counts as consumed when the next one is asked for, or when an offset behind it was committed; else
   * one whose body was left comes again. Who reads ahead, as streams do, gives that up. Who calls `next`
   * without a loop calls `return` in the end: until then no commit but of named offsets goes further.
   *
   * @throws what `poll` throws, which ends the iteration; another one goes on where it was
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<ConsumerRecord<K, V>> & AsyncDisposable {
    this.#parts.ensureNotClosing()
    const { subscription, loop } = this.#parts
    const { fetchMaxWaitMs: maxWaitMs } = this.#options
    return this.#iterations.start({ subscription, loop, maxWaitMs })
  }

  /**
   * Offset of the next record to be handed out, which is looked up if nothing has been read yet.
   *
   * @throws {@link IllegalStateError} when it is not assigned, {@link UnknownTopicOrPartitionError} when it is gone
   * @throws {@link NoOffsetForPartitionError} or {@link OffsetOutOfRangeError} when `autoOffsetReset` is `'none'`
   * @throws {@link CorruptRecordError} when the committed offsets are damaged
   */
  position(partition: TopicPartition): number {
    this.#parts.ensureOpen()
    return this.#parts.controls.position(partition)
  }

  /**
   * What the group has committed for a partition, `null` for nothing.
   *
   * @throws {@link InvalidGroupIdError} without a `groupId`
   * @throws {@link CorruptRecordError} when the committed offsets are damaged
   */
  committed(partition: TopicPartition): Promise<OffsetAndMetadata | null> {
    return this.#parts.answer(() => {
      this.#parts.ensureGroup('committed()')
      return this.#parts.positions.committed(checkTopicPartition(partition))
    })
  }

  /**
   * Stores offsets for the group, durably. What the consumer gives up meanwhile goes to its next owner
   * once that has ended.
   *
   * @param offsets next offsets to read; those of all that is consumed, of topics that are there, when absent
   * @throws TypeError or RangeError for what is no offset, or has a wrong field
   * @throws {@link CommitFailedError} when the group has moved on without this member, or others subscribe and it does not
   * @throws {@link OffsetOutOfRangeError} when an offset is beyond the end, as behind a seek, and not by a cut
   * @throws {@link StorageError} or {@link LockLostError} when it cannot be stored, {@link ReadOnlyError}
   * @throws {@link InvalidGroupIdError} without a `groupId`
   * @throws {@link UnknownTopicOrPartitionError} when one of the partitions does not exist, or has been
   * deleted and made anew since the last record of it that was handed out, or the last seek
   * @throws {@link CorruptRecordError} when the committed offsets are damaged
   */
  async commit(offsets?: readonly OffsetCommit[]): Promise<void> {
    this.#parts.ensureOpen()
    const checked = offsets === undefined ? null : checkOffsetCommits(offsets)
    this.#parts.ensureGroup('commit()')
    const { committer, group } = this.#parts
    if (checked === null) return committer.commitAll()
    const moveCounts = committer.ensurePresent(checked)
    await group.commit(checked)
    committer.noteCommitted(checked, moveCounts)
  }

  /**
   * Goes on at `offset`, back or forth. One that the log does not hold shows in the next poll.
   *
   * @throws {@link IllegalStateError} when the partition is not assigned; RangeError when `offset` is negative
   */
  seek(partition: TopicPartition, offset: number): void {
    this.#parts.ensureOpen()
    this.#parts.controls.seek(partition, offset)
  }

  /**
   * Goes on at the first record there is by the time the position is needed.
   *
   * @param partitions all that are assigned when absent or empty
   * @throws {@link IllegalStateError} when one of them is not assigned
   */
  seekToBeginning(partitions: readonly TopicPartition[] = []): void {
    this.#parts.ensureOpen()
    this.#parts.controls.seekTo(partitions, 'earliest')
  }

  /** Likewise, behind the last record there is by then. */
  seekToEnd(partitions: readonly TopicPartition[] = []): void {
    this.#parts.ensureOpen()
    this.#parts.controls.seekTo(partitions, 'latest')
  }

  /**
   * Goes on at the first record that is at least as young as `timestamp`, or at the end that a
   * partition has at the call where there is none. A seek that is called later counts, also while
   * this one searches.
   *
   * @param timestamp milliseconds since the epoch
   * @throws {@link IllegalStateError} when one of the partitions is not assigned; RangeError when `timestamp` is negative
   * @throws as {@link Consumer.offsetsForTimes}
   */
  async seekToTimestamp(partitions: readonly TopicPartition[], timestamp: number): Promise<void> {
    this.#parts.ensureOpen()
    await this.#parts.controls.seekToTimestamp(partitions, timestamp)
  }

  /**
   * The first record of each partition that is at least as young, `null` where there is none. The
   * partitions need not be assigned, and no position moves.
   *
   * @throws {@link UnknownTopicOrPartitionError} when one of them does not exist; {@link CorruptRecordError} where damage
   * may hide such a record; {@link StorageError} when the disk fails
   */
  async offsetsForTimes(queries: readonly TimestampQuery[]): Promise<OffsetAndTimestamp[]> {
    this.#parts.ensureOpen()
    return this.#parts.lookup.forTimes(queries)
  }

  /** Where these partitions begin. @throws as {@link Consumer.offsetsForTimes} */
  beginningOffsets(partitions: readonly TopicPartition[]): Promise<PartitionOffset[]> {
    return this.#parts.answer(() => this.#parts.lookup.ends(partitions, 'logStartOffset'))
  }

  /** Where what can be read of them ends, exclusive. @throws as {@link Consumer.offsetsForTimes} */
  endOffsets(partitions: readonly TopicPartition[]): Promise<PartitionOffset[]> {
    return this.#parts.answer(() => this.#parts.lookup.ends(partitions, 'highWatermark'))
  }

  /**
   * Hands out nothing of these partitions until `resume`, or until the group has taken them away.
   * @throws {@link IllegalStateError} when one of them is not assigned
   */
  pause(partitions: readonly TopicPartition[]): void {
    this.#parts.ensureOpen()
    this.#parts.controls.setPaused(partitions, true)
  }

  /** Ends `pause`. Nothing was skipped. @throws as {@link Consumer.pause} */
  resume(partitions: readonly TopicPartition[]): void {
    this.#parts.ensureOpen()
    this.#parts.controls.setPaused(partitions, false)
  }

  /** The partitions that are paused, sorted. */
  paused(): TopicPartition[] {
    this.#parts.ensureOpen()
    return this.#parts.controls.paused()
  }

  /** The partitions it has, sorted. */
  assignment(): TopicPartition[] {
    this.#parts.ensureOpen()
    return this.#parts.subscription.assignment()
  }

  /**
   * How far it is from the end of each of its partitions, sorted, but for those that are not there any
   * more. @throws as {@link Consumer.position}
   */
  lag(): Promise<Lag[]> {
    return this.#parts.answer(() => this.#parts.controls.lag())
  }

  /** Makes the poll in progress, or else the next one, reject with {@link WakeupError}, once. */
  wakeup(): void {
    this.#parts.ensureOpen()
    this.#parts.loop.wakeup()
  }

  /**
   * Commits what is consumed, if that is automatic, calls the listener, waits for all commits that are
   * under way and leaves the group. A poll in progress rejects with {@link ClosedError}, an iteration
   * ends. Further calls wait for the first one. A listener may wait for it in a poll, and must not in
   * `unsubscribe` or `close`.
   *
   * @throws what commit or listener fails with, AggregateError of both, once it is closed all the same
   */
  close(): Promise<void> {
    this.#parts.loop.stop()
    // A step later, so that a listener that is called here finds the consumer closing.
    this.#closing ??= Promise.resolve().then(() => this.#close())
    return this.#closing
  }

  /** What a push needs besides. @internal */
  get controls(): PartitionControls {
    return this.#parts.controls
  }

  /** {@link Consumer.close}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    const running = this.#parts.group.isInListener ? null : this.#parts.loop.running
    const givenUp = this.#parts.giveUp()
    try {
      // A listener may ask for positions and commit until its promise settles.
      await inTurn(givenUp, () => this.#parts.committer.settle())
    } finally {
      await this.#parts.group.commitsEnded()
      this.#parts.letGo()
      // Its caller gets the error. A listener may be what called close, so nothing waits for that.
      await running?.catch(() => undefined)
      this.#parts.stopListening()
      this.#context.onClosed(this)
    }
  }
}
