import type { ResolvedTopicConfig } from '../config.ts'
import type { VarveError } from '../errors.ts'
import type { StoredRecord } from '../record/decode.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import type { AppendRecord, AppendResult } from '../storage/append-record.ts'
import type { BackwardLimits } from '../storage/backward-read.ts'
import type { FreedSpace } from '../storage/log-retention.ts'
import type { Log } from '../storage/log.ts'
import type { CompactionReport } from '../storage/log-cleaner.ts'
import { chainOwner } from './append-chain-owner.ts'
import type { AppendOptions } from './append-options.ts'
import { ensureDurable } from './durable-below.ts'
import { readLast, type ReadLastOptions } from './read-last.ts'
import { compactPartition } from './partition-compaction.ts'
import { followerOf, type LogFollower } from './log-follower.ts'
import { LogUpkeep } from './log-upkeep.ts'
import { PartitionBatches } from './partition-batches.ts'
import type { WholeAppend } from './pending-append.ts'
import type { PartitionContext } from './partition-context.ts'
import {
  fetchRecords,
  readRecords,
  type FetchOptions,
  type ReadOptions,
} from './partition-reads.ts'
import { recordsOf, type RecordsOptions } from './partition-records.ts'
import { PartitionWriter } from './partition-writer.ts'
import { RecentBatches } from './recent-batches.ts'
import { RecordDeletion, type DeletedRecords } from './record-deletion.ts'
import { flushTimed } from './slow-sync.ts'
import { findByTimestamp } from './timestamp-search.ts'
import type { TopicSpace } from './topic-space.ts'
import { VisibleEnd } from './visible-end.ts'

/**
 * A {@link Log} together with its writers and its waiting readers. Consumers see [`logStartOffset`, `highWatermark`).
 *
 * Calls may overlap; appends get their offsets in call order. Calls reject with {@link ClosedError} once the broker is
 * closed, and with {@link UnknownTopicOrPartitionError} once the topic is deleted.
 */
export class Partition {
  readonly topic: string
  readonly index: number
  /** The underlying log, for inspection. An append to it directly wakes no reader: it shows with the next append here. */
  readonly log: Log
  /** The space that the topic's partitions share. @internal */
  space: TopicSpace | null = null
  /** @internal */
  readonly batches: PartitionBatches
  readonly #context: PartitionContext
  readonly #writer: PartitionWriter
  readonly #recent: RecentBatches
  readonly #upkeep: LogUpkeep
  /** @internal */
  readonly deletion: RecordDeletion
  readonly #end: VisibleEnd
  readonly #follower: LogFollower | null
  #closedBy: VarveError | null = null

