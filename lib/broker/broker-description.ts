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

/** Who leads a partition: the process that writes to it. A broker that is open for reading only does not see it. */
export interface LeaderDescription {
  /** Of this process, also where the broker is open for reading only: then it leads nothing, and is not `alive`. */
  readonly host: string
  /** Likewise. */
  readonly pid: number
  /** Rises with every open after an unclean stop, and when records are taken back that somebody may have seen. */
  readonly epoch: number
  /** Whether it still takes writes: it holds the lock, and the log is neither damaged nor failed. */
  readonly alive: boolean
}

/** One partition as it stands. */
export interface PartitionDescription {
  readonly partition: number
  readonly leader: LeaderDescription
  readonly logStartOffset: number
  readonly highWatermark: number
  readonly logEndOffset: number
  /** Bytes of all log files. */
  readonly sizeBytes: number
  readonly segmentCount: number
  /** Why the last check of the limits has failed; `null` when it has not. */
  readonly retentionFailure: Error | null
}

/** One topic as it stands. */
export interface TopicDescription {
  readonly name: string
  readonly id: string
  /** Whether the library keeps it for itself. */
  readonly internal: boolean
  readonly config: Readonly<ResolvedTopicConfig>
  readonly partitions: readonly PartitionDescription[]
}

/** Everything a producer or an operator asks: which topics there are, who leads them, and how far they are. */
export interface BrokerDescription {
  readonly dir: string
  readonly clusterId: string
  readonly readOnly: boolean
  readonly topics: readonly TopicDescription[]
  readonly groups: readonly GroupDescription[]
  readonly compaction: CompactionFigures
}

/** A partition whose bytes are not those that were written, or cannot be read: then the error has the system's as its `cause`. */
export interface DamagedPartition {
  readonly topic: string
  readonly partition: number
  readonly error: CorruptRecordError
}

/** A partition that was taken back to `offset`: a sync has failed there, and it could not be made durable any further. */
export interface FailedSync extends TopicPartition {
  /** What was behind is gone, also where it had been acknowledged. */
  readonly offset: number
}

/** What opening a broker's directory found and did. */
export interface RecoveryReport {
  /** Whether the directory had been closed in order. A new directory counts as clean. */
  readonly cleanShutdown: boolean
  /** Torn tails that were cut. */
  readonly truncations: readonly (Truncation & {
    readonly topic: string
    readonly partition: number
  })[]
  /**
   * Partitions in which a sync has failed since they were last opened, as far as the disk has taken the
   * mark of it. The bytes behind may have been cut then, or are in `truncations`.
   */
  readonly failedSyncs: readonly FailedSync[]
  /**
   * Log files whose indexes were missing or unusable, `leader-epoch-checkpoint` of a partition where it was,
   * and `varve-segments` where it was unusable: that it is missing says nothing, as a Kafka broker makes none.
   */
  readonly rebuiltIndexes: readonly string[]
  /**
   * Partitions that are open for reading only, up to the damage. While one of `__consumer_offsets`
   * is among them, what the groups would do that have committed there rejects with its error: where groups
   * stand is never made up. So does creating and deleting topics, as nothing is left behind for a new topic;
   * not where the partition was left on a broker, and its directory is missing for that.
   */
  readonly damaged: readonly DamagedPartition[]
  /**
   * Committed offsets that were taken back to the end of the records that are there. The groups get
   * what is written from there on, and nothing of it is taken for what they have consumed.
   */
  readonly clampedOffsets: readonly ClampedOffset[]
  readonly durationMs: number
}

/** Describes topics; `process` is who leads them. */
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

/** Gathers what opening the logs has reported. */
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
  // Commits are read from the first on, below the recovery point too, so more may be found in them.
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
