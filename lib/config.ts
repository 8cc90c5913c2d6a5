import {
  boolean,
  checkOptions,
  fraction,
  oneOf,
  wholeNumber,
  type Checks,
  type Given,
} from './checks.ts'
import { DEFAULT_LEVELS, LEVEL_CHECKS, type CompressionLevels } from './record/codecs/levels.ts'
import { codecFor } from './record/compression.ts'

/** The codec in which a topic's batches are stored; `producer` keeps the producer's choice. */
export type TopicCompressionType = 'producer' | 'uncompressed' | 'gzip' | 'snappy' | 'lz4' | 'zstd'

/**
 * Configuration of one topic: Kafka's keys in camelCase with Kafka's defaults, except
 * `flushMessages`, whose default is the safe value, and `messageTimestampAfterMaxMs`, which has no
 * limit.
 */
export interface TopicConfig extends CompressionLevels {
  /** Largest size of a segment file, bytes, [100, 2147483647]. @defaultValue 1073741824 */
  readonly segmentBytes?: number | undefined
  /**
   * Age at which a segment is rolled, milliseconds, at least 1. The age is the difference between
   * the timestamps of an arriving record and of the segment's first batch. If that batch has no
   * timestamp, or one in the future, the segment's age by the clock counts.
   * @defaultValue 604800000 (7 days)
   */
  readonly segmentMs?: number | undefined
  /**
   * Upper bound of the random time by which a segment is rolled before it reaches `segmentMs`,
   * milliseconds, at least 0. It is capped at `segmentMs`. Jitter keeps partitions that were
   * started together from all rolling at once.
   * @defaultValue 0
   */
  readonly segmentJitterMs?: number | undefined
  /** Bytes of log between two index entries, [0, 2147483647]. @defaultValue 4096 */
  readonly indexIntervalBytes?: number | undefined
  /**
   * Whether each log file takes up to 256 KiB ahead of what is appended, so that syncs need not wait
   * for the file system's journal. Preallocation pays off when each append is synced, on file
   * systems that write in place, such as ext4 and XFS. A file returns its unused space when it is
   * rolled or closed. Nothing is preallocated when `maxBytes` or `minFreeBytes` sets a limit.
   * @defaultValue false
   */
  readonly preallocate?: boolean | undefined
  /**
   * Largest size of an index file, bytes, [24, 2147483647]. A full index rolls the segment.
   * @defaultValue 10485760
   */
  readonly segmentIndexBytes?: number | undefined
  /**
   * How long records are kept, milliseconds; -1 keeps them forever. A segment is deleted when all
   * its records are older, even if nothing more is appended. For a timestamp in the future, the
   * file's modification time counts instead.
   * @defaultValue 604800000 (7 days). With `retention: 'consumed'` it is -1 unless the broker's
   * `defaults` set another value, so that records are not deleted before they are consumed
   */
  readonly retentionMs?: number | undefined
  /**
   * The oldest segments of a partition are deleted as long as at least this many bytes remain. Deletion
   * by age may leave less. -1 sets no limit.
   * @defaultValue -1
   */
  readonly retentionBytes?: number | undefined
  /**
   * What keeps records in addition to the limits: nothing, or with `'consumed'` the groups that
   * have committed offsets for the topic. Records are then deleted once all of these groups have
   * committed past them; while there is no such group, all records stay. Offsets committed by an
   * import do not count, but an unfinished import keeps the records it may have to look for, until
   * the topic has no room. Limits that are set apply as well.
   * @defaultValue `'limits'`
   */
  readonly retention?: 'limits' | 'consumed' | undefined
  /**
   * Total bytes that the log files of all partitions may take, at least 0; -1 sets no cap. See
   * `whenFull`.
   * @defaultValue -1
   */
  readonly maxBytes?: number | undefined
  /**
   * Free bytes that the file system must have for the topic to accept more, at least 0. The free
   * space used in this check is at most one second and 4 MiB of appends old.
   * @defaultValue 0
   */
  readonly minFreeBytes?: number | undefined
  /**
   * What happens to an append when there is no room and everything deletable has been deleted:
   * `'reject'` fails it with {@link LogFullError}, `'wait'` delays it and all appends after it, and
   * `'dropOldest'` deletes the topic's oldest segments.
   * @defaultValue `'reject'`
   */
  readonly whenFull?: 'reject' | 'wait' | 'dropOldest' | undefined
  /** How old records are removed. @defaultValue `'delete'` */
  readonly cleanupPolicy?: 'delete' | 'compact' | 'compact,delete' | undefined
  /** Codec of stored batches. @defaultValue `'producer'` */
  readonly compressionType?: TopicCompressionType | undefined
  /**
   * Largest batch, bytes after compression including all headers, [0, 2147483647]. A compressed
   * batch is further limited to 64 MiB before compression.
   * @defaultValue 1048588
   */
  readonly maxMessageBytes?: number | undefined
  /**
   * Which clock stamps the records: the sender's, or the log's at append.
   * @defaultValue `'CreateTime'`
   */
  readonly messageTimestampType?: 'CreateTime' | 'LogAppendTime' | undefined
  /**
   * How far a record's timestamp may lie before the time it is accepted, milliseconds, at least 0.
   * That is the time of the call to `append`, or for a producer the time it has memory for the
   * record. Later waiting, to be sent or for room, does not count, nor does a configuration change
   * meanwhile. The check applies only to timestamps that the caller sets.
   * @defaultValue 9007199254740991, no limit
   */
  readonly messageTimestampBeforeMaxMs?: number | undefined
  /**
   * How far a record's timestamp may lie after that time, in the future, milliseconds, at least 0.
   * The check applies only to timestamps that the caller sets.
   * @defaultValue 9007199254740991, no limit (Kafka: one hour, because there a wrong one keeps the
   * log from being deleted)
   */
  readonly messageTimestampAfterMaxMs?: number | undefined
  /**
   * Minimum time that a record stays uncompacted, milliseconds, [0, `maxCompactionLagMs`]. If the
   * records of a segment have no timestamps, or one in the future, the file's modification time
   * counts.
   * @defaultValue 0
   */
  readonly minCompactionLagMs?: number | undefined
  /**
   * Maximum time that a record stays uncompacted, milliseconds, at least 1.
   * @defaultValue 9007199254740991
   */
  readonly maxCompactionLagMs?: number | undefined
  /**
   * Share of dirty bytes above which a log is compacted, [0, 1]; any share is enough while the
   * topic is full.
   * @defaultValue 0.5
   */
  readonly minCleanableDirtyRatio?: number | undefined
  /**
   * How long tombstones are kept after compaction, milliseconds, at least 0.
   * @defaultValue 86400000
   */
  readonly deleteRetentionMs?: number | undefined
  /**
   * Accepted for compatibility with Kafka configurations; it has no effect here. Kafka keeps the
   * files of deleted segments that long for readers. Readers of this library finish with a file
   * before it is deleted, so its bytes are freed at once.
   * @defaultValue 60000
   */
  readonly fileDeleteDelayMs?: number | undefined
  /**
   * Records between two syncs, at least 1. With 1 every acknowledged record is durable, and all
   * waiting appends share the cost of a sync. Larger values may lose that many records on power
   * loss, and with `acks: 1` also the records that the sync in progress was to cover.
   *
   * @defaultValue 1 (Kafka: never)
   */
  readonly flushMessages?: number | undefined
  /**
   * Longest time between two syncs while `flushMessages` is above 1, milliseconds, at least 0.
   * @defaultValue 9007199254740991
   */
  readonly flushMs?: number | undefined
}

