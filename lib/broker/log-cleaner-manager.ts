import { ClosedError } from '../errors.ts'
import type { Clock, Timer } from '../platform/clock.ts'
import type { FileSystem } from '../platform/file-system.ts'
import { isUncleanable, type CompactionReport } from '../storage/log-cleaner.ts'
import { SerialQueue } from '../storage/serial-queue.ts'
import { CleanerCheckpoint } from './cleaner-checkpoint.ts'
import { publishCompaction } from './compaction-events.ts'
import { ensureCompacted } from './partition-compaction.ts'
import type { Partition } from './partition.ts'
import type { TopicPartition } from './topic-partition.ts'

/** Longest pause between two passes over a log that fail, unless `cleanerBackoffMs` is longer. */
const MAX_RETRY_BACKOFF_MS = 3_600_000

/** What compaction has done since a broker was opened. */
export interface CompactionFigures {
  /** Passes that have ended without an error. */
  readonly passes: number
  readonly failures: number
  /** Bytes of segments that were gone through. */
  readonly bytesRead: number
  /** Bytes that they have become less by. */
  readonly bytesFreed: number
  /** The pass that goes on; `null` for none. */
  readonly running: { readonly topic: string; readonly partition: number } | null
}

/** What a {@link LogCleanerManager} works with. */
export interface LogCleanerManagerOptions {
  readonly clock: Clock
  readonly fileSystem: FileSystem
  readonly dir: string
  readonly cleanerDedupeBufferBytes: number
  readonly cleanerBackoffMs: number
  readonly partitions: () => readonly Partition[]
}

/**
 * Compacts the logs of a broker: one at a time, the one with the greatest share of dirty bytes first,
 * now and then or when it is asked to.
 */
