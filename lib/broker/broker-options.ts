import {
  boolean,
  checkOptions,
  objectWith,
  wholeNumber,
  type Checks,
  type Resolved,
} from '../checks.ts'
import {
  checkTopicConfig,
  ensureConsistent,
  resolveTopicConfig,
  TOPIC_CONFIG_CHECKS,
  type GivenTopicConfig,
  type TopicConfig,
} from '../config.ts'
import type { Clock } from '../platform/clock.ts'
import { FILE_SYSTEM_METHODS, type FileSystem } from '../platform/file-system.ts'
import { systemRandom, type Random } from '../platform/random.ts'
import { systemClock } from '../platform/system-clock.ts'
import { MAX_PARTITIONS } from './topic.ts'

/** Options of {@link Broker.open}. */
export interface BrokerOptions {
  /**
   * Opens the directory for reading only: takes no lock, repairs nothing and writes nothing. Calls
   * that would write throw {@link ReadOnlyError}.
   *
   * The broker follows what the directory's owner appends within some 50 ms, and its topics and
   * committed offsets within about a second. End offsets returned without a wait are as of the last
   * look; iterations and polls look before they start at an end. @defaultValue false
   */
  readonly readOnly?: boolean | undefined
  /**
   * Allows a directory that every user of the machine may write to, and files owned by other users.
   * Anyone who can write to the directory can forge records. Mounted volumes often have mode 777: a
   * directory inside the volume needs no such permission.
   * @defaultValue false
   */
  readonly allowSharedDirectory?: boolean | undefined
  /** File system that holds the data directory. @defaultValue the real one */
  readonly fileSystem?: FileSystem | undefined
  /** Source of time and timers. @defaultValue the real one */
  readonly clock?: Clock | undefined
  /** Source of random numbers. @defaultValue the operating system's */
  readonly random?: Random | undefined
  /**
   * Memory, in bytes over all partitions, for the positions of records in batches that reads with
   * `maxRecords` have checked. They count as about a 60th of the batches; JavaScript's objects take
   * half as much again. 0 keeps nothing.
   * @defaultValue 32 MiB
   */
  readonly readCacheBytes?: number | undefined
  /**
   * Pause of the log cleaner when no log is due for compaction, milliseconds, at least 1.
   * @defaultValue 15000
   */
  readonly cleanerBackoffMs?: number | undefined
  /**
   * Memory for the offsets of keys in one compaction pass, in bytes, [1024, 2147483647]; each key
   * takes 24. A pass over more keys covers fewer records, and another pass follows.
   * @defaultValue 16 MiB (Kafka: 128 MiB)
   */
  readonly cleanerDedupeBufferBytes?: number | undefined
  /**
   * How often the topics' limits are enforced, milliseconds, at least 1: Kafka's
   * `log.retention.check.interval.ms`.
   * @defaultValue 300000 (5 minutes)
   */
  readonly retentionCheckIntervalMs?: number | undefined
  /**
   * Whether a producer that names an unknown topic creates it, with one partition.
   * @defaultValue false
   */
  readonly autoCreateTopics?: boolean | undefined
  /**
   * Values for the configuration keys that a topic, new or existing, does not set itself. They are
   * not stored, and without them the defaults of {@link TopicConfig} apply: pass the same values to
   * each open, or set them on the topic with `createTopic` or `alter`.
   */
  readonly defaults?: TopicConfig | undefined
}

/** Options of {@link Broker.createTopic}: the topic's configuration, and how it is created. */
export interface CreateTopicOptions extends TopicConfig {
  /** Number of partitions, [1, 100000]. @defaultValue 1 */
  readonly partitions?: number | undefined
  /** Returns the existing topic, unchanged, instead of throwing an error. @defaultValue false */
  readonly ifNotExists?: boolean | undefined
}

const BROKER_OPTIONS: Checks<BrokerOptions> = {
  readOnly: boolean,
  allowSharedDirectory: boolean,
  fileSystem: objectWith(...FILE_SYSTEM_METHODS),
  clock: objectWith('now', 'monotonic', 'startTimer'),
  random: objectWith('integer', 'bytes'),
  readCacheBytes: wholeNumber(0),
  cleanerBackoffMs: wholeNumber(1),
  cleanerDedupeBufferBytes: wholeNumber(1024, 2_147_483_647),
  retentionCheckIntervalMs: wholeNumber(1),
  autoCreateTopics: boolean,
  defaults: (name, value) => {
    checkTopicConfig(name, value as TopicConfig)
  },
}

/** The check of each option of {@link Broker.createTopic}. */
export const CREATE_TOPIC_OPTIONS: Checks<CreateTopicOptions> = {
  ...TOPIC_CONFIG_CHECKS,
  partitions: wholeNumber(1, MAX_PARTITIONS),
  ifNotExists: boolean,
}

/** {@link BrokerOptions} with all defaults filled in, except the file system. */
export interface ResolvedBrokerOptions extends Resolved<
  Omit<BrokerOptions, 'fileSystem' | 'defaults'>
> {
  readonly fileSystem: FileSystem | undefined
  readonly defaults: GivenTopicConfig
}

/**
 * Checks the options and fills in the defaults.
 *
 * @throws TypeError or RangeError for illegal options.
 * @throws {@link UnsupportedCompressionTypeError} when `defaults` name a codec that is not
 * available.
 */
export function resolveBrokerOptions(options: BrokerOptions): ResolvedBrokerOptions {
  const checked = checkOptions('broker options', options, BROKER_OPTIONS)
  const defaults = checkTopicConfig('defaults', checked.defaults ?? {})
  ensureConsistent(resolveTopicConfig(defaults))
  return {
    readOnly: false,
    allowSharedDirectory: false,
    clock: systemClock,
    random: systemRandom,
    readCacheBytes: 32 * 1024 * 1024,
    cleanerBackoffMs: 15_000,
    cleanerDedupeBufferBytes: 16 * 1024 * 1024,
    retentionCheckIntervalMs: 300_000,
    autoCreateTopics: false,
    ...checked,
    fileSystem: checked.fileSystem,
    defaults,
  }
}
