/** Which codec a topic's batches are stored in; `producer` keeps the producer's choice. */
export type TopicCompressionType = 'producer' | 'uncompressed' | 'gzip' | 'snappy' | 'lz4' | 'zstd'

/**
 * Configuration of one topic: Kafka's keys in camelCase with Kafka's defaults, but for
 * `flushMessages`, where safety is the default.
 */
export interface TopicConfig {
  /** Largest size of a segment file, bytes, [100, 2147483647]. @defaultValue 1073741824 */
  readonly segmentBytes?: number
  /**
   * A segment is rolled when a record arrives that is this much younger than its first batch,
   * by the records' own timestamps; milliseconds, at least 1. @defaultValue 604800000 (7 days)
   */
  readonly segmentMs?: number
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
  indexIntervalBytes: 4096,
  segmentIndexBytes: 10_485_760,
  retentionMs: 604_800_000,
  retentionBytes: -1,
  cleanupPolicy: 'delete',
  compressionType: 'producer',
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

type Check = (key: string, value: unknown) => void

const RULES: Record<keyof ResolvedTopicConfig, Check> = {
  segmentBytes: wholeNumber(100, 2_147_483_647),
  segmentMs: wholeNumber(1, Number.MAX_SAFE_INTEGER),
  indexIntervalBytes: wholeNumber(0, 2_147_483_647),
  segmentIndexBytes: wholeNumber(24, 2_147_483_647),
  retentionMs: wholeNumber(-1, Number.MAX_SAFE_INTEGER),
  retentionBytes: wholeNumber(-1, Number.MAX_SAFE_INTEGER),
  cleanupPolicy: oneOf('delete', 'compact', 'compact,delete'),
  compressionType: oneOf('producer', 'uncompressed', 'gzip', 'snappy', 'lz4', 'zstd'),
  maxMessageBytes: wholeNumber(0, 2_147_483_647),
  messageTimestampType: oneOf('CreateTime', 'LogAppendTime'),
  minCompactionLagMs: wholeNumber(0, Number.MAX_SAFE_INTEGER),
  maxCompactionLagMs: wholeNumber(1, Number.MAX_SAFE_INTEGER),
  minCleanableDirtyRatio: fraction,
  deleteRetentionMs: wholeNumber(0, Number.MAX_SAFE_INTEGER),
  fileDeleteDelayMs: wholeNumber(0, Number.MAX_SAFE_INTEGER),
  flushMessages: wholeNumber(1, Number.MAX_SAFE_INTEGER),
  flushMs: wholeNumber(0, Number.MAX_SAFE_INTEGER),
}

/**
 * Checks `config` and fills in what it leaves out from `base`.
 *
 * @throws TypeError for a key that does not exist or a value of the wrong type.
 * @throws RangeError for a value outside its range.
 */
export function resolveTopicConfig(
  config: TopicConfig,
  base: Readonly<ResolvedTopicConfig> = DEFAULT_TOPIC_CONFIG,
): Readonly<ResolvedTopicConfig> {
  const resolved: Record<string, unknown> = { ...base }
  for (const [key, value] of Object.entries(config)) {
    if (!Object.hasOwn(RULES, key)) {
      throw new TypeError(
        `unknown topic option '${key}'; known are ${Object.keys(RULES).join(', ')}`,
      )
    }
    if (value === undefined) continue
    RULES[key as keyof ResolvedTopicConfig](key, value)
    resolved[key] = value
  }
  return Object.freeze(resolved as unknown as ResolvedTopicConfig)
}

/**
 * Checks that `value` is a whole number in [`min`, `max`].
 *
 * @throws TypeError when it is not a number.
 * @throws RangeError when it is not whole or out of range.
 */
export function checkWholeNumber(key: string, value: unknown, min: number, max: number): number {
  if (typeof value !== 'number') {
    throw new TypeError(`${key} must be a number, got ${describeValue(value)}`)
  }
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(`${key} must be a whole number from ${min} to ${max}, got ${value}`)
  }
  return value
}

/**
 * Checks that `value` is one of `allowed`.
 *
 * @throws TypeError when it is not.
 */
export function checkOneOf<T extends string | number>(
  key: string,
  value: unknown,
  allowed: readonly T[],
): T {
  const found = allowed.find((candidate) => candidate === value)
  if (found === undefined) {
    throw new TypeError(
      `${key} must be one of ${allowed.map((each) => JSON.stringify(each)).join(', ')}, ` +
        `got ${describeValue(value)}`,
    )
  }
  return found
}

/**
 * Checks that `options` is an object without keys that nobody reads: a misspelt option must not
 * be ignored.
 *
 * @throws TypeError naming the key and what is allowed.
 */
export function checkOptions(what: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new TypeError(`${what} must be an object, got ${describeValue(options)}`)
  }
  for (const key of Object.keys(options)) {
    if (!known.includes(key)) {
      throw new TypeError(`${what} has no option '${key}'; known are ${known.join(', ')}`)
    }
  }
}

/** A short text for a value in an error message. */
export function describeValue(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value)
  if (value === null || typeof value !== 'object') return String(value)
  return Array.isArray(value) ? 'an array' : 'an object'
}

function wholeNumber(min: number, max: number): Check {
  return (key, value) => {
    checkWholeNumber(key, value, min, max)
  }
}

function oneOf(...allowed: string[]): Check {
  return (key, value) => {
    checkOneOf(key, value, allowed)
  }
}

function fraction(key: string, value: unknown): void {
  if (typeof value !== 'number') {
    throw new TypeError(`${key} must be a number, got ${describeValue(value)}`)
  }
  if (!(value >= 0 && value <= 1)) {
    throw new RangeError(`${key} must be a number from 0 to 1, got ${value}`)
  }
}
