import type { ResolvedTopicConfig } from '../config.ts'
import { StorageError, type CorruptRecordError, type VarveError } from '../errors.ts'
import type { StoredRecord } from '../record/decode.ts'
import type { AppendRecord, AppendResult } from './append-record.ts'
import { encodeRecords } from './encode-records.ts'
import { LocalLog } from './local-log.ts'
import { LogCleaner } from './log-cleaner.ts'
import { LogFollower } from './log-follower.ts'
import { LogGuard } from './log-guard.ts'
import { loadFiles, loadOptions } from './load-files.ts'
import type { LoadedLog, LogRecovery } from './loaded-log.ts'
import {
  absolutePath,
  standaloneContext,
  type LogContext,
  type LogOptions,
  type LogSegmentInfo,
} from './log-options.ts'
import { LogReader } from './log-reader.ts'
import type { FreedSpace, RetentionRequest } from './log-retention.ts'
import type { LogState } from './log-state.ts'
import { LogWriter } from './log-writer.ts'
import { LogVerifier } from './log-verification.ts'
import { salvageSegments, type SalvageReport } from './log-salvage.ts'
import { PromptChanges } from './prompt-changes.ts'
import { SerialQueue } from './serial-queue.ts'

const DEFAULT_READ_BYTES = 256 * 1024

/**
 * The storage of one partition in one directory: segments that are appended to at the end and read
 * by offset. A log never waits for records to arrive and has no timers.
 *
 * Offsets are in [`logStartOffset`, `logEndOffset`). Appends, flushes, rolls and truncations run in
 * the order of the calls. Reads may overlap with all of them, and checkpoints with appends and
 * flushes. The directory must have a single owner; `Broker` takes a lock to ensure this.
 *
 * After a failed sync the log accepts no more writes, because the state of the disk is unknown.
 * Records that were durable before the failure can still be read.
 */
export class Log {
  readonly dir: string
  readonly topic: string
  readonly partition: number
  /** What was found and repaired when the log was opened. */
  readonly recovery: LogRecovery
  readonly #context: LogContext
  readonly #local: LocalLog
  readonly #guard: LogGuard
  /** @internal */
  readonly reader: LogReader
  readonly #writer: LogWriter
  readonly #follower: LogFollower | null
  readonly #verifier: LogVerifier
  readonly #queue: SerialQueue = new SerialQueue()
  /** @internal */
  readonly prompt: PromptChanges
  /** @internal */
  readonly cleaner: LogCleaner
  #closing: Promise<void> | null = null

