import { checkOptions, fraction, oneOf, wholeNumber, type Checks } from './checks.ts'
import { DEFAULT_LEVELS, LEVEL_CHECKS, type CompressionLevels } from './record/codecs/levels.ts'
import { codecFor } from './record/compression.ts'

/** Which codec a topic's batches are stored in; `producer` keeps the producer's choice. */
export type TopicCompressionType = 'producer' | 'uncompressed' | 'gzip' | 'snappy' | 'lz4' | 'zstd'

/**
 * Configuration of one topic: Kafka's keys in camelCase with Kafka's defaults, but for
 * `flushMessages`, where safety is the default.
 */
export interface TopicConfig extends CompressionLevels {
  /** Largest size of a segment file, bytes, [100, 2147483647]. @defaultValue 1073741824 */
  readonly segmentBytes?: number
  /**
   * A segment is rolled when a record arrives that is this much younger than its first batch,
   * by the records' own timestamps; milliseconds, at least 1. @defaultValue 604800000 (7 days)
   */
  readonly segmentMs?: number
  /**
   * Each segment is rolled earlier than after `segmentMs` by a random time below this and below
   * `segmentMs`, so that partitions that were begun together do not all roll at once; milliseconds,
   * at least 0. @defaultValue 0
   */
  readonly segmentJitterMs?: number
  /** Bytes of log between two index entries, at least 0. @defaultValue 4096 */
  readonly indexIntervalBytes?: number
  /** Largest size of an index file, bytes, at least 24; a full index rolls the segment. @defaultValue 10485760 */
  readonly segmentIndexBytes?: number
  /** How long records are kept, milliseconds; -1 keeps them for ever. @defaultValue 604800000 (7 days) */
  readonly retentionMs?: number
  /** How many bytes a partition keeps at least; -1 sets no limit. @defaultValue -1 */
  readonly retentionBytes?: number
  /** What becomes of old records. @defaultValue `'delete'` */
  readonly cleanupPolicy?: 'delete' | 'compact' | 'compact,delete'
  /** Codec of stored batches. @defaultValue `'producer'` */
  readonly compressionType?: TopicCompressionType
  /** Largest batch, bytes after compression with all headers, at least 0. @defaultValue 1048588 */
  readonly maxMessageBytes?: number
  /** Whose clock stamps the records: the sender's, or the log's at append. @defaultValue `'CreateTime'` */
  readonly messageTimestampType?: 'CreateTime' | 'LogAppendTime'
  /** How long a record stays uncompacted at least, milliseconds. @defaultValue 0 */
  readonly minCompactionLagMs?: number
  /** How long a record stays uncompacted at most, milliseconds. @defaultValue 9007199254740991 */
  readonly maxCompactionLagMs?: number
  /** Share of dirty bytes that makes a log worth compacting, [0, 1]. @defaultValue 0.5 */
  readonly minCleanableDirtyRatio?: number
  /** How long tombstones outlive their compaction, milliseconds. @defaultValue 86400000 */
  readonly deleteRetentionMs?: number
  /** How long files of deleted segments stay on disk, milliseconds. @defaultValue 60000 */
  readonly fileDeleteDelayMs?: number
  /**
   * Records between two syncs. 1 makes every acknowledged record durable and shares the cost of a
   * sync among all who wait; larger values may lose that many records on power loss.
   *
   * @defaultValue 1 (Kafka: never)
   */
  readonly flushMessages?: number
  /** Longest time between two syncs while `flushMessages` is above 1, milliseconds. @defaultValue 9007199254740991 */
  readonly flushMs?: number
}

/** {@link TopicConfig} with every key filled in. */
export type ResolvedTopicConfig = Required<TopicConfig>

/** What every topic starts from. */
export const DEFAULT_TOPIC_CONFIG: Readonly<ResolvedTopicConfig> = Object.freeze({
  segmentBytes: 1_073_741_824,
  segmentMs: 604_800_000,
  segmentJitterMs: 0,
  indexIntervalBytes: 4096,
  segmentIndexBytes: 10_485_760,
  retentionMs: 604_800_000,
  retentionBytes: -1,
  cleanupPolicy: 'delete',
  compressionType: 'producer',
  ...DEFAULT_LEVELS,
  maxMessageBytes: 1_048_588,
  messageTimestampType: 'CreateTime',
  minCompactionLagMs: 0,
  maxCompactionLagMs: Number.MAX_SAFE_INTEGER,
  minCleanableDirtyRatio: 0.5,
  deleteRetentionMs: 86_400_000,
  fileDeleteDelayMs: 60_000,
  flushMessages: 1,
  flushMs: Number.MAX_SAFE_INTEGER,
} satisfies ResolvedTopicConfig)

/** The check of each key. */
export const TOPIC_CONFIG_CHECKS: Checks<TopicConfig> = {
  segmentBytes: wholeNumber(100, 2_147_483_647),
  segmentMs: wholeNumber(1),
  segmentJitterMs: wholeNumber(0),
  indexIntervalBytes: wholeNumber(0, 2_147_483_647),
  segmentIndexBytes: wholeNumber(24, 2_147_483_647),
  retentionMs: wholeNumber(-1),
  retentionBytes: wholeNumber(-1),
  cleanupPolicy: oneOf('delete', 'compact', 'compact,delete'),
  compressionType: oneOf('producer', 'uncompressed', 'gzip', 'snappy', 'lz4', 'zstd'),
  ...LEVEL_CHECKS,
  maxMessageBytes: wholeNumber(0, 2_147_483_647),
  messageTimestampType: oneOf('CreateTime', 'LogAppendTime'),
  minCompactionLagMs: wholeNumber(0),
  maxCompactionLagMs: wholeNumber(1),
  minCleanableDirtyRatio: fraction,
  deleteRetentionMs: wholeNumber(0),
  fileDeleteDelayMs: wholeNumber(0),
  flushMessages: wholeNumber(1),
  flushMs: wholeNumber(0),
}

/**
 * Checks `config` and fills in what it leaves out from `base`.
 *
 * It may name a codec that is not available here: a topic that was stored with one can be opened.
 *
 * @throws TypeError for a key that does not exist or a value of the wrong type.
 * @throws RangeError for a value outside its range.
 */
export function resolveTopicConfig(
  config: TopicConfig,
  base: Readonly<ResolvedTopicConfig> = DEFAULT_TOPIC_CONFIG,
): Readonly<ResolvedTopicConfig> {
  return Object.freeze({ ...base, ...checkOptions('topic options', config, TOPIC_CONFIG_CHECKS) })
}

/**
 * Checks a configuration that is about to come into force.
 *
 * @param what what it is called in an error's message.
 * @returns what it says, without what it leaves out.
 * @throws TypeError for a key that does not exist or a value of the wrong type.
 * @throws RangeError for a value outside its range.
 * @throws {@link UnsupportedCompressionTypeError} when there is no codec for `compressionType`.
 */
export function checkTopicConfig(what: string, config: TopicConfig): TopicConfig {
  const checked = checkOptions(what, config, TOPIC_CONFIG_CHECKS)
  ensureCodec(checked.compressionType)
  return checked
}

/** @throws {@link UnsupportedCompressionTypeError} when batches could not be stored like that. */
export function ensureCodec(compressionType: TopicCompressionType = 'producer'): void {
  if (compressionType === 'producer' || compressionType === 'uncompressed') return
  codecFor(compressionType)
}