/** A checked {@link TopicConfig}: a key is absent, or has a value. */
export type GivenTopicConfig = Given<TopicConfig>

/** {@link TopicConfig} with every key filled in. */
export type ResolvedTopicConfig = {
  [Key in keyof TopicConfig]-?: Exclude<TopicConfig[Key], undefined>
}

/** The default configuration of every topic. */
export const DEFAULT_TOPIC_CONFIG: Readonly<ResolvedTopicConfig> = Object.freeze({
  segmentBytes: 1_073_741_824,
  segmentMs: 604_800_000,
  segmentJitterMs: 0,
  indexIntervalBytes: 4096,
  preallocate: false,
  segmentIndexBytes: 10_485_760,
  retentionMs: 604_800_000,
  retentionBytes: -1,
  retention: 'limits',
  maxBytes: -1,
  minFreeBytes: 0,
  whenFull: 'reject',
  cleanupPolicy: 'delete',
  compressionType: 'producer',
  ...DEFAULT_LEVELS,
  maxMessageBytes: 1_048_588,
  messageTimestampType: 'CreateTime',
  messageTimestampBeforeMaxMs: Number.MAX_SAFE_INTEGER,
  messageTimestampAfterMaxMs: Number.MAX_SAFE_INTEGER,
  minCompactionLagMs: 0,
  maxCompactionLagMs: Number.MAX_SAFE_INTEGER,
  minCleanableDirtyRatio: 0.5,
  deleteRetentionMs: 86_400_000,
  fileDeleteDelayMs: 60_000,
  flushMessages: 1,
  flushMs: Number.MAX_SAFE_INTEGER,
} satisfies ResolvedTopicConfig)

