import type { ResolvedBrokerOptions } from './broker-options.ts'
import { followOffsets, type BrokerParts } from './broker-parts.ts'
import type { LogManager } from './log-manager.ts'
import type { OffsetStore } from './offset-store.ts'
import { PeriodicTask } from './periodic-task.ts'
import { enforceRetention } from './topic.ts'

/** How often recovery points are saved, as in Kafka. */
const CHECKPOINT_INTERVAL_MS = 60_000

/** How often a read-only broker looks for new topics and commits. */
const REFRESH_INTERVAL_MS = 1_000

/** Periodic tasks of a broker, from its opening to {@link BrokerUpkeep.stop}. */
export class BrokerUpkeep {
  readonly #logs: LogManager
  readonly #offsets: OffsetStore
  readonly #tasks: readonly PeriodicTask[]

  constructor(options: ResolvedBrokerOptions, { logs, offsets, cleaner }: BrokerParts) {
    const { clock, readOnly, cleanerBackoffMs, retentionCheckIntervalMs } = options
    this.#logs = logs
    this.#offsets = offsets
    this.#tasks = readOnly
      ? [new PeriodicTask(clock, REFRESH_INTERVAL_MS, () => this.#refresh())]
      : [
          new PeriodicTask(clock, cleanerBackoffMs, () => cleaner.compactDue()),
          new PeriodicTask(clock, CHECKPOINT_INTERVAL_MS, () => this.#saveRecoveryPoints()),
          new PeriodicTask(clock, retentionCheckIntervalMs, () => enforceRetention(logs.topics)),
        ]
  }

  /** Stops all tasks for good. */
  stop(): void {
    for (const task of this.#tasks) task.stop()
  }

  /** Keeps recovery short after a crash. */
  async #saveRecoveryPoints(): Promise<void> {
    const partitions = this.#logs.topics.flatMap((topic) => topic.partitions)
    const writable = partitions.filter(({ log }) => log.isWritable)
    // If the disk was too full to sync recovered records at the open, there may be room by now.
    const unseen = writable.filter((each) => each.highWatermark < each.logEndOffset)
    await Promise.allSettled(unseen.map((each) => each.flush()))
    const due = writable.filter(({ log }) => log.bytesSinceCheckpoint > 0)
    await Promise.allSettled(due.map(({ log }) => log.checkpoint()))
  }

  async #refresh(): Promise<void> {
    // A topic that cannot be refreshed does not keep commits from being refreshed.
    await this.#logs.refresh().catch(() => undefined)
    // The owner may be in the middle of a change; the next refresh sees the result.
    await followOffsets(this.#logs, this.#offsets).catch(() => undefined)
  }
}