export class LogCleanerManager {
  readonly #options: LogCleanerManagerOptions
  readonly #checkpoint: CleanerCheckpoint
  /** Made at first use: most brokers never compact anything. */
  #lazyQueue: SerialQueue | null = null
  /** Whose last passes have failed: how many, and when the next is due, by the monotonic clock. */
  readonly #failed = new WeakMap<Partition, { readonly count: number; readonly againMs: number }>()
  /** Damage is in their way. */
  readonly #uncleanable = new WeakSet<Partition>()
  #figures: CompactionFigures = {
    passes: 0,
    failures: 0,
    bytesRead: 0,
    bytesFreed: 0,
    running: null,
  }
  #timer: Timer | null = null
  #isStopped = false

  constructor(options: LogCleanerManagerOptions) {
    this.#options = options
    this.#checkpoint = new CleanerCheckpoint(options.fileSystem, options.dir)
  }

  get figures(): CompactionFigures {
    return this.#figures
  }

  /** Looks for logs to compact every `cleanerBackoffMs` from now on. */
  start(): void {
    if (this.#isStopped) return
    this.#timer = this.#options.clock.startTimer(
      () => {
        const goOn = (): void => {
          this.start()
        }
        this.compactDue().then(goOn, goOn)
      },
      this.#options.cleanerBackoffMs,
      { background: true },
    )
  }

  /** Ends it for good. A pass that goes on ends when its log is closed. */
  stop(): void {
    this.#isStopped = true
    this.#timer?.cancel()
  }

  /** Resolves when nothing is written any more. To be called after {@link LogCleanerManager.stop}. */
  async stopped(): Promise<void> {
    await this.#lazyQueue?.run(() => Promise.resolve())
  }

  /** Forgets how far the logs of a topic were compacted, before there is another of that name. */
  async forgetTopic(topic: string): Promise<void> {
    // It is a hint, and no reason to keep a topic from being deleted or made: the next call tries again.
    await this.#checkpoint.forget(topic).catch(() => undefined)
  }

  /** A log is about to be cut at `offset`, below which it may have been compacted. */
  async truncateTo({ topic, partition }: TopicPartition, offset: number): Promise<void> {
    // It is a hint, and no reason to refuse that.
    await this.#checkpoint.truncateTo(topic, partition, offset).catch(() => undefined)
  }

  /** Compacts a log however little of it is dirty, as soon as no other is being compacted. */
  compact(partition: Partition): Promise<CompactionReport> {
    return this.#queue.run(async () => {
      this.#ensureMayPass(partition)
      // What was appended last is to be compacted too, and the active segment never is.
      await partition.log.roll()
      return this.#pass(partition)
    })
  }

  /** Compacts what is due, until nothing is. Failures are told on the channel. */
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
      if (!isCompacted || tried.has(partition) || this.#uncleanable.has(partition)) continue
      // One that cannot be looked at tells its user so, when it is used.
      const ratio = await this.#dueRatio(partition).catch(() => -1)
      if (ratio > greatest) [filthiest, greatest] = [partition, ratio]
    }
    return filthiest
  }

  /** The dirty ratio of a log that is to be compacted now; -1 for another. */
  async #dueRatio(partition: Partition): Promise<number> {
    const { log } = partition
    const { clock } = this.#options
    if (!log.isWritable || (this.#failed.get(partition)?.againMs ?? 0) > clock.monotonic())
      return -1
    // An append would roll it, but there may be none for long.
    if (await log.cleaner.isRollDue()) await log.roll()
    const { offset, horizonMs } = await this.#checkpoint.stateOf(log.topic, log.partition)
    const range = await log.cleaner.range(offset)
    const hasTombstones = (horizonMs ?? Infinity) <= clock.now()
    const isDirty = range.dirtyRatio > log.config.minCleanableDirtyRatio
    return isDirty || range.isOverdue || hasTombstones ? range.dirtyRatio : -1
  }

  async #pass(partition: Partition): Promise<CompactionReport> {
    this.#ensureMayPass(partition)
    const { topic, partition: index, cleaner } = partition.log
    const place = { topic, partition: index }
    this.#figures = { ...this.#figures, running: place }
    publishCompaction({ ...place, type: 'start' })
    try {
      const { offset: checkpoint, horizonMs } = await this.#checkpoint.stateOf(topic, index)
      const report = await cleaner.compact({
        checkpoint,
        horizonMs,
        dedupeBufferBytes: this.#options.cleanerDedupeBufferBytes,
        onProgress: (bytesRead) => {
          publishCompaction({ ...place, type: 'progress', bytesRead })
        },
      })
      this.#note(partition, report)
      await this.#save(partition, report)
      publishCompaction({ ...place, type: 'end', report })
      return report
    } catch (error) {
      if (isUncleanable(error)) this.#uncleanable.add(partition)
      this.#noteFailure(partition)
      this.#figures = { ...this.#figures, failures: this.#figures.failures + 1 }
      publishCompaction({ ...place, type: 'failure', error })
      throw error
    } finally {
      this.#figures = { ...this.#figures, running: null }
      // Whatever has become of it, some of the sealed segments may have been replaced.
      partition.batches.forgetBelow(partition.log.segments.at(-1)?.baseOffset ?? 0)
    }
  }

  /** A topic may have been altered while others were compacted, and what came since is to be kept. */
  #ensureMayPass(partition: Partition): void {
    if (this.#isStopped) throw new ClosedError('the broker is closed')
    ensureCompacted(partition)
  }

  /** What keeps a pass from its end, such as a full disk, may stay for long, and each reads it all. */
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

  /** What is not saved is compacted again after the next open. */
  async #save({ log }: Partition, report: CompactionReport): Promise<void> {
    const state = { offset: report.endOffset, horizonMs: report.earliestDeleteHorizonMs }
    const keys = new Set(this.#options.partitions().map((each) => `${each.topic} ${each.index}`))
    const isThere = (topic: string, partition: number): boolean => keys.has(`${topic} ${partition}`)
    await this.#checkpoint.save(log.topic, log.partition, state, isThere).catch(() => undefined)
  }
}
