import { ClosedError } from '../errors.ts'
import type { Clock } from '../platform/clock.ts'
import type { FileSystem } from '../platform/file-system.ts'
import type { CompactionReport } from '../storage/log-cleaner.ts'
import { SerialQueue } from '../storage/serial-queue.ts'
import { CleanerCheckpoint } from './cleaner-checkpoint.ts'
import { publishCompaction } from './compaction-events.ts'
import { ensureCompacted } from './partition-compaction.ts'
import type { Partition } from './partition.ts'
import type { TopicPartition } from './topic-partition.ts'

/** Longest pause between two failing passes over a log, unless `cleanerBackoffMs` is longer. */
const MAX_RETRY_BACKOFF_MS = 3_600_000

/** Compaction statistics since the broker was opened. */
export interface CompactionFigures {
  /** Passes that ended without an error. */
  readonly passes: number
  readonly failures: number
  /** Total size of the segments that were read, in bytes. */
  readonly bytesRead: number
  /** How much smaller those segments became, in bytes. */
  readonly bytesFreed: number
  /** The pass in progress; `null` if there is none. */
  readonly running: { readonly topic: string; readonly partition: number } | null
}

/** Dependencies of {@link LogCleanerManager}. */
export interface LogCleanerManagerOptions {
  readonly clock: Clock
  readonly fileSystem: FileSystem
  readonly dir: string
  readonly cleanerDedupeBufferBytes: number
  readonly cleanerBackoffMs: number
  readonly partitions: () => readonly Partition[]
}

/**
 * Compacts the logs of a broker, those that are due and on request: one at a time, the log with the
 * greatest share of dirty bytes first.
 */
