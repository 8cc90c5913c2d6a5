import { boolean, checkOptions, objectWith, wholeNumber, type Checks } from '../checks.ts'
import {
  checkTopicConfig,
  ensureConsistent,
  resolveTopicConfig,
  TOPIC_CONFIG_CHECKS,
  type TopicConfig,
} from '../config.ts'
import type { Clock } from '../platform/clock.ts'
import { FILE_SYSTEM_METHODS, type FileSystem } from '../platform/file-system.ts'
import { systemRandom, type Random } from '../platform/random.ts'
import { systemClock } from '../platform/system-clock.ts'
import { MAX_PARTITIONS } from './topic.ts'

/** How a {@link Broker} is opened. */
export interface BrokerOptions {
  /**
   * Takes no lock, repairs nothing, writes nothing, and follows what the owner of the directory
   * appends within some 50 ms, and its topics and committed offsets within about a second. Ends that are told without
   * a wait, those of `'latest'` and `'end'` among them, are those of the last look. What would write
   * throws {@link ReadOnlyError}. @defaultValue false
   */
  readonly readOnly?: boolean
  /**
   * Opens a directory that every user of the machine may write to, and files of other users. Who can
   * write to the directory can make up records. Mounted volumes often have mode 777: a directory
   * inside one needs no such permission. @defaultValue false
   */
  readonly allowSharedDirectory?: boolean
  /** @defaultValue the real one */
  readonly fileSystem?: FileSystem
  /** @defaultValue the real one */
  readonly clock?: Clock
  /** @defaultValue the operating system's */
  readonly random?: Random
  /**
   * Memory for where records are in the batches that reads with `maxRecords` have checked, over all
   * partitions, counted as about a 60th of the batches; JavaScript's objects take half as much again.
   * 0 keeps nothing. @defaultValue 32 MiB
   */
  readonly readCacheBytes?: number
  /**
   * How long compaction rests when nothing is due, milliseconds, at least 1. @defaultValue 15000
   */
  readonly cleanerBackoffMs?: number
  /**
   * Memory that one pass of compaction takes for the offsets of keys, 24 bytes each, [1024, 2147483647]. A pass
   * over more keys than that covers fewer records, and another follows. @defaultValue 16 MiB (Kafka: 128 MiB)
   */
  readonly cleanerDedupeBufferBytes?: number
  /**
   * How often the limits of topics are checked, milliseconds, at least 1: Kafka's
   * `log.retention.check.interval.ms`. @defaultValue 300000 (5 minutes)
   */
  readonly retentionCheckIntervalMs?: number
  /** Whether a producer that names an unknown topic creates it, with one partition. @defaultValue false */
  readonly autoCreateTopics?: boolean
  /**
   * What topics have where they say nothing else, those that exist included. It is not stored, and without it
   * they have Kafka's defaults: give the same in each open, or tell the topic, by `createTopic` or `alter`.
   */
  readonly defaults?: TopicConfig
}

/** How a topic is created. */
export interface CreateTopicOptions extends TopicConfig {
  /** [1, 100000]. @defaultValue 1 */
  readonly partitions?: number
  /** Gives the topic that exists, as it is, instead of an error. @defaultValue false */
  readonly ifNotExists?: boolean
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

const DEFAULT_READ_CACHE_BYTES = 32 * 1024 * 1024
const DEFAULT_CLEANER_BACKOFF_MS = 15_000
const DEFAULT_CLEANER_DEDUPE_BUFFER_BYTES = 16 * 1024 * 1024
const DEFAULT_RETENTION_CHECK_INTERVAL_MS = 300_000

/** The check of each option of a new topic. */
export const CREATE_TOPIC_OPTIONS: Checks<CreateTopicOptions> = {
  ...TOPIC_CONFIG_CHECKS,
  partitions: wholeNumber(1, MAX_PARTITIONS),
  ifNotExists: boolean,
}

/** {@link BrokerOptions} with what they leave out, but for the file system. */
export interface ResolvedBrokerOptions extends Required<
  Omit<BrokerOptions, 'fileSystem' | 'defaults'>
> {
  readonly fileSystem: FileSystem | undefined
  readonly defaults: TopicConfig
}

/**
 * Checks the options and fills in what they leave out.
 *
 * @throws TypeError or RangeError for options that are not legal.
 * @throws {@link UnsupportedCompressionTypeError} when `defaults` name a codec that is not there.
 */
export function resolveBrokerOptions(options: BrokerOptions): ResolvedBrokerOptions {
  const checked = checkOptions('broker options', options, BROKER_OPTIONS)
  const defaults = checkTopicConfig('defaults', checked.defaults ?? {})
  ensureConsistent(resolveTopicConfig(defaults))
  return {
    fileSystem: checked.fileSystem,
    defaults,
    readOnly: checked.readOnly ?? false,
    allowSharedDirectory: checked.allowSharedDirectory ?? false,
    clock: checked.clock ?? systemClock,
    random: checked.random ?? systemRandom,
    readCacheBytes: checked.readCacheBytes ?? DEFAULT_READ_CACHE_BYTES,
    cleanerBackoffMs: checked.cleanerBackoffMs ?? DEFAULT_CLEANER_BACKOFF_MS,
    cleanerDedupeBufferBytes:
      checked.cleanerDedupeBufferBytes ?? DEFAULT_CLEANER_DEDUPE_BUFFER_BYTES,
    retentionCheckIntervalMs:
      checked.retentionCheckIntervalMs ?? DEFAULT_RETENTION_CHECK_INTERVAL_MS,
    autoCreateTopics: checked.autoCreateTopics ?? false,
  }
}