  private constructor(dir: string, context: LogContext, loaded: LoadedLog) {
    const { topic, partition, config, readOnly, whyFenced } = context
    const { damage } = loaded.recovery
    this.dir = dir
    this.topic = topic
    this.partition = partition
    this.recovery = loaded.recovery
    this.#context = context
    this.#guard = new LogGuard({ name: `${topic}-${partition}`, dir, readOnly, damage, whyFenced })
    this.#local = new LocalLog({ dir, ...context }, config, loaded)
    this.#writer = new LogWriter(this.#local, this.#guard, context, loaded.owed)
    this.prompt = new PromptChanges(this.#queue, this.#writer)
    const parts = { log: this.#local, guard: this.#guard, context, dir, queue: this.#queue }
    this.cleaner = new LogCleaner({ writer: this.#writer, ...parts })
    this.#follower = readOnly
      ? new LogFollower(loadOptions(dir, context), this.#local, this.#guard)
      : null
    this.#verifier = new LogVerifier({ follower: this.#follower, ...parts })
    const lookAgain = readOnly ? (): Promise<unknown> => this.refresh() : null
    this.reader = new LogReader(context, this.#local, this.#guard, lookAgain)
  }

  /**
   * Opens the log in `dir`. The directory is created if it does not exist, unless `readOnly` is
   * set: then a missing directory is a {@link StorageError}. Returned records have the topic and
   * partition in the directory's name, for example `orders-3`.
   *
   * @throws TypeError or RangeError if the path, an option or the configuration is invalid.
   * @throws {@link UnsupportedCompressionTypeError}; {@link StorageError} if the file system fails.
   */
  static async open(dir: string, options: LogOptions = {}): Promise<Log> {
    const context = await standaloneContext(absolutePath('dir', dir), options)
    return Log.load(context.dir, context)
  }

  /** Opens a log whose state is kept by the caller. @internal */
  static async load(dir: string, context: LogContext): Promise<Log> {
    const loaded = await loadFiles(dir, context)
    const log = new Log(dir, context, loaded)
    try {
      if (loaded.isUnsettled === true) await log.refresh()
      // The next unclean open need not check again what this one has checked.
      if (!loaded.isClean && log.isWritable) await log.checkpoint()
    } catch (error) {
      // A log opens even on a full disk: it can be read, and records can be deleted.
      if (!context.readOnly && error instanceof StorageError) return log
      await log.close().catch(() => undefined)
      throw error
    }
    return log
  }

  /**
   * Copies every whole, readable batch of a damaged log into a new log, under the same offsets.
   * Lost offsets are not reused. The damaged directory is only read; no one may write to it
   * meanwhile.
   *
   * @param targetDir is created if it does not exist; must be empty.
   * @throws {@link StorageError} if the target is not empty, `dir` is not the directory of a log,
   * access to a file is refused, or a write fails.
   */
  static async salvage(
    dir: string,
    targetDir: string,
    options: Omit<LogOptions, 'readOnly'> = {},
  ): Promise<SalvageReport> {
    const target = absolutePath('targetDir', targetDir)
    const report = await salvageSegments(absolutePath('dir', dir), target, options)
    const log = await Log.open(target, options)
    const startOffset = Math.max(report.logStartOffset, log.logStartOffset)
    await log.advanceLogStartOffset(startOffset).finally(() => log.close())
    return report
  }

  /** The lowest offset that can be read. */
  get logStartOffset(): number {
    return this.#local.logStartOffset
  }

  /** The offset of the next record to be appended. */
  get logEndOffset(): number {
    return this.#local.logEndOffset
  }

  /** All records below this offset are covered by a successful sync. */
  get durableEndOffset(): number {
    return this.#local.durableEndOffset
  }

  /**
   * The leader epoch stamped on appended batches. It rises with every unclean open, and whenever
   * records that a reader may have seen are removed from the end of the log.
   */
  get leaderEpoch(): number {
    return this.#local.leaderEpoch
  }

  /** Total size of the segments' log files in bytes, including deleted files not yet removed. */
  get size(): number {
    return this.#local.sizeBytes
  }

  /** Bytes appended since the recovery point was saved. An unclean open has to check them. */
  get bytesSinceCheckpoint(): number {
    return this.#writer.bytesSinceCheckpoint
  }

  /** The segments in offset order. The last one is the active segment, which receives appends. */
  get segments(): readonly LogSegmentInfo[] {
    return this.#local.segmentInfos
  }

  /** The configuration in effect. */
  get config(): Readonly<ResolvedTopicConfig> {
    return this.#local.config
  }

  /** Changes take effect with the next append. @internal */
  set config(config: Readonly<ResolvedTopicConfig>) {
    this.#local.config = config
  }

  /** The state that is kept outside the log's own files. */
  get state(): LogState {
    return this.#writer.state
  }

  /** Why the log ends before its last durable record; `null` if the log is sound. */
  get damage(): CorruptRecordError | null {
    return this.#guard.damage
  }

  /** The failure that ended all writes; `null` if there was none. */
  get failure(): StorageError | null {
    return this.#guard.failure
  }

  /** Whether the log accepts appends. */
  get isWritable(): boolean {
    return !this.#guard.isClosing && this.#guard.refusal() === null
  }

  /**
   * Appends records. Syncs if at least `flushMessages` records of the log are not yet durable.
   * Afterwards the log holds either all of the records or none of them, except that a crash during
   * the call may keep only the first ones.
   * @throws {@link StorageError} if the disk fails, see its `outcome`; RangeError if the list is
   * empty.
   * @throws {@link RecordTooLargeError} or {@link InvalidRecordError} if a record is rejected.
   * @throws {@link CorruptRecordError} if the log is damaged; {@link ClosedError};
   * {@link ReadOnlyError}.
   */
  async append(records: readonly AppendRecord[]): Promise<AppendResult> {
    // Rejected, but in its turn: the mark of the failed sync may have to be written again.
    if (this.#guard.failure !== null) return this.appendBatches([])
    this.#guard.ensureWritable()
    const notes = { hasKeyless: false }
    const encoding = encodeRecords(records, this.config, this.#context.clock.now(), notes)
    // It is awaited only later, and an unhandled rejection would end the process.
    if (encoding instanceof Promise) encoding.catch(() => undefined)
    return this.#queue.run(async () => {
      const result = await this.#writer.append(await encoding, undefined, notes.hasKeyless)
      await this.#writer.acknowledge()
      return result
    })
  }

  /**
   * Appends encoded batches, all or none, without a sync. The batches are stamped in place.
   * @throws {@link OffsetConflictError} or {@link InvalidRecordError}, see
   * {@link LogWriter.append}.
   * @internal
   */
  appendBatches(
    batches: readonly Buffer[],
    expectedOffset?: number,
    hasKeyless?: boolean,
  ): Promise<AppendResult> {
    return this.#queue.run(() => this.#writer.append(batches, expectedOffset, hasKeyless))
  }

  /**
   * Makes all appended records durable.
   * @throws {@link StorageError}, after which all writes fail; otherwise like {@link Log.append}.
   */
  flush(): Promise<void> {
    return this.#queue.run(() => this.#writer.flush())
  }

  /** Closes the active segment and starts a new one at `logEndOffset`. No-op if it is empty. */
  roll(): Promise<void> {
    return this.#queue.run(() => this.#writer.roll())
  }

  /**
   * Durably removes the records from `offset` on and, as Kafka does, the whole batch that holds it:
   * its records below `offset` become a gap, unreported. The next appended record gets `offset`.
   * @param offset in [`logStartOffset`, `logEndOffset`].
   * @throws {@link OffsetOutOfRangeError} if `offset` is outside this range.
   */
  truncateTo(offset: number): Promise<void> {
    return this.#queue.run(() => this.#writer.truncateTo(offset))
  }

  /** Permanently makes `offset` the log start offset and removes the segments below. @internal */
  advanceLogStartOffset(offset: number): Promise<FreedSpace> {
    return this.#queue.run(() => this.#writer.advanceLogStartOffset(offset))
  }

  /** Deletes what exceeds the limits. `request` is called when its turn comes. @internal */
  enforceRetention(request: () => RetentionRequest): Promise<FreedSpace> {
    return this.#queue.run(() => this.#writer.enforceRetention(request))
  }

  /** Saves the recovery point. */
  async checkpoint(): Promise<void> {
    const { saved } = await this.#queue.run(() => this.#writer.checkpoint())
    await saved
  }

  /**
   * Reads records from `offset` on. Never waits for new records.
   * @param offset in [`logStartOffset`, `logEndOffset`].
   * @param maxBytes limit on the stored size of the returned batches; the first batch is returned
   * even if it is larger. @defaultValue 256 KiB
   * @returns at least one record, unless none follows: compaction may leave none at the end.
   * @throws {@link OffsetOutOfRangeError} if `offset` is outside this range.
   * @throws {@link CorruptRecordError} if the batch at `offset` is damaged.
   */
  read(offset: number, maxBytes: number = DEFAULT_READ_BYTES): Promise<StoredRecord[]> {
    return this.reader.read(offset, maxBytes)
  }

  /**
   * Finds the first record whose timestamp is equal to or later than `timestamp`.
   * @param timestamp milliseconds since the epoch, at least 0.
   * @param endOffset where the search ends, exclusive. @defaultValue the end of the log
   * @returns the offset and the timestamp of the record; `null` if there is none.
   */
  offsetForTimestamp(
    timestamp: number,
    endOffset: number = this.logEndOffset,
  ): Promise<{ offset: number; timestamp: number } | null> {
    return this.reader.offsetForTimestamp(timestamp, endOffset)
  }

  /**
   * Reads all segments and checks every batch, its leader epoch, and the recorded checksum of each
   * file. Appends continue meanwhile. Closing the log ends the check with a {@link ClosedError}.
   * @returns the first damage of each segment.
   */
  verify(): Promise<CorruptRecordError[]> {
    return this.#verifier.verify()
  }

  /**
   * Picks up what another process has appended, rolled and removed, up to the last whole batch.
   * Changes nothing on disk. No-op unless the log is open for reading only.
   * @param isQuick see `LogFollower.refresh`, also for the result.
   * @throws {@link ClosedError} if the log is closed.
   * @internal
   */
  refresh(isQuick = false): Promise<Error | null> {
    return this.#queue.run(async () => {
      this.#guard.ensureOpen()
      return this.#follower?.refresh(isQuick) ?? null
    })
  }

  /**
   * Flushes, writes indexes and state, and closes all files. If the log is damaged or has failed,
   * no clean-shutdown mark is left, so that the next open checks the log. Idempotent.
   * @param reason what other calls reject with from now on. @defaultValue a {@link ClosedError}
   * @throws {@link StorageError}, also if an earlier failed sync has lost acknowledged records.
   */
  close(reason?: VarveError): Promise<void> {
    this.#guard.beginClose(reason)
    const stopped = this.#verifier.endedWith(this.cleaner.stop())
    if (this.#closing !== null) return this.#closing
    const closing = this.#queue.run(() =>
      this.#writer.close().finally(() => {
        this.#guard.isClosed = true
      }),
    )
    // Not in the queue: the compaction pass may be waiting for its turn there.
    this.#closing = stopped === null ? closing : closing.finally(() => stopped)
    return this.#closing
  }
}
