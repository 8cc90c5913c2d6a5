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
import { LogFollower } from './log-follower.ts'
import { LogUpkeep } from './log-upkeep.ts'
import { PartitionBatches } from './partition-batches.ts'
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
 * A {@link Log} with those who write to it and those who wait for it.
 *
 * Consumers see [`logStartOffset`, `highWatermark`). All calls may overlap; appends get their offsets in the order of
 * the calls. They reject with {@link ClosedError} when the broker is closed, with {@link UnknownTopicOrPartitionError}
 * when the topic is deleted.
 */
export class Partition {
  readonly topic: string
  readonly index: number
  /** To look into. What is appended to it directly, nobody is told of: it is seen after the next append here. */
  readonly log: Log
  /** What the topic's partitions may take together. @internal */
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
    this.batches = new PartitionBatches(log, this.#recent, { ...context, visibleEnd })
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
    this.#follower = context.readOnly
      ? new LogFollower(context.clock, log, (hasFailed) => {
          this.#end.follow()
          if (hasFailed) this.#end.notify()
          return this.#end.isAwaited
        })
      : null
  }

  /** Lowest offset that can be read. */
  get logStartOffset(): number {
    return this.log.logStartOffset
  }

  /** End of what consumers may see, exclusive: what is durable, or on a relaxed topic what is written. */
  get highWatermark(): number {
    // Of a log that another process writes, who asks again hears of more, and who reads on of less.
    this.#follower?.start()
    return this.#end.offset
  }

  /** Offset of the next append. */
  get logEndOffset(): number {
    return this.log.logEndOffset
  }

  /** @internal */
  get isClosed(): boolean {
    return this.#closedBy !== null
  }

  /**
   * Appends one record or several: all or none, but that a crash meanwhile may keep the first of them. When
   * the disk fails an append, those that were called for after it and are not yet written fail too.
   *
   * @throws {@link OffsetConflictError} when `expectedOffset` is not the end of the log.
   * @throws {@link RecordTooLargeError}, {@link InvalidRecordError}, {@link InvalidTimestampError} or
   * {@link UnsupportedCompressionTypeError} when a record is not taken, {@link LogFullError} when there is no room; TypeError
   * or RangeError for what is no record, and for an empty list; {@link InvalidTopicError} for an internal topic.
   * @throws {@link StorageError}, {@link CorruptRecordError}, {@link LockLostError}, {@link ReadOnlyError} or
   * {@link ClosedError} when the log takes no writes; `outcome` says what is known, and where an error
   * has none nothing was written. The signal's reason.
   */
  append(
    records: AppendRecord | readonly AppendRecord[],
    options?: AppendOptions,
  ): Promise<AppendResult> {
    return this.#writer.append(records, options)
  }

  /** Appends what the library keeps for itself: nobody else may write to an internal topic. @internal */
  appendInternal(records: readonly AppendRecord[]): Promise<AppendResult> {
    return this.#writer.appendInternal(records)
  }

  /**
   * Appends encoded batches, in one step. They are stamped in place.
   * @param settle is told in the middle of the append, without a promise in between.
   * @internal
   */
  appendBatches(...append: Parameters<PartitionWriter['appendBatches']>): void {
    this.#writer.appendBatches(...append)
  }

