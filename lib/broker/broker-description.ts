import type { ResolvedTopicConfig } from '../config.ts'
import type { CorruptRecordError } from '../errors.ts'
import type { Truncation } from '../storage/loaded-log.ts'
import type { GroupDescription } from './group-coordinator.ts'
import type { CompactionFigures } from './log-cleaner-manager.ts'
import type { ClampedOffset } from './offset-store.ts'
import type { Partition } from './partition.ts'
import type { Topic } from './topic.ts'
import { INTERNAL_TOPICS } from './topic-name.ts'
import { topicPartitionKey, type TopicPartition } from './topic-partition.ts'

/**
 * The leader of a partition: the process that writes to it. A broker that is open for reading only
 * does not see it.
 */
export interface LeaderDescription {
  /**
   * Host name of this process, even in a broker that is open for reading only: that one leads
   * nothing and is not `alive`.
   */
  readonly host: string
  /** Process id of this process, with the same exception as `host`. */
  readonly pid: number
  /**
   * Leader epoch. It rises with every open after an unclean stop, and when records are taken back
   * that somebody may have seen.
   */
  readonly epoch: number
  /**
   * Whether the leader still takes writes: it holds the lock, and the log is neither damaged nor
   * failed.
   */
  readonly alive: boolean
}

/** State of one partition. */
export interface PartitionDescription {
  readonly partition: number
  readonly leader: LeaderDescription
  readonly logStartOffset: number
  readonly highWatermark: number
  readonly logEndOffset: number
  /** Total size of the log files. */
  readonly sizeBytes: number
  readonly segmentCount: number
  /** Why the last check of the limits failed; `null` if it did not fail. */
  readonly retentionFailure: Error | null
}

/** State of one topic. */
export interface TopicDescription {
  readonly name: string
  readonly id: string
  /** Whether the topic belongs to the library itself. */
  readonly internal: boolean
  readonly config: Readonly<ResolvedTopicConfig>
  readonly partitions: readonly PartitionDescription[]
}

/**
 * State of a broker: its topics, who leads their partitions, its groups, and the positions of both.
 */
export interface BrokerDescription {
  readonly dir: string
  readonly clusterId: string
  readonly readOnly: boolean
  readonly topics: readonly TopicDescription[]
  readonly groups: readonly GroupDescription[]
  readonly compaction: CompactionFigures
}

/**
 * A partition whose bytes differ from those that were written, or cannot be read. If they cannot be
 * read, the `cause` of the error is the system's error.
 */
export interface DamagedPartition {
  readonly topic: string
  readonly partition: number
  readonly error: CorruptRecordError
}

/**
 * A partition that was truncated to `offset`, because a sync failed and could not make more
 * durable.
 */
export interface FailedSync extends TopicPartition {
  /** The records from this offset on were lost, even acknowledged ones. */
  readonly offset: number
}

/** What opening a broker's directory found and did. */
export interface RecoveryReport {
  /** Whether the directory had been closed cleanly. A new directory counts as clean. */
  readonly cleanShutdown: boolean
  /** Torn tails that were truncated. */
  readonly truncations: readonly (Truncation & {
    readonly topic: string
    readonly partition: number
  })[]
  /**
   * Partitions in which a sync has failed since they were last opened, provided the disk took the
   * mark of the failure. The bytes after `offset` may have been truncated then, or are in
   * `truncations`.
   */
  readonly failedSyncs: readonly FailedSync[]
  /**
   * Log files whose indexes were missing or unusable: they are rebuilt when they are needed, and
   * until then each open lists them again. Also a partition's `leader-epoch-checkpoint` if it was
   * missing or unusable, and `varve-segments` if it was unusable: a missing one says nothing,
   * because a Kafka broker writes none.
   */
  readonly rebuiltIndexes: readonly string[]
  /**
   * Partitions that are open for reading only, up to the damage.
   *
   * While a partition of `__consumer_offsets` is among them, the operations of groups that have
   * committed there reject with its error, because a group's position is never made up. Creating
   * and deleting topics rejects too, so that no old offsets are left for a new topic. It does not
   * if the partition was left on a Kafka broker and its directory is missing for that reason.
   */
  readonly damaged: readonly DamagedPartition[]
  /**
   * Committed offsets that were moved back to the end of the existing records. The groups receive
   * all records written from there on; none of them counts as consumed.
   */
  readonly clampedOffsets: readonly ClampedOffset[]
  /** How long the open took, including the wait for the lock, milliseconds. */
  readonly durationMs: number
}

/** Describes topics; `process` is their leader. */
export function describeTopics(
  topics: readonly Topic[],
  process: { host: string; pid: number; holdsLock: boolean },
): TopicDescription[] {
  return topics.map((topic) => ({
    name: topic.name,
    id: topic.id,
    internal: INTERNAL_TOPICS.has(topic.name),
    config: topic.config,
    partitions: topic.partitions.map((partition) => describePartition(partition, process)),
  }))
}

/** Collects the reports of all opened logs. */
export function reportRecovery(
  topics: readonly Topic[],
  found: Pick<RecoveryReport, 'cleanShutdown' | 'clampedOffsets' | 'durationMs'> & {
    readonly offsetsDamages: readonly DamagedPartition[]
  },
): RecoveryReport {
  const { cleanShutdown, clampedOffsets, durationMs, offsetsDamages } = found
  const logs = topics.flatMap((topic) => topic.partitions.map((partition) => partition.log))
  const damaged: DamagedPartition[] = logs.flatMap(({ topic, partition, damage }) =>
    damage === null ? [] : [{ topic, partition, error: damage }],
  )
  // Commits are read from the first on, even below the recovery point, so they may show more
  // damage.
  const reported = new Set(damaged.map(topicPartitionKey))
  damaged.push(...offsetsDamages.filter((each) => !reported.has(topicPartitionKey(each))))
  return {
    cleanShutdown,
    truncations: logs.flatMap(({ topic, partition, recovery }) =>
      recovery.truncations.map((truncation) => ({ topic, partition, ...truncation })),
    ),
    failedSyncs: logs.flatMap(({ topic, partition, recovery: { failedSyncOffset: offset } }) =>
      offset === null ? [] : [{ topic, partition, offset }],
    ),
    rebuiltIndexes: logs.flatMap(({ recovery }) => recovery.rebuiltIndexes),
    damaged,
    clampedOffsets,
    durationMs,
  }
}

function describePartition(
  partition: Partition,
  process: { host: string; pid: number; holdsLock: boolean },
): PartitionDescription {
  const { log } = partition
  return {
    partition: partition.index,
    leader: {
      host: process.host,
      pid: process.pid,
      epoch: log.leaderEpoch,
      alive: process.holdsLock && log.isWritable,
    },
    logStartOffset: partition.logStartOffset,
    highWatermark: partition.highWatermark,
    logEndOffset: partition.logEndOffset,
    sizeBytes: log.size,
    segmentCount: log.segments.length,
    retentionFailure: partition.deletion.failure,
  }
}