  /** @internal */
  constructor(log: Log, context: PartitionContext) {
    this.topic = log.topic
    this.index = log.partition
    this.log = log
    this.#context = context
    this.#end = new VisibleEnd(log)
    this.#recent = new RecentBatches(context.recentBatches)
    const visibleEnd = (): number => (this.#closedBy === null ? this.highWatermark : -1)
    this.batches = new PartitionBatches(log, this.#recent, { visibleEnd, ...context })
    this.#upkeep = new LogUpkeep(context.clock, log)
    this.deletion = new RecordDeletion({
      log,
      highWatermark: () => this.highWatermark,
      context,
      onDeleted: this.wakeAll.bind(this),
    })
    const owner = chainOwner(log, context, {
      end: this.#end,
      space: () => this.space,
      whyClosed: () => this.#closedBy,
      onWritten: (batches) => {
        this.#end.replacedFrom(batches[0]?.baseOffset ?? Infinity)
        this.#recent.add(batches)
        this.#upkeep.afterWrite()
      },
    })
    this.#writer = new PartitionWriter(context.clock, owner)
    this.#follower = followerOf(context, log, this.#end)
  }

  /** Lowest offset that can be read. */
  get logStartOffset(): number {
    this.#follower?.start()
    return this.log.logStartOffset
  }

  /** Exclusive end of what consumers may see: the durable records or, if `flushMessages` is above 1, the written ones. */
  get highWatermark(): number {
    // In a read-only broker, starts looking for what the owner appends or truncates, for later calls.
    this.#follower?.start()
    return this.#end.offset
  }

  /** Offset that the next append gets. */
  get logEndOffset(): number {
    this.#follower?.start()
    return this.log.logEndOffset
  }

  /** @internal */
  get isClosed(): boolean {
    return this.#closedBy !== null
  }

  /**
   * Appends one or more records: all or none, except that a crash during the append may leave the first of them. If the disk
   * fails an append, the appends called after it that are not yet written fail too.
   *
   * @throws {@link OffsetConflictError} when `expectedOffset` is not the end of the log.
   * @throws {@link RecordTooLargeError}, {@link InvalidRecordError}, {@link InvalidTimestampError} or
   * {@link UnsupportedCompressionTypeError} when a record is refused; {@link LogFullError} when there is no room; TypeError
   * or RangeError for an invalid option or record, or no records; {@link InvalidTopicError} for an internal topic.
   * @throws {@link StorageError}, {@link CorruptRecordError}, {@link LockLostError}, {@link ReadOnlyError} or
   * {@link ClosedError} when the log takes no writes: `outcome` says what is known; without one, nothing was written. The
   * signal's reason.
   */
  append(
    records: AppendRecord | readonly AppendRecord[],
    options?: AppendOptions,
  ): Promise<AppendResult> {
    return this.#writer.append(records, options)
  }

  /** Appends records of the library itself; nobody else may write to an internal topic. @internal */
  appendInternal(records: readonly AppendRecord[]): Promise<AppendResult> {
    return this.#writer.appendInternal(records)
  }

  /**
   * Appends encoded batches in one step. They are stamped in place.
   * @param settle is called during the append, with no promise in between.
   * @returns the append, to give it up while it waits; `null` when it has settled within the call. @internal
   */
  appendBatches(...append: Parameters<PartitionWriter['appendBatches']>): WholeAppend | null {
    return this.#writer.appendBatches(...append)
  }

  /**
   * Reads records from `offset` up to the high watermark, and never waits.
   *
   * @param offset in [`logStartOffset`, `highWatermark`]; above that, up to `logEndOffset`, the result is empty.
   * @throws {@link OffsetOutOfRangeError}, {@link CorruptRecordError}, {@link StorageError}, {@link LockLostError}: as
   * `fetch`
   */
  read(offset: number, options: ReadOptions = {}): Promise<StoredRecord[]> {
    return readRecords(this.#context.clock, this, offset, options)
  }

  /**
   * Reads records from `offset` up to the high watermark, and waits for more while there are too few. After `maxWaitMs` it
   * returns the records that are available, possibly none.
   *
   * @throws {@link OffsetOutOfRangeError} when `offset` is outside the log, also when records are deleted during the wait;
   * {@link CorruptRecordError} when the batch at `offset` is damaged; {@link StorageError} when the disk fails;
   * {@link LockLostError} at the end of the log once the directory was taken away; the signal's reason.
   */
  fetch(offset: number, options: FetchOptions = {}): Promise<StoredRecord[]> {
    return fetchRecords(this.#context.clock, this, offset, options)
  }

  /**
   * Reads the last `count` visible records, or all if there are fewer, in offset order.
   *
   * @param count at least 0.
   * @throws {@link CorruptRecordError} when damage is among them, or ends the log; {@link StorageError} when the disk fails.
   */
  readLast(count: number, options: ReadLastOptions = {}): Promise<StoredRecord[]> {
    return readLast(this, count, options)
  }

  /**
   * Iterates over the records in offset order; with `reverse`, from the last to the first. Leaving the loop frees everything.
   * @throws TypeError or RangeError for illegal options, or when `until` is below `from`.
   * @throws as {@link Partition.fetch}, from the iteration; {@link StorageError} also at the end of a log that takes no more
   * writes; {@link OffsetOutOfRangeError} also when there is nothing to read because `from` is beyond the end, when records that
   * were returned, or are due up to `'end'` and not replaced, were truncated; with `reverse`, if the next no longer exist.
   */
  records(options: RecordsOptions = {}): AsyncGenerator<StoredRecord, void, undefined> {
    return recordsOf(this.#context.clock, this, options)
  }

  /**
   * Returns the offset of the first record whose timestamp is at least `timestamp`.
   * @param timestamp milliseconds since the epoch.
   * @returns `null` when every visible record is older.
   * @throws RangeError below 0; {@link CorruptRecordError} when damage may hide the record; {@link StorageError}
   */
  async offsetForTimestamp(timestamp: number): Promise<number | null> {
    return (await findByTimestamp(this, timestamp)).found?.offset ?? null
  }

  /**
   * Permanently deletes all records below `beforeOffset`. Segments that hold no other records are removed, the active
   * one by the next {@link Partition.enforceRetention}.
   * @param beforeOffset at most `highWatermark`, which -1 stands for. Up to `logStartOffset` there is nothing to delete.
   * @returns the space that was freed, and the new start of the log.
   * @throws {@link PolicyViolationError} on internal topics, and when `cleanupPolicy` does not include `delete`.
   * @throws {@link OffsetOutOfRangeError} above the high watermark; as {@link Partition.append} if the log takes no writes.
   */
  async deleteRecords(beforeOffset: number): Promise<DeletedRecords> {
    this.ensureOpen()
    return this.deletion.deleteRecords(beforeOffset)
  }

  /**
   * Deletes the segments that the topic's limits no longer keep, as the broker does automatically at intervals.
   * @throws {@link ReadOnlyError}, or as {@link Partition.append} when the log takes no writes.
   */
  async enforceRetention(): Promise<FreedSpace> {
    this.ensureOpen()
    return this.deletion.enforceRetention()
  }

  /** Number and total size of the log files, without indexes and without what recovery has set aside. */
  diskUsage(): FreedSpace {
    this.#follower?.start()
    return { segments: this.log.segments.length, bytes: this.log.size }
  }

  /**
   * Compacts the log: keeps only the last record of each key, at its offset, and records younger than `minCompactionLagMs`,
   * however little is dirty. Rolls the active segment first. Appends and reads go on. Partitions are compacted one at a time.
   *
   * @throws {@link PolicyViolationError} when `cleanupPolicy` does not include `compact`.
   * @throws {@link CorruptRecordError} when a batch is damaged, {@link StorageError} when the disk fails: no record is lost
   * then. {@link ReadOnlyError} or {@link LockLostError} when nothing may be written.
   */
  async compact(): Promise<CompactionReport> {
    this.ensureOpen()
    return compactPartition(this, this.#context)
  }

  /** Syncs all written records. @throws {@link StorageError}, which ends all writes, or as {@link Partition.append} */
  async flush(): Promise<void> {
    this.ensureOpen()
    await flushTimed(this.#context.clock, this.log)
    this.#end.publish(this.log.durableEndOffset)
  }

  /**
   * Resolves when all below `offset` is synced, except what was truncated of `leaderEpoch`; `null` if it already is.
   * @throws {@link OffsetOutOfRangeError} when the log ends before `offset`, even if only because a failed sync took back
   * visible records; {@link CorruptRecordError} when the records to be synced are damaged.
   * @internal
   */
  ensureDurable(offset: number, leaderEpoch: number | null): Promise<void> | null {
    return ensureDurable(this, offset, leaderEpoch)
  }

  /** Whole batches from the one with `offset` on, below the high watermark and `wantedEnd`. @internal */
  async readBatches(
    offset: number,
    maxBytes: number,
    wantedEnd?: number,
  ): Promise<readonly RecordBatch[]> {
    this.ensureOpen()
    this.#follower?.ensureAble(offset >= this.#end.offset)
    // Beyond the known end: the owner may have appended since the last look.
    if (offset > this.logEndOffset) await this.#follower?.reach(offset)
    return this.batches.read(offset, maxBytes, wantedEnd)
  }

  /** See `LogReader.readBatchesBefore`. @internal */
  readBatchesBefore(endOffset: number, limits: BackwardLimits): Promise<readonly RecordBatch[]> {
    this.ensureOpen()
    this.#follower?.start()
    return this.log.reader.readBatchesBefore(endOffset, limits)
  }

  /**
   * Like {@link Partition.readBatches}, but synchronous, and perhaps with fewer batches.
   *
   * @returns `null` if only {@link Partition.readBatches} can tell.
   * @internal
   */
  readBatchesNow(offset: number, maxBytes: number, end?: number): readonly RecordBatch[] | null {
    this.#follower?.ensureAble(offset >= this.#end.offset)
    return this.batches.readNow(offset, maxBytes, end)
  }

  /** In a read-only directory, looks for what its owner has changed. @throws {@link StorageError} if that fails. @internal */
  async refresh(): Promise<void> {
    await this.#follower?.reach(Infinity)
  }

  /** Like `refresh`, for a reader with nothing to read at `offset`; `null` if not needed. Never rejects. @internal */
  lookBehind(offset: number): Promise<void> | null {
    return offset < this.#end.offset ? null : (this.#follower?.look() ?? null)
  }

  /** Why it cannot be determined what follows the known records; `null` if it can. @internal */
  get followFailure(): VarveError | null {
    return this.#follower?.failure ?? null
  }

  /** Calls `listener` after each change that a reader may wait for. @returns a function that removes it. @internal */
  onChange(listener: () => void): () => void {
    const stop = this.#end.onChange(listener)
    this.#follower?.start()
    return stop
  }

  /**
   * Settles pending appends, wakes all waiters, and closes the log.
   *
   * @param reason what later calls reject with.
   * @internal
   */
  async close(reason: VarveError): Promise<void> {
    this.refuse(reason)
    await this.#writer.close(reason)
    await this.log.close(reason)
  }

  /** Applies a new configuration. @internal */
  configure(config: Readonly<ResolvedTopicConfig>): void {
    this.log.config = config
    this.#upkeep.afterAlter()
  }

  /** The first step of a close: ends all waits and refuses new calls. @internal */
  refuse(reason: VarveError): void {
    const isFirst = this.#closedBy === null
    this.#closedBy ??= reason
    this.#upkeep.stop()
    this.#follower?.stop()
    if (isFirst) this.wakeAll()
  }

  /** Makes all who wait for records or for room check again. @internal */
  wakeAll(): void {
    this.#end.notify()
    this.space?.changed()
  }

  /** @throws the reason for the close, once it is closed. @internal */
  ensureOpen(): void {
    if (this.#closedBy !== null) throw this.#closedBy
  }
}
