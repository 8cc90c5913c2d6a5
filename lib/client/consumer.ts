import { types } from 'node:util'
import type { OffsetAndMetadata, OffsetCommit } from '../broker/offset-and-metadata.ts'
import type { TopicPartition } from '../broker/topic-partition.ts'
import { inTurn } from '../errors/several-failures.ts'
import {
  checkListener,
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
import { endsOf, offsetsForTimes } from './offset-lookup.ts'
import type { OffsetAndTimestamp, PartitionOffset, TimestampQuery } from './offset-lookup.ts'
import type { Lag, PartitionControls } from './partition-controls.ts'
import type { RebalanceListener } from './rebalance-listener.ts'

/**
 * Reads records from topics shared by a consumer group, or from partitions it assigns itself, by `poll` or `for await`.
 *
 * The position of a partition is the offset of the next record to return; it advances as records are
 * returned. A consumer starts at the offset that its group has committed. A polled record counts as
 * consumed when the poll has returned it, an iterated one when the loop asks for the next.
 *
 * Only one `poll` may be in progress, or the `next` of one iteration, whose calls are answered in order. All other calls
 * may be made at any time, even while a poll waits, and take effect at once. After `close` every call but `wakeup` throws
 * or rejects with {@link ClosedError}.
 */
export class Consumer<K = Buffer, V = Buffer> implements AsyncIterable<ConsumerRecord<K, V>> {
  /** Whether the offsets of returned records are committed automatically. */
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
   * Subscribes to topics, replacing the previous subscription. The group assigns partitions during the following
   * polls. Topics that do not exist yet are read once they are created. An empty list is {@link Consumer.unsubscribe}.
   *
   * @param topics names, or a pattern that is matched against the names of all present and future topics
   * @throws {@link IllegalStateError} when the consumer has assigned its partitions itself, or has
   * subscribed to a pattern and now passes names, or the reverse
   * @throws {@link InvalidGroupIdError} without a `groupId`; {@link InvalidTopicError} for an illegal topic name
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
    this.#parts.group.listener.setListener(checked)
    this.#parts.loop.notify()
  }

  /**
   * Assigns partitions to this consumer, replacing the previous ones. They are not shared with a
   * group. Partitions that stay keep their position. An empty list is {@link Consumer.unsubscribe}.
   *
   * @throws {@link IllegalStateError} when the consumer is subscribed
   * @throws {@link UnknownTopicOrPartitionError} when one of the partitions does not exist
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
   * Gives up all partitions and leaves the group. The listener is called during this call. The next poll, or `close`,
   * waits for the listener (a poll at most its `maxWaitMs`) and for the automatic commit, and rejects with their
   * errors. After its first await the listener has no partitions assigned and can only commit explicit offsets.
   */
  unsubscribe(): void {
    this.#parts.ensureNotClosing()
    this.#parts.giveUp().catch(() => undefined)
    this.#parts.subscription.unsubscribe()
    this.#parts.loop.notify()
  }

  /**
   * Waits for records and returns up to `maxPollRecords` of them, or none when the wait time is over. Records that
   * are already there are returned at once. An error is reported only after all records before it were returned.
   * Records count as consumed when the poll has returned. If a deserializer closes the consumer, the poll rejects;
   * if it commits, the commit excludes them. Records of partitions that are given up meanwhile are not returned.
   *
   * @throws {@link IllegalStateError} without a subscription, in a listener, or while another poll is in progress
   * @throws {@link CorruptRecordError} or {@link SerializationError} for a record that cannot be read, again
   * in each poll until the position is moved past it, or it is gone; with a group also when the committed offsets are damaged
   * @throws {@link OffsetOutOfRangeError} or {@link NoOffsetForPartitionError} when `autoOffsetReset` is `'none'`
   * @throws {@link UnknownTopicOrPartitionError} when a partition that the consumer assigned itself no longer exists
   * @throws {@link InconsistentGroupProtocolError} when the group uses another strategy
   * @throws {@link StorageError} when a read fails; {@link LockLostError} when no more records can be
   * read and the lock on the directory was lost; and the errors of an automatic commit, see `commit`
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
   * Iterates over the records until the loop is left or the consumer is closed. A record counts as consumed when
   * the next one is requested, or an offset after it is committed; if the loop is left before that, the record is
   * delivered again. Code that reads ahead, as streams do, loses this protection. Code that calls `next` without a
   * loop must call `return` at the end: until then, only a commit of explicit offsets goes past the current record.
   *
   * @throws what `poll` throws, which ends the iteration; a new iteration continues at the same position
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<ConsumerRecord<K, V>> & AsyncDisposable {
    this.#parts.ensureNotClosing()
    const { subscription, loop } = this.#parts
    const { fetchMaxWaitMs: maxWaitMs } = this.#options
    return this.#iterations.start({ subscription, loop, maxWaitMs })
  }

  /**
   * Returns the position: the offset of the next record to return. Looks it up if nothing has been read yet; an end of the
   * log and a committed offset are then, in a `readOnly` broker, as of the last look. A poll looks first.
   *
   * @throws {@link IllegalStateError} when not assigned; {@link UnknownTopicOrPartitionError} when it no longer exists
   * @throws {@link NoOffsetForPartitionError} or {@link OffsetOutOfRangeError} when `autoOffsetReset` is `'none'`
   * @throws {@link CorruptRecordError} when the committed offsets are damaged
   */
  position(partition: TopicPartition): number {
    this.#parts.ensureOpen()
    return this.#parts.controls.position(partition)
  }

  /**
   * Returns the offset that the group has committed for a partition, `null` for none.
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
   * Commits offsets for the group durably. Partitions that the consumer gives up during the commit
   * are assigned to their next owner only after it has ended.
   *
   * @param offsets the next offsets to read; absent: those of all consumed records whose topics still exist
   * @throws TypeError or RangeError when an offset or another field is not legal
   * @throws {@link CommitFailedError} when the group moved on without this member, or others subscribe and it does not
   * @throws {@link OffsetOutOfRangeError} when an offset is past the log's end, unless a truncation is the reason
   * @throws {@link StorageError} or {@link LockLostError} when it cannot be stored; {@link ReadOnlyError}
   * @throws {@link InvalidGroupIdError} without a `groupId`
   * @throws {@link UnknownTopicOrPartitionError} when one of the partitions does not exist, or its
   * topic was deleted and created again since the last record was returned from it or the last seek
   * @throws {@link CorruptRecordError} when the committed offsets are damaged
   */
  commit(offsets?: readonly OffsetCommit[]): Promise<void> {
    return this.#parts.commit(offsets)
  }

  /**
   * Moves the position to `offset`, backwards or forwards. If the log does not hold it, the next
   * poll reports or resets it, as `autoOffsetReset` says.
   *
   * @throws {@link IllegalStateError} when the partition is not assigned; RangeError when `offset` is negative
   */
  seek(partition: TopicPartition, offset: number): void {
    this.#parts.ensureOpen()
    this.#parts.controls.seek(partition, offset)
  }

  /**
   * Moves to the first record of each partition, as found when the position is next needed, not at this call.
   *
   * @param partitions all assigned partitions if absent or empty
   * @throws {@link IllegalStateError} when one of them is not assigned
   */
  seekToBeginning(partitions: readonly TopicPartition[] = []): void {
    this.#parts.ensureOpen()
    this.#parts.controls.seekTo(partitions, 'earliest')
  }

  /** Moves to the end in the same way, after the last record. @throws as {@link Consumer.seekToBeginning} */
  seekToEnd(partitions: readonly TopicPartition[] = []): void {
    this.#parts.ensureOpen()
    this.#parts.controls.seekTo(partitions, 'latest')
  }

  /**
   * Moves to the first record whose timestamp is at least `timestamp`. Without such a record, it moves to the end
   * that the partition has at the call. A later seek takes precedence, even while this one is still searching.
   *
   * @param timestamp milliseconds since the epoch
   * @throws {@link IllegalStateError} when a partition is not assigned; RangeError when `timestamp` is negative
   * @throws as {@link Consumer.offsetsForTimes}
   */
  async seekToTimestamp(partitions: readonly TopicPartition[], timestamp: number): Promise<void> {
    this.#parts.ensureOpen()
    await this.#parts.controls.seekToTimestamp(partitions, timestamp)
  }

  /**
   * Finds the first record of each partition whose timestamp is at least the given one, `null` for
   * none. The partitions need not be assigned, and no position moves.
   *
   * @throws {@link UnknownTopicOrPartitionError} when one does not exist; {@link CorruptRecordError}
   * when damage may hide such a record; {@link StorageError} when the disk fails
   */
  async offsetsForTimes(queries: readonly TimestampQuery[]): Promise<OffsetAndTimestamp[]> {
    this.#parts.ensureOpen()
    return offsetsForTimes(this.#parts.positions, queries)
  }

  /** Returns the log start offsets of partitions. @throws as {@link Consumer.offsetsForTimes} */
  beginningOffsets(partitions: readonly TopicPartition[]): Promise<PartitionOffset[]> {
    return this.#parts.answer(() => endsOf(this.#parts.positions, partitions, 'logStartOffset'))
  }

  /**
   * Returns the end offsets of partitions, exclusive: the high watermarks.
   * @throws as {@link Consumer.offsetsForTimes}
   */
  endOffsets(partitions: readonly TopicPartition[]): Promise<PartitionOffset[]> {
    return this.#parts.answer(() => endsOf(this.#parts.positions, partitions, 'highWatermark'))
  }

  /**
   * Stops returning records of these partitions until `resume`, or until the group has revoked them.
   * @throws {@link IllegalStateError} when one of them is not assigned
   */
  pause(partitions: readonly TopicPartition[]): void {
    this.#parts.ensureOpen()
    this.#parts.controls.setPaused(partitions, true)
  }

  /** Resumes paused partitions. No record was skipped. @throws as {@link Consumer.pause} */
  resume(partitions: readonly TopicPartition[]): void {
    this.#parts.ensureOpen()
    this.#parts.controls.setPaused(partitions, false)
  }

  /** Returns the paused partitions, sorted. */
  paused(): TopicPartition[] {
    this.#parts.ensureOpen()
    return this.#parts.controls.paused()
  }

  /** Returns the assigned partitions, sorted. */
  assignment(): TopicPartition[] {
    this.#parts.ensureOpen()
    return this.#parts.subscription.assignment()
  }

  /**
   * Returns how far the consumer is from the end of each assigned partition, sorted. Partitions
   * that no longer exist are left out; others get a position, if they have none, as by `position`.
   * @throws as {@link Consumer.position}
   */
  lag(): Promise<Lag[]> {
    return this.#parts.answer(() => this.#parts.controls.lag())
  }

  /** Makes the poll in progress, or else the next one, reject with {@link WakeupError}, once; nothing after `close`. */
  wakeup(): void {
    if (!this.#parts.loop.isStopped) this.#parts.loop.wakeup()
  }

  /**
   * Closes the consumer: commits consumed offsets if commits are automatic, calls the listener, waits for commits
   * in progress and leaves the group. A poll in progress rejects with {@link ClosedError}, an iteration ends.
   * Further calls wait for the first. A listener may await it in a poll, but not in `unsubscribe` or `close`: with
   * `'cooperative-sticky'`, or where `onPartitionsAssigned` closes, a close in a poll also calls `onPartitionsRevoked`
   * for the partitions that are left, and the listener must not await the close there.
   *
   * @throws the failure of the commit or the listener, or an AggregateError of both; it is closed all the same
   */
  close(): Promise<void> {
    this.#parts.loop.stop()
    // One microtask later, so that a listener called here finds the consumer closing.
    this.#closing ??= Promise.resolve().then(() => this.#close())
    return this.#closing
  }

  /** Further calls that a push needs. @internal */
  get controls(): PartitionControls {
    return this.#parts.controls
  }

  /** Calls {@link Consumer.close}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    const running = this.#parts.group.listener.isRunning ? null : this.#parts.loop.running
    const givenUp = this.#parts.giveUp()
    try {
      // A listener may read positions and commit until its promise settles.
      await inTurn(givenUp, () => this.#parts.committer.settle())
    } finally {
      await this.#parts.group.commitsEnded()
      this.#parts.letGo()
      // The poll's caller receives its error. A listener may have called close, so this does not wait for listeners.
      await running?.catch(() => undefined)
      this.#parts.stopListening()
      this.#context.onClosed(this)
    }
  }
}
