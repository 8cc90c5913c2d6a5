import type { PartitionContext } from '../../lib/broker/partition-context.ts'
import { Partition } from '../../lib/broker/partition.ts'
import { BatchCache } from '../../lib/storage/batch-cache.ts'
import { RecentBatchesBudget } from '../../lib/broker/recent-batches.ts'
import { resolveTopicConfig, type TopicConfig } from '../../lib/config.ts'
import type { Clock } from '../../lib/platform/clock.ts'
import type { AppendResult } from '../../lib/storage/append-record.ts'
import { Log } from '../../lib/storage/log.ts'
import { LogStateFiles } from '../../lib/storage/log-state.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

/** Options for a partition without a broker. */
export interface PartitionSetup {
  readonly fileSystem?: SimulatedFileSystem
  readonly clock?: Clock
  readonly config?: TopicConfig
  readonly topic?: string
  readonly index?: number
  readonly recentBytes?: number
  readonly readCacheBytes?: number
  readonly readOnly?: boolean
  /** Whether it was closed cleanly. */
  readonly isClean?: boolean
  readonly isOwned?: () => boolean
}

/** Opens one partition on a simulated disk, without a broker. */
export async function openPartition(setup: PartitionSetup = {}): Promise<Partition> {
  const fileSystem = setup.fileSystem ?? new SimulatedFileSystem()
  const clock = setup.clock ?? new ManualClock()
  const { topic = 'orders', index = 0, readOnly = false } = setup
  const dir = `/data/${topic}-${index}`
  if (!readOnly) await fileSystem.createDirectory(dir)
  const states = new LogStateFiles(fileSystem, dir)
  const state = (await states.read()).get(`${topic}-${index}`)
  const batchCache = new BatchCache(setup.readCacheBytes ?? 1024 * 1024)
  const log = await Log.load(dir, {
    batchCache,
    topic,
    partition: index,
    fileSystem,
    clock,
    random: new SeededRandom(1),
    config: resolveTopicConfig(setup.config ?? {}),
    readOnly,
    isClean: setup.isClean ?? false,
    recoveryPoint: state?.recoveryPoint ?? 0,
    logStartOffset: state?.logStartOffset ?? 0,
    saveState: (newState) => states.write(new Map([[`${topic}-${index}`, newState]])),
  })
  const recentBatches = new RecentBatchesBudget(setup.recentBytes ?? 1024 * 1024)
  const isOwned = setup.isOwned ?? (() => true)
  const own = { clock, readOnly, recentBatches, batchCache, isOwned }
  return new Partition(log, { ...partitionContext(), ...own })
}

/** What a partition in `/data` has in common with others, without a broker. */
export function partitionContext(): PartitionContext {
  return {
    clock: new ManualClock(),
    dir: '/data',
    readOnly: false,
    compact: () => Promise.reject(new Error('nobody compacts here')),
    recentBatches: new RecentBatchesBudget(1024 * 1024),
    batchCache: new BatchCache(1024 * 1024),
    lockLoss: { error: null },
    isOwned: () => true,
    stopReason: () => null,
    beforeTruncation: () => Promise.resolve(),
    consumedBelow: () => 0,
  }
}

/** Returns the values of records as text; null stays null. */
export function textsOf(records: readonly { readonly value: Buffer | null }[]): (string | null)[] {
  return records.map((record) => record.value?.toString('utf8') ?? null)
}

/** Appends encoded batches the way a producer does. */
export function appendBatches(
  partition: Partition,
  batches: readonly Buffer[],
): Promise<AppendResult> {
  return new Promise((resolve, reject) => {
    partition.appendBatches(batches, 'all', { resolve, reject })
  })
}
