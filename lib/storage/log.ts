import type { ResolvedTopicConfig } from '../config.ts'
import { StorageError, type CorruptRecordError, type VarveError } from '../errors.ts'
import type { StoredRecord } from '../record/decode.ts'
import type { AppendRecord, AppendResult } from './append-record.ts'
import { encodeRecords } from './encode-records.ts'
import { LocalLog } from './local-log.ts'
import { LogCleaner } from './log-cleaner.ts'
import { LogFollower } from './log-follower.ts'
import { LogGuard } from './log-guard.ts'
import { loadFiles } from './load-files.ts'
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
 * One partition's storage in one directory: segments that are appended to at the end and read by
 * offset. It waits for nobody and has no timers.
 *
 * Offsets are in [`logStartOffset`, `logEndOffset`). Appends, flushes, rolls and truncations are
 * carried out in the order of the calls; reads may overlap with all of them, and checkpoints with
 * appends and flushes. The directory must have one owner: `Broker` has a lock for that.
 *
 * After a failed sync the log takes no more writes, because nobody can tell what is on disk; what
 * had been durable before can still be read.
 */
export class Log {
  readonly dir: string
  readonly topic: string
  readonly partition: number
  /** What opening the log found and did. */
  readonly recovery: LogRecovery
  readonly #context: LogContext
  readonly #isClean: boolean
  readonly #local: LocalLog
  readonly #guard: LogGuard
  /** @internal */
  readonly reader: LogReader
  readonly #writer: LogWriter
  readonly #follower: LogFollower
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
    this.#isClean = loaded.isClean
    this.#context = context
    this.#guard = new LogGuard({ name: `${topic}-${partition}`, dir, readOnly, damage, whyFenced })
    this.#local = new LocalLog({ ...context, dir }, config, loaded)
    this.#writer = new LogWriter(this.#local, this.#guard, context, loaded.owed)
    this.prompt = new PromptChanges(this.#queue, this.#writer)
    const parts = { log: this.#local, guard: this.#guard, context, dir, queue: this.#queue }
    this.cleaner = new LogCleaner({ ...parts, writer: this.#writer })
    this.#follower = new LogFollower({ ...context, ...config, dir }, this.#local, this.#guard)
    this.#verifier = new LogVerifier({ ...parts, follower: this.#follower })
    const lookAgain = readOnly ? (): Promise<unknown> => this.refresh() : null
    this.reader = new LogReader(context, this.#local, this.#guard, lookAgain)
  }

  /**
   * Opens the log in `dir`, which is created when it does not exist, but with `readOnly`: a {@link StorageError} then.
   *
   * Records are returned with the topic and partition of the directory's name, `orders-3`.
   *
   * @throws TypeError or RangeError for a path, options or a configuration that are not legal.
   * @throws {@link UnsupportedCompressionTypeError}; {@link StorageError} when the system refuses.
   */
  static async open(dir: string, options: LogOptions = {}): Promise<Log> {
    const context = await standaloneContext(absolutePath('dir', dir), options)
    return Log.load(context.dir, context)
  }

  /** Opens a log whose state the caller keeps. @internal */
  static async load(dir: string, context: LogContext): Promise<Log> {
    const loaded = await loadFiles(dir, context)
    const log = new Log(dir, context, loaded)
    try {
      if (loaded.isUnsettled === true) await log.refresh()
      // The next unclean open need not look at what this one has looked at.
      if (!log.#isClean && log.isWritable) await log.checkpoint()
    } catch (error) {
      // A log opens on a full disk too: it can be read, and records can be deleted.
      if (!context.readOnly && error instanceof StorageError) return log
      await log.close().catch(() => undefined)
      throw error
    }
    return log
  }

  /**
   * Copies every whole batch of a damaged log that the disk can read into a new one, under the same offsets. Offsets that
   * are lost are not given out again. The damaged directory is only read; nobody must write to it.
   *
   * @param targetDir is created when it does not exist, and must be empty.
   * @throws {@link StorageError} when it is not, when `dir` is no log's directory, when a file may not be
   * opened, or when a write fails.
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

  /** Lowest offset that can be read. */
  get logStartOffset(): number {
    return this.#local.logStartOffset
  }

  /** Offset of the next append. */
  get logEndOffset(): number {
    return this.#local.logEndOffset
  }

  /** Everything below is covered by a sync that succeeded. */
  get durableEndOffset(): number {
    return this.#local.durableEndOffset
  }

  /**
   * Leader epoch that appended batches are stamped with. It rises with every unclean open, and
   * whenever records are taken back that somebody may have seen.
   */
  get leaderEpoch(): number {
    return this.#local.leaderEpoch
  }

  /** Bytes of all segments' log files, with those of deleted ones that could not be removed yet. */
  get size(): number {
    return this.#local.sizeBytes
  }

  /** Bytes appended since the recovery point was saved: what an unclean open has to look at. */
  get bytesSinceCheckpoint(): number {
    return this.#writer.bytesSinceCheckpoint
  }

  /** In offset order; the last one is the one that is appended to. */
  get segments(): readonly LogSegmentInfo[] {
    return this.#local.segmentInfos
  }

  /** The configuration in force. */
  get config(): Readonly<ResolvedTopicConfig> {
    return this.#local.config
  }

  /** Changes take effect with the next append. @internal */
  set config(config: Readonly<ResolvedTopicConfig>) {
    this.#local.config = config
  }

  /** What is remembered of the log outside of its own files. */
  get state(): LogState {
    return this.#writer.state
  }

  /** Why the log ends before what had been durable; `null` when it is sound. */
  get damage(): CorruptRecordError | null {
    return this.#guard.damage
  }

  /** What has ended all writing; `null` while nothing has. */
  get failure(): StorageError | null {
    return this.#guard.failure
  }

  /** Whether appends are taken. */
  get isWritable(): boolean {
    return !this.#guard.isClosing && this.#guard.refusal() === null
  }

  /**
   * Appends records and, when `flushMessages` of them are not yet durable, syncs. All or none of
   * them are in the log afterwards, but that a crash meanwhile may keep the first of them.
   *
   * @throws {@link StorageError} when the disk fails; `outcome` says what is known. RangeError for an empty list.
   * @throws {@link RecordTooLargeError} or {@link InvalidRecordError} when a record is not taken.
   * @throws {@link CorruptRecordError} when the log is damaged; {@link ClosedError}; {@link ReadOnlyError}.
   */
  async append(records: readonly AppendRecord[]): Promise<AppendResult> {
    // Refused, but in its turn: the mark of the failure may have to be tried again.
    if (this.#guard.hasFailed) return this.appendBatches([])
    this.#guard.ensureWritable()
    const notes = { hasKeyless: false }
    const encoding = encodeRecords(records, this.config, this.#context.clock.now(), notes)
    // Who waits for it comes later, and a rejection that nobody waits for ends the process.
    if (encoding instanceof Promise) encoding.catch(() => undefined)
    return this.#queue.run(async () => {
      const result = await this.#writer.append(await encoding, undefined, notes.hasKeyless)
      await this.#writer.acknowledge()
      return result
    })
  }

  /**
   * Appends encoded batches, which are stamped in place, without a sync: all of them or none.
   * @throws {@link OffsetConflictError} or {@link InvalidRecordError}, see {@link LogWriter.append}.
   * @internal
   */
  appendBatches(
    batches: readonly Buffer[],
    expectedOffset?: number,
    hasKeyless?: boolean,
  ): Promise<AppendResult> {
    return this.#queue.run(() => this.#writer.append(batches, expectedOffset, hasKeyless))
  }

  /** Makes what is appended durable. @throws {@link StorageError}, after which there are no writes, or as {@link Log.append} */
  flush(): Promise<void> {
    return this.#queue.run(() => this.#writer.flush())
  }

  /** Closes the active segment and begins a new one at `logEndOffset`. Does nothing while it is empty. */
  roll(): Promise<void> {
    return this.#queue.run(() => this.#writer.roll())
  }

  /**
   * Drops every record from `offset` on, and with it the rest of the batch that holds it. The next
   * append gets `offset`. Durable when it resolves.
   * @param offset in [`logStartOffset`, `logEndOffset`].
   * @throws {@link OffsetOutOfRangeError} outside of that.
   */
  truncateTo(offset: number): Promise<void> {
    return this.#queue.run(() => this.#writer.truncateTo(offset))
  }

  /** Makes `offset` the lowest that can be read, for good, and removes the segments below it. @internal */
  advanceLogStartOffset(offset: number): Promise<FreedSpace> {
    return this.#queue.run(() => this.#writer.advanceLogStartOffset(offset))
  }

  /** Deletes what the limits no longer keep, by a request that is made in its turn. @internal */
  enforceRetention(request: () => RetentionRequest): Promise<FreedSpace> {
    return this.#queue.run(() => this.#writer.enforceRetention(request))
  }

  /** Saves the recovery point. */
  async checkpoint(): Promise<void> {
    const { saved } = await this.#queue.run(() => this.#writer.checkpoint())
    await saved
  }

  /**
   * Reads the records from `offset` on. Never waits for records to come.
   * @param offset in [`logStartOffset`, `logEndOffset`].
   * @param maxBytes limit on the stored size of what is returned; the first batch is returned
   * however large. @defaultValue 256 KiB
   * @returns at least one record, unless `offset` is the end of the log.
   * @throws {@link OffsetOutOfRangeError} outside of the range.
   * @throws {@link CorruptRecordError} when the batch at `offset` is damaged.
   */
  read(offset: number, maxBytes: number = DEFAULT_READ_BYTES): Promise<StoredRecord[]> {
    return this.reader.read(offset, maxBytes)
  }

  /**
   * The first offset whose record is at least as young as `timestamp`, with that record's timestamp.
   * @param timestamp milliseconds since the epoch, at least 0.
   * @param endOffset where to stop looking. @defaultValue the end of the log
   * @returns `null` when there is none.
   */
  offsetForTimestamp(
    timestamp: number,
    endOffset: number = this.logEndOffset,
  ): Promise<{ offset: number; timestamp: number } | null> {
    return this.reader.offsetForTimestamp(timestamp, endOffset)
  }

  /**
   * Reads all segments and checks every batch, its leader epoch, and each file by its checksum on record.
   * Appends go on meanwhile; a close does not wait for it, and it rejects with {@link ClosedError}.
   * @returns the first damage of each segment.
   */
  verify(): Promise<CorruptRecordError[]> {
    return this.#verifier.verify()
  }

  /**
   * Takes in what another process has appended, rolled and removed, up to the last whole batch.
   * Changes nothing on disk, and does nothing unless the log is open for reading only.
   * @param isQuick see `LogFollower.refresh`, as for what it returns.
   * @throws {@link ClosedError} when the log is closed.
   * @internal
   */
  refresh(isQuick = false): Promise<Error | null> {
    return this.#queue.run(async () => {
      this.#guard.ensureOpen()
      return this.#context.readOnly ? this.#follower.refresh(isQuick) : null
    })
  }

  /**
   * Flushes, writes indexes and state, and closes all files. A log that is damaged or has failed is
   * closed without a mark of order, so that the next open looks again. Idempotent.
   * @param reason what other calls reject with from now on. @defaultValue a {@link ClosedError}
   * @throws {@link StorageError}, also where a failed sync has cost what was acknowledged before.
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
    // Not in the queue: the pass may be waiting for its turn there.
    this.#closing = stopped === null ? closing : closing.finally(() => stopped)
    return this.#closing
  }
}
