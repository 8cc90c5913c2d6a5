import type { Clock } from '../platform/clock.ts'
import { followOffsets } from './broker-parts.ts'
import type { LogManager } from './log-manager.ts'
import type { OffsetStore } from './offset-store.ts'
import { PeriodicTask } from './periodic-task.ts'
import { enforceRetention } from './topic.ts'

/** How often recovery points are saved, as in Kafka. */
const CHECKPOINT_INTERVAL_MS = 60_000

/** How often a broker that only reads looks for topics and commits that are new. */
const REFRESH_INTERVAL_MS = 1_000

/** What has to be done for a whole broker now and then, from its opening to {@link BrokerUpkeep.stop}. */
export class BrokerUpkeep {
  readonly #logs: LogManager
  readonly #offsets: OffsetStore
  readonly #tasks: readonly PeriodicTask[]

  constructor(options: {
    clock: Clock
    logs: LogManager
    offsets: OffsetStore
    readOnly: boolean
    retentionCheckIntervalMs: number
  }) {
    const { clock, logs, offsets, readOnly, retentionCheckIntervalMs } = options
    this.#logs = logs
    this.#offsets = offsets
    this.#tasks = readOnly
      ? [new PeriodicTask(clock, REFRESH_INTERVAL_MS, () => this.#refresh())]
      : [
          new PeriodicTask(clock, CHECKPOINT_INTERVAL_MS, () => this.#saveRecoveryPoints()),
          new PeriodicTask(clock, retentionCheckIntervalMs, () => enforceRetention(logs.topics)),
        ]
  }

  /** Ends it for good. */
  stop(): void {
    for (const task of this.#tasks) task.stop()
  }

  /** So that opening after a crash need not look far back. */
  async #saveRecoveryPoints(): Promise<void> {
    const partitions = this.#logs.topics.flatMap((topic) => topic.partitions)
    const writable = partitions.filter(({ log }) => log.isWritable)
    // Where the open had no room to make sure of what it found, there may be room by now.
    const unseen = writable.filter((each) => each.highWatermark < each.logEndOffset)
    await Promise.allSettled(unseen.map((each) => each.flush()))
    const due = writable.filter(({ log }) => log.bytesSinceCheckpoint > 0)
    await Promise.allSettled(due.map(({ log }) => log.checkpoint()))
  }

  async #refresh(): Promise<void> {
    // Where one topic cannot be looked at, commits are none the less for it.
    await this.#logs.refresh().catch(() => undefined)
    // The owner may be changing what is looked at: the next look has the answer.
    await followOffsets(this.#logs, this.#offsets).catch(() => undefined)
  }
}
