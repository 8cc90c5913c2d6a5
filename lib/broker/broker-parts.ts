import { ClosedError, CorruptRecordError } from '../errors.ts'
import { BatchCache } from '../storage/batch-cache.ts'
import { reportRecovery, type RecoveryReport } from './broker-description.ts'
import type { ResolvedBrokerOptions } from './broker-options.ts'
import type { DataDirectory } from './data-directory.ts'
import { GroupCoordinator } from './group-coordinator.ts'
import { LogCleanerManager } from './log-cleaner-manager.ts'
import { LogManager } from './log-manager.ts'
import {
  OFFSETS_TOPIC,
  OFFSETS_TOPIC_CONFIG,
  OFFSETS_TOPIC_PARTITIONS,
} from './offsets-topic-config.ts'
import { OffsetStore, type ClampedOffset } from './offset-store.ts'
import type { Partition } from './partition.ts'
import { ReadableOffsets } from './readable-offsets.ts'
import { RecentBatchesBudget } from './recent-batches.ts'

/** Memory for recently appended batches, over all partitions. */
const RECENT_BATCHES_BYTES = 8 * 1024 * 1024

/** The parts of a broker besides its directory. */
export interface BrokerParts {
  readonly logs: LogManager
  readonly coordinator: GroupCoordinator
  readonly offsets: OffsetStore
  readonly cleaner: LogCleanerManager
  readonly recovery: RecoveryReport
}

/**
 * Opens the logs and the groups of a directory.
 *
 * @param startMs when the open began, by the monotonic clock
 */
export async function loadParts(
  data: DataDirectory,
  options: ResolvedBrokerOptions,
  startMs: number,
): Promise<BrokerParts> {
  const { clock, random, defaults, readOnly } = options
  let coordinator: GroupCoordinator | null = null
  const cleaner = new LogCleanerManager({
    ...options,
    ...{ dir: data.dir, fileSystem: data.fileSystem },
    partitions: () => logs.topics.flatMap((topic) => topic.partitions),
  })
  const logs: LogManager = new LogManager({
    ...{ random, defaults, dir: data.dir, fileSystem: data.fileSystem },
    ...{ states: data.states, isClean: data.isClean },
    partitionContext: {
      clock,
      dir: data.dir,
      readOnly,
      recentBatches: new RecentBatchesBudget(RECENT_BATCHES_BYTES),
      batchCache: new BatchCache(options.readCacheBytes),
      isOwned: () => data.isOwned,
      stopReason: () => data.stopReason,
      lockLoss: data.lockLoss,
      compact: (partition) => cleaner.compact(partition),
      beforeTruncation: (topicPartition, offset, leaderEpoch) =>
        cleaner.truncateTo(topicPartition, offset, leaderEpoch),
      consumedBelow: (topicPartition, state) => offsets.consumedBelow(topicPartition, state),
    },
    onTopicsChanged: () => coordinator?.topicsChanged(),
    forgetTopic: async (topic, fromPartition = 0) => {
      // The internal topic is never deleted, so there was none before it.
      if (topic !== OFFSETS_TOPIC) await cleaner.forgetTopic(topic, fromPartition)
      return coordinator?.forgetTopic(topic, fromPartition)
    },
    followOffsets: () => followOffsets(logs, offsets),
  })
  data.lockLoss.onLost(wakeAll.bind(null, logs))
  const offsets: OffsetStore = new OffsetStore({
    ...{ clock, readOnly },
    openTopic: async () =>
      logs.get(OFFSETS_TOPIC) ??
      logs.create(OFFSETS_TOPIC, OFFSETS_TOPIC_PARTITIONS, OFFSETS_TOPIC_CONFIG),
    dataPartition: ({ topic, partition }) => logs.get(topic)?.partitions[partition] ?? null,
  })
  let clampedOffsets: readonly ClampedOffset[] = []
  try {
    await logs.load()
    await offsets.load(offsetsPartitions(logs).map(readable)).catch(unlessDamage)
    coordinator = new GroupCoordinator({
      ...{ clock, random, offsets, followOffsets: () => lookForOffsets(logs, offsets) },
      partitionCounts: () =>
        new Map(logs.topics.map((topic) => [topic.name, topic.partitions.length])),
    })
    if (!readOnly) {
      await logs.finishDeletions()
      clampedOffsets = await offsets.clamp()
    }
    // From here on the broker is used.
    await data.durable
  } catch (error) {
    await logs.close(new ClosedError('the broker could not be opened')).catch(() => undefined)
    throw error
  }
  const recovery = reportRecovery(logs.topics, {
    cleanShutdown: data.isClean,
    clampedOffsets,
    durationMs: clock.monotonic() - startMs,
    offsetsDamages: offsets.damages.map((damage) => ({ topic: OFFSETS_TOPIC, ...damage })),
  })
  return { logs, coordinator, offsets, cleaner, recovery }
}

/** Makes all who wait for a partition check again. */
function wakeAll(logs: LogManager): void {
  for (const { partitions } of logs.topics) for (const each of partitions) each.wakeAll()
}

/**
 * Refreshes the committed offsets, in a directory open for reading only.
 *
 * @throws any failure to read them except damage, which the store reports when a group's position
 * is needed
 */
export async function followOffsets(
  logs: LogManager,
  offsets: OffsetStore,
  { isOnly = false }: { readonly isOnly?: boolean } = {},
): Promise<void> {
  const partitions = offsetsPartitions(logs).map(readable)
  for (const partition of partitions) await partition.refresh({ isOnly })
  await offsets.refresh(partitions).catch(unlessDamage)
}

/** The same for a caller that needs the latest commits, and looks only once. */
async function lookForOffsets(logs: LogManager, offsets: OffsetStore): Promise<void> {
  // The first commit has created the topic, perhaps just now.
  if (logs.get(OFFSETS_TOPIC) === undefined) await logs.lookFor(OFFSETS_TOPIC)
  await followOffsets(logs, offsets, { isOnly: true })
}

/** Damaged offsets are reported to the callers that need them. Everything else works without. */
function unlessDamage(error: unknown): void {
  if (!(error instanceof CorruptRecordError)) throw error
}

function offsetsPartitions(logs: LogManager): readonly Partition[] {
  return logs.get(OFFSETS_TOPIC)?.partitions ?? []
}

function readable(partition: Partition): ReadableOffsets {
  return new ReadableOffsets(partition)
}