/** The check for each key. */
export const TOPIC_CONFIG_CHECKS: Checks<TopicConfig> = {
  segmentBytes: wholeNumber(100, 2_147_483_647),
  segmentMs: wholeNumber(1),
  segmentJitterMs: wholeNumber(0),
  indexIntervalBytes: wholeNumber(0, 2_147_483_647),
  preallocate: boolean,
  segmentIndexBytes: wholeNumber(24, 2_147_483_647),
  retentionMs: wholeNumber(-1),
  retentionBytes: wholeNumber(-1),
  retention: oneOf('limits', 'consumed'),
  maxBytes: wholeNumber(-1),
  minFreeBytes: wholeNumber(0),
  whenFull: oneOf('reject', 'wait', 'dropOldest'),
  cleanupPolicy: oneOf('delete', 'compact', 'compact,delete'),
  compressionType: oneOf('producer', 'uncompressed', 'gzip', 'snappy', 'lz4', 'zstd'),
  ...LEVEL_CHECKS,
  maxMessageBytes: wholeNumber(0, 2_147_483_647),
  messageTimestampType: oneOf('CreateTime', 'LogAppendTime'),
  messageTimestampBeforeMaxMs: wholeNumber(0),
  messageTimestampAfterMaxMs: wholeNumber(0),
  minCompactionLagMs: wholeNumber(0),
  maxCompactionLagMs: wholeNumber(1),
  minCleanableDirtyRatio: fraction,
  deleteRetentionMs: wholeNumber(0),
  fileDeleteDelayMs: wholeNumber(0),
  flushMessages: wholeNumber(1),
  flushMs: wholeNumber(0),
}

/**
 * Checks `config` and fills in missing keys, first from `defaults`, then from the library's
 * defaults.
 *
 * The codec that `config` names need not be available: an existing topic that uses it can still be
 * opened.
 *
 * @param defaults checked before
 * @throws TypeError for a key that does not exist or a value of the wrong type.
 * @throws RangeError for a value outside its range.
 */
export function resolveTopicConfig(
  config: TopicConfig,
  defaults: GivenTopicConfig = {},
): Readonly<ResolvedTopicConfig> {
  const said = { ...defaults, ...checkOptions('topic options', config, TOPIC_CONFIG_CHECKS) }
  // A job that waits for more than a week would otherwise be deleted unnoticed.
  const ofRetention = said.retention === 'consumed' ? { retentionMs: -1 } : {}
  return Object.freeze({ ...DEFAULT_TOPIC_CONFIG, ...ofRetention, ...said })
}

/**
 * Checks a configuration that is about to take effect.
 *
 * @param what the name of the configuration in error messages.
 * @returns the keys that are set.
 * @throws TypeError for a key that does not exist or a value of the wrong type.
 * @throws RangeError for a value outside its range.
 * @throws {@link UnsupportedCompressionTypeError} when the codec of `compressionType` is not
 * available.
 */
export function checkTopicConfig(what: string, config: TopicConfig): GivenTopicConfig {
  const checked = checkOptions(what, config, TOPIC_CONFIG_CHECKS)
  ensureCodec(checked.compressionType)
  return checked
}

/**
 * Rejects a complete configuration that contradicts itself.
 *
 * @throws RangeError naming both values.
 */
export function ensureConsistent(config: Readonly<ResolvedTopicConfig>): void {
  const { minCompactionLagMs, maxCompactionLagMs } = config
  if (minCompactionLagMs <= maxCompactionLagMs) return
  throw new RangeError(
    `minCompactionLagMs must be at most maxCompactionLagMs (${maxCompactionLagMs}), ` +
      `got ${minCompactionLagMs}`,
  )
}

/**
 * Checks that the codec is available.
 * @throws {@link UnsupportedCompressionTypeError} when it is not
 */
export function ensureCodec(compressionType: TopicCompressionType = 'producer'): void {
  if (compressionType === 'producer' || compressionType === 'uncompressed') return
  codecFor(compressionType)
}