export class LogCleanerManager {
  readonly #options: LogCleanerManagerOptions
  readonly #checkpoint: CleanerCheckpoint
  /** Created at first use: most brokers never compact anything. */
  #lazyQueue: SerialQueue | null = null
  /** Partitions whose last passes failed: how many, and when to retry, by the monotonic clock. */
  readonly #failed = new WeakMap<Partition, { readonly count: number; readonly againMs: number }>()
  #figures: CompactionFigures = {
    passes: 0,
    failures: 0,
    bytesRead: 0,
    bytesFreed: 0,
    running: null,
  }
  #isStopped = false

  constructor(options: LogCleanerManagerOptions) {
    this.#options = options
    this.#checkpoint = new CleanerCheckpoint(options.fileSystem, options.dir)
  }

  get figures(): CompactionFigures {
    return this.#figures
  }

  /** Stops for good. A pass in progress ends when its log is closed. */
  stop(): void {
    this.#isStopped = true
  }

  /** Resolves when nothing is written any more. Call it after {@link LogCleanerManager.stop}. */
  async stopped(): Promise<void> {
    await this.#lazyQueue?.run(() => Promise.resolve())
  }

  /**
   * Forgets how far the logs of a topic were compacted, from `fromPartition` on, before others get
   * these names.
   */
  async forgetTopic(topic: string, fromPartition: number): Promise<void> {
    // The checkpoint is a hint, no reason to refuse deleting or creating a topic; the next call
    // retries.
    await this.#checkpoint.forget(topic, fromPartition).catch(() => undefined)
  }

  /**
   * Called before a log is truncated to `offset`, because it may have been compacted beyond that.
   */
  async truncateTo(
    { topic, partition }: TopicPartition,
    offset: number,
    leaderEpoch: number,
  ): Promise<void> {
    const cutting = this.#checkpoint.truncateTo(topic, partition, offset, leaderEpoch)
    // The checkpoint is a hint, no reason to refuse the truncation.
    await cutting.catch(() => undefined)
  }

  /** Compacts a log however little of it is dirty, once no other log is being compacted. */
  compact(partition: Partition): Promise<CompactionReport> {
    return this.#queue.run(async () => {
      this.#ensureMayPass(partition)
      // The latest records are to be compacted too, and the active segment never is.
      await partition.log.roll()
      return this.#pass(partition)
    })
  }

  /** Compacts logs until none is due. Failures are published on the channel. */
  async compactDue(): Promise<void> {
    const tried = new Set<Partition>()
    while (!this.#isStopped) {
      const partition = await this.#filthiest(tried)
      if (partition === null) return
      tried.add(partition)
      await this.#queue.run(() => this.#pass(partition)).catch(() => undefined)
    }
  }

  get #queue(): SerialQueue {
    this.#lazyQueue ??= new SerialQueue()
    return this.#lazyQueue
  }

  async #filthiest(tried: ReadonlySet<Partition>): Promise<Partition | null> {
    let [filthiest, greatest]: [Partition | null, number] = [null, -1]
    for (const partition of this.#options.partitions()) {
      const isCompacted = partition.log.config.cleanupPolicy !== 'delete'
      if (!isCompacted || tried.has(partition)) continue
      // A log that cannot be checked reports its error when it is used.
      const ratio = await this.#dueRatio(partition).catch(() => -1)
      if (ratio > greatest) [filthiest, greatest] = [partition, ratio]
    }
    return filthiest
  }

  /** The dirty ratio of a log that is due for compaction; -1 if it is not due. */
  async #dueRatio(partition: Partition): Promise<number> {
    const { log } = partition
    const { clock } = this.#options
    if (!log.isWritable || (this.#failed.get(partition)?.againMs ?? 0) > clock.monotonic())
      return -1
    const isFull = partition.space?.isFull === true
    // An append would roll the segment, but there may be none for a long time.
    if (await log.cleaner.isRollDue()) await log.roll()
    const { offset, horizonMs } = await this.#checkpoint.stateOf(log.topic, log.partition)
    let range = await log.cleaner.range(offset)
    if (isFull && range.dirtyRatio === 0 && log.config.minCompactionLagMs === 0) {
      // All garbage may be in the active segment. An empty one is not rolled. If a full disk prevents
      // the roll, there may be tombstones to remove elsewhere.
      await log.roll().catch(() => undefined)
      range = await log.cleaner.range(offset)
    }
    const hasTombstones = (horizonMs ?? Infinity) <= clock.now()
    // While there is no room for an append, any garbage is worth a pass.
    const minRatio = isFull ? 0 : log.config.minCleanableDirtyRatio
    const isDirty = range.dirtyRatio > minRatio
    return isDirty || range.isOverdue || hasTombstones ? range.dirtyRatio : -1
  }

  async #pass(partition: Partition): Promise<CompactionReport> {
    this.#ensureMayPass(partition)
    const { topic, partition: index, cleaner, leaderEpoch } = partition.log
    const place = { topic, partition: index }
    this.#figures = { ...this.#figures, running: place }
    publishCompaction({ ...place, type: 'start' })
    try {
      const state = await this.#checkpoint.begin(topic, index, leaderEpoch)
      const { offset: checkpoint, horizonMs } = state
      const { isDated, ...report } = await cleaner.compact({
        checkpoint,
        horizonMs,
        dedupeBufferBytes: this.#options.cleanerDedupeBufferBytes,
        onProgress: (bytesRead) => {
          partition.space?.compacted()
          publishCompaction({ ...place, type: 'progress', bytesRead })
        },
      })
      this.#note(partition, report)
      await this.#save(partition, report, isDated)
      publishCompaction({ ...place, type: 'end', report })
      return report
    } catch (error) {
      this.#noteFailure(partition)
      this.#figures = { ...this.#figures, failures: this.#figures.failures + 1 }
      publishCompaction({ ...place, type: 'failure', error })
      throw error
    } finally {
      this.#figures = { ...this.#figures, running: null }
      // Whatever the outcome, some of the sealed segments may have been replaced.
      partition.batches.forgetBelow(partition.log.segments.at(-1)?.baseOffset ?? 0)
      partition.space?.compacted()
    }
  }

  /**
   * The topic may have been altered while other logs were compacted, and must not lose records
   * then.
   */
  #ensureMayPass(partition: Partition): void {
    if (this.#isStopped) throw new ClosedError('the broker is closed')
    ensureCompacted(partition)
  }

  /**
   * The cause of a failure, such as a full disk, may last, and each pass reads the whole log. Even
   * damage may go: with the records that are deleted or truncated, or because only a read was wrong.
   */
  #noteFailure(partition: Partition): void {
    const { clock, cleanerBackoffMs } = this.#options
    const count = (this.#failed.get(partition)?.count ?? 0) + 1
    const waitMs = Math.max(
      cleanerBackoffMs,
      Math.min(cleanerBackoffMs * 2 ** count, MAX_RETRY_BACKOFF_MS),
    )
    this.#failed.set(partition, { count, againMs: clock.monotonic() + waitMs })
  }

  #note(partition: Partition, report: CompactionReport): void {
    this.#failed.delete(partition)
    const { bytesBefore, bytesAfter } = report
    const { passes, bytesRead, bytesFreed } = this.#figures
    this.#figures = {
      ...this.#figures,
      passes: passes + 1,
      bytesRead: bytesRead + bytesBefore,
      bytesFreed: bytesFreed + bytesBefore - bytesAfter,
    }
  }

  /** If this fails, the same range is compacted again after the next open. */
  async #save({ log }: Partition, report: CompactionReport, isDated: boolean): Promise<void> {
    const { endOffset: offset, earliestDeleteHorizonMs: horizonMs } = report
    const state = { offset, horizonMs, isDated }
    const keys = new Set(this.#options.partitions().map((each) => `${each.topic} ${each.index}`))
    const isThere = (topic: string, partition: number): boolean => keys.has(`${topic} ${partition}`)
    await this.#checkpoint.save(log.topic, log.partition, state, isThere).catch(() => undefined)
  }
}
