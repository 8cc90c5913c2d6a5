import { boolean, checkOptions, fraction, oneOf, wholeNumber, type Checks } from './checks.ts'
import { DEFAULT_LEVELS, LEVEL_CHECKS, type CompressionLevels } from './record/codecs/levels.ts'
import { codecFor } from './record/compression.ts'

/** Which codec a topic's batches are stored in; `producer` keeps the producer's choice. */
export type TopicCompressionType = 'producer' | 'uncompressed' | 'gzip' | 'snappy' | 'lz4' | 'zstd'

/**
 * Configuration of one topic: Kafka's keys in camelCase with Kafka's defaults, but for
 * `flushMessages`, where safety is the default, and `messageTimestampAfterMaxMs`, which has no limit.
 */
export interface TopicConfig extends CompressionLevels {
  /** Largest size of a segment file, bytes, [100, 2147483647]. @defaultValue 1073741824 */
  readonly segmentBytes?: number
  /**
   * A segment is rolled when a record arrives that is this much younger than its first batch,
   * by the records' own timestamps; where that batch has none, or one in the future, by the clock.
   * Milliseconds, at least 1. @defaultValue 604800000 (7 days)
   */
  readonly segmentMs?: number
  /**
   * Each segment is rolled earlier than after `segmentMs` by a random time below this and below
   * `segmentMs`, so that partitions that were begun together do not all roll at once; milliseconds,
   * at least 0. @defaultValue 0
   */
  readonly segmentJitterMs?: number
  /** Bytes of log between two index entries, [0, 2147483647]. @defaultValue 4096 */
  readonly indexIntervalBytes?: number
  /**
   * Whether log files take room ahead of what is appended, up to 256 KiB each, so that syncs need not
   * wait for the journal of the file system. It pays where each append is synced, on file systems
   * that write in place, such as ext4 and XFS. A file that is rolled or closed gives back what it has
   * not used. Nothing is taken where `maxBytes` or `minFreeBytes` sets a limit. @defaultValue false
   */
  readonly preallocate?: boolean
  /** Largest size of an index file, bytes, [24, 2147483647]; a full index rolls the segment. @defaultValue 10485760 */
  readonly segmentIndexBytes?: number
  /**
   * How long records are kept, milliseconds; -1 keeps them for ever. A segment goes when all of its
   * records are older, also when nothing more is appended. A timestamp in the future counts as the
   * time of the file's last modification. @defaultValue 604800000 (7 days), and -1 with
   * `retention: 'consumed'` unless the broker's `defaults` say otherwise, where records that nobody has
   * consumed yet are not to go by themselves
   */
  readonly retentionMs?: number
  /**
   * How many bytes a partition keeps at least; its oldest segments go as long as no fewer than that
   * stay. -1 sets no limit. @defaultValue -1
   */
  readonly retentionBytes?: number
  /**
   * What keeps records besides the limits: nothing, or with `'consumed'` the groups that have
   * committed offsets for the topic. Records go then once every one of them has committed past them;
   * as long as there is no such group, all stay. What an import commits does not count, but
   * one that has not ended keeps what it may have to look for, until there is no room. Limits that
   * are set hold as well.
   * @defaultValue `'limits'`
   */
  readonly retention?: 'limits' | 'consumed'
  /**
   * Bytes that the log files of all partitions may take together, at least 0; -1 sets no cap. See
   * `whenFull`. @defaultValue -1
   */
  readonly maxBytes?: number
  /**
   * Bytes that the file system has to have left for the topic to take more, at least 0. An append
   * relies on an answer that is a second and 4 MiB of appends old at most. @defaultValue 0
   */
  readonly minFreeBytes?: number
  /**
   * What becomes of an append that finds no room, after everything was deleted that need not be
   * kept: it is refused with {@link LogFullError}, or it waits, and what comes behind it too, or the
   * topic's oldest segments make room. @defaultValue `'reject'`
   */
  readonly whenFull?: 'reject' | 'wait' | 'dropOldest'
  /** What becomes of old records. @defaultValue `'delete'` */
  readonly cleanupPolicy?: 'delete' | 'compact' | 'compact,delete'
  /** Codec of stored batches. @defaultValue `'producer'` */
  readonly compressionType?: TopicCompressionType
  /**
   * Largest batch, bytes after compression with all headers, [0, 2147483647]. One that is compressed has at most
   * 64 MiB before that, whatever this says. @defaultValue 1048588
   */
  readonly maxMessageBytes?: number
  /** Whose clock stamps the records: the sender's, or the log's at append. @defaultValue `'CreateTime'` */
  readonly messageTimestampType?: 'CreateTime' | 'LogAppendTime'
  /**
   * How far a record's timestamp may lie before the time at which it is taken, milliseconds, at least 0: when
   * `append` is called, or as soon as a producer has memory for it. How long it waits from then on, to be
   * sent or for room, makes no difference, and neither does an alter meanwhile.
   * Asked only of timestamps that records bring along. @defaultValue 9007199254740991, no limit
   */
  readonly messageTimestampBeforeMaxMs?: number
  /**
   * How far a record's timestamp may lie after that time, in the future, milliseconds, at least 0.
   * Asked only of timestamps that records bring along. @defaultValue 9007199254740991, no limit
   * (Kafka: an hour, because there a wrong one keeps the log from being deleted)
   */
  readonly messageTimestampAfterMaxMs?: number
  /**
   * How long a record stays uncompacted at least, milliseconds, [0, `maxCompactionLagMs`]. Where the
   * records of a segment have no timestamps, or one in the future, the time of the file's last
   * modification counts. @defaultValue 0
   */
  readonly minCompactionLagMs?: number
  /** How long a record stays uncompacted at most, milliseconds, at least 1. @defaultValue 9007199254740991 */
  readonly maxCompactionLagMs?: number
  /** Share of dirty bytes that makes a log worth compacting, [0, 1]. @defaultValue 0.5 */
  readonly minCleanableDirtyRatio?: number
  /** How long tombstones outlive their compaction, milliseconds, at least 0. @defaultValue 86400000 */
  readonly deleteRetentionMs?: number
  /**
   * Taken so that configurations can be carried over from Kafka and back, and of no effect here:
   * Kafka leaves files of deleted segments to readers for that long. Readers of this library are
   * done with a file before it goes, so deleting frees its bytes at once. @defaultValue 60000
   */
  readonly fileDeleteDelayMs?: number
  /**
   * Records between two syncs, at least 1. 1 makes every acknowledged record durable and shares the cost of a
   * sync among all who wait; larger values may lose that many records on power loss, and with `acks: 1` what
   * the sync under way was to cover as well.
   *
   * @defaultValue 1 (Kafka: never)
   */
  readonly flushMessages?: number
  /** Longest time between two syncs while `flushMessages` is above 1, milliseconds, at least 0. @defaultValue 9007199254740991 */
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

/** The check of each key. */
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
 * Checks `config` and fills in what it leaves out from `defaults`, and then from those of the library.
 *
 * It may name a codec that is not available here: a topic that was stored with one can be opened.
 *
 * @param defaults checked before
 * @throws TypeError for a key that does not exist or a value of the wrong type.
 * @throws RangeError for a value outside its range.
 */
export function resolveTopicConfig(
  config: TopicConfig,
  defaults: TopicConfig = {},
): Readonly<ResolvedTopicConfig> {
  const said = { ...defaults, ...checkOptions('topic options', config, TOPIC_CONFIG_CHECKS) }
  // A job that waits for longer than a week would be gone without anybody having heard of it.
  const ofRetention = said.retention === 'consumed' ? { retentionMs: -1 } : {}
  return Object.freeze({ ...DEFAULT_TOPIC_CONFIG, ...ofRetention, ...said })
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

/**
 * Refuses a whole configuration that contradicts itself.
 *
 * @throws RangeError naming both values.
 */
export function ensureConsistent(config: Readonly<ResolvedTopicConfig>): void {
  const { minCompactionLagMs, maxCompactionLagMs } = config
  if (minCompactionLagMs <= maxCompactionLagMs) return
  throw new RangeError(
    `minCompactionLagMs must be at most maxCompactionLagMs, ${maxCompactionLagMs}, ` +
      `got ${minCompactionLagMs}`,
  )
}

/** @throws {@link UnsupportedCompressionTypeError} when batches could not be stored like that. */
export function ensureCodec(compressionType: TopicCompressionType = 'producer'): void {
  if (compressionType === 'producer' || compressionType === 'uncompressed') return
  codecFor(compressionType)
}