  /**
   * Reads the records from `offset` on, up to the high watermark, and never waits.
   *
   * @param offset in [`logStartOffset`, `highWatermark`]; up to `logEndOffset` the answer is empty.
   * @throws {@link OffsetOutOfRangeError}, {@link CorruptRecordError}, {@link StorageError} when the disk fails; {@link LockLostError} as `fetch`
   */
  read(offset: number, options: ReadOptions = {}): Promise<StoredRecord[]> {
    return readRecords(this.#context.clock, this, offset, options)
  }

  /**
   * Reads the records from `offset` on and waits until there are any, until there is enough, or
   * until the time is over, which gives what there is, possibly nothing.
   *
   * @throws {@link OffsetOutOfRangeError} when `offset` is outside the log, also when records are
   * deleted while it waits; {@link CorruptRecordError} when the batch there is damaged;
   * {@link StorageError} when the disk fails; {@link LockLostError} at the end of a directory that was taken away; the signal's reason.
   */
  fetch(offset: number, options: FetchOptions = {}): Promise<StoredRecord[]> {
    return fetchRecords(this.#context.clock, this, offset, options)
  }

  /**
   * Reads the last `count` visible records, in offset order; fewer where there are fewer.
   *
   * @param count at least 0.
   * @throws {@link CorruptRecordError} when damage is among them; {@link StorageError} when the disk fails
   */
  async readLast(count: number, options: ReadLastOptions = {}): Promise<StoredRecord[]> {
    this.ensureOpen()
    if (this.#context.readOnly) await this.refresh()
    return readLast(this, count, options)
  }

  /**
   * Goes through the records in offset order, with `reverse` from the last one to the first. Breaking out of the loop leaves nothing behind.
   * @throws TypeError or RangeError for options that are not legal, or when `until` is below `from`.
   * @throws as {@link Partition.fetch}, from the iteration; {@link StorageError} also at the end of a log that takes no
   * writes any more; {@link OffsetOutOfRangeError} also when there is nothing to read because `from` is behind the end,
   * when records were cut off that it has given, and with `reverse` when what comes next was deleted or cut off.
   */
  records(options: RecordsOptions = {}): AsyncGenerator<StoredRecord, void, undefined> {
    return recordsOf(this.#context.clock, this, options)
  }

  /**
   * The offset of the first record that is at least as young as `timestamp`.
   * @param timestamp milliseconds since the epoch.
   * @returns `null` when every visible record is older.
   * @throws RangeError below 0; {@link CorruptRecordError} where damage may hide it; {@link StorageError}
   */
  async offsetForTimestamp(timestamp: number): Promise<number | null> {
    return (await findByTimestamp(this, timestamp)).found?.offset ?? null
  }

  /**
   * Deletes every record below `beforeOffset`, for good. Segments that hold no other are removed.
   * @param beforeOffset at most `highWatermark`, which is what -1 means; nothing is below `logStartOffset`.
   * @returns what that has freed, and where the log starts by now.
   * @throws {@link PolicyViolationError} on internal topics, and where `cleanupPolicy` has no `delete`.
   * @throws {@link OffsetOutOfRangeError} above the high watermark; as {@link Partition.append} where there are no writes.
   */
  async deleteRecords(beforeOffset: number): Promise<DeletedRecords> {
    this.ensureOpen()
    return this.deletion.deleteRecords(beforeOffset)
  }

  /**
   * Deletes what the topic's limits no longer keep, as the broker does by itself now and then.
   * @throws {@link ReadOnlyError}, or as {@link Partition.append} when the log takes no writes.
   */
  async enforceRetention(): Promise<FreedSpace> {
    this.ensureOpen()
    return this.deletion.enforceRetention()
  }

  /** What the log files take by now; indexes come on top, and what recovery has kept aside. */
  diskUsage(): FreedSpace {
    return { segments: this.log.segments.length, bytes: this.log.size }
  }

  /**
   * Keeps of each key only the last record, at its offset, and what is younger than `minCompactionLagMs`, however little of
   * the log that concerns. The active segment is rolled first. Appends and reads go on; one partition at a time is compacted.
   *
   * @throws {@link PolicyViolationError} where `cleanupPolicy` has no `compact`.
   * @throws {@link CorruptRecordError} when a batch is damaged, {@link StorageError} when the disk fails:
   * every record that should be there still is. {@link ReadOnlyError} or {@link LockLostError} when nothing may be written.
   */
  async compact(): Promise<CompactionReport> {
    this.ensureOpen()
    return compactPartition(this, this.#context)
  }

  /** Makes what is written durable. @throws {@link StorageError}, which ends all writes, or as {@link Partition.append} */
  async flush(): Promise<void> {
    this.ensureOpen()
    await flushTimed(this.#context.clock, this.log)
    this.#end.publish(this.log.durableEndOffset)
  }

  /**
   * Resolves when everything below `offset` is covered by a sync, but for what was cut off of `leaderEpoch`; `null` where it is.
   * @throws {@link OffsetOutOfRangeError} when the log does not reach so far, also because a failed sync has
   * taken back what was shown; {@link CorruptRecordError} when what it is to cover is damaged.
   * @internal
   */
  ensureDurable(offset: number, leaderEpoch: number | null): Promise<void> | null {
    return ensureDurable(this, offset, leaderEpoch)
  }

  /** Whole batches from that of `offset` on, below the high watermark and `wantedEnd`. @internal */
  async readBatches(
    offset: number,
    maxBytes: number,
    wantedEnd?: number,
  ): Promise<readonly RecordBatch[]> {
    this.ensureOpen()
    this.#follower?.ensureAble(offset >= this.#end.offset)
    // Another process may have written more than was looked at: only then is it beyond the end.
    if (this.#context.readOnly && offset > this.logEndOffset) await this.refresh()
    return this.batches.read(offset, maxBytes, wantedEnd)
  }

  /** See `LogReader.readBatchesBefore`. @internal */
  readBatchesBefore(endOffset: number, limits: BackwardLimits): Promise<readonly RecordBatch[]> {
    this.ensureOpen()
    this.#follower?.start()
    return this.log.reader.readBatchesBefore(endOffset, limits)
  }

  /**
   * Like {@link Partition.readBatches}, inside of the call, and perhaps less than there is.
   *
   * @returns `null` where only {@link Partition.readBatches} can tell.
   * @internal
   */
  readBatchesNow(offset: number, maxBytes: number, end?: number): readonly RecordBatch[] | null {
    this.#follower?.ensureAble(offset >= this.#end.offset)
    return this.batches.readNow(offset, maxBytes, end)
  }

  /** Where the directory is open for reading only, looks for what its owner has appended. @internal */
  async refresh(): Promise<void> {
    await this.log.refresh()
    this.#end.follow()
  }

  /** Likewise, for who finds nothing at `offset`; `null` where nobody else appends. Never rejects. @internal */
  lookBehind(offset: number): Promise<void> | null {
    return offset < this.#end.offset ? null : (this.#follower?.look() ?? null)
  }

  /** Calls `listener` whenever something has changed that a reader may wait for. @returns a function that ends it. @internal */
  onChange(listener: () => void): () => void {
    const stop = this.#end.onChange(listener)
    this.#follower?.start()
    return stop
  }

  /**
   * Settles what was appended, wakes who waits, and closes the log.
   *
   * @param reason what calls from now on reject with.
   * @internal
   */
  async close(reason: VarveError): Promise<void> {
    this.refuse(reason)
    await this.#writer.close(reason)
    await this.log.close(reason)
  }

  /** From now on these limits count. @internal */
  configure(config: Readonly<ResolvedTopicConfig>): void {
    this.log.config = config
    this.#upkeep.afterAlter()
  }

  /** The first step of a close: nobody waits any more, and nothing is taken. @internal */
  refuse(reason: VarveError): void {
    const isFirst = this.#closedBy === null
    this.#closedBy ??= reason
    this.#upkeep.stop()
    this.#follower?.stop()
    if (isFirst) this.wakeAll()
  }

  /** Has all who wait for records, or for room, look again. @internal */
  wakeAll(): void {
    this.#end.notify()
    this.space?.changed()
  }

  /** @throws what calls reject with, once it is closed. @internal */
  ensureOpen(): void {
    if (this.#closedBy !== null) throw this.#closedBy
  }
}
