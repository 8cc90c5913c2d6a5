import { ACKS, type Acks } from '../broker/pending-append.ts'
import {
  callback,
  checkOptions,
  checkWholeNumber,
  objectWith,
  oneOf,
  wholeNumber,
  type Checks,
  type Resolved,
} from '../checks.ts'
import type { Random } from '../platform/random.ts'
import { MAX_INT32 } from '../record/batch-layout.ts'
import { DEFAULT_LEVELS, LEVEL_CHECKS, type CompressionLevels } from '../record/codecs/levels.ts'
import { codecFor, COMPRESSION_TYPES, type CompressionType } from '../record/compression.ts'
import { defaultPartitioner, type Partitioner } from './partitioner.ts'
import { defaultSerde, type Serializer } from './serde.ts'

/** How a producer batches, writes and acknowledges records: Kafka's keys in camelCase. */
export interface ProducerOptions<
  K = string | Uint8Array,
  V = string | Uint8Array,
> extends CompressionLevels {
  /**
   * When a send counts as done: `0` when the record is in the producer's memory, and later failures
   * are not reported; `1` when it is written; `'all'` when consumers may see it.
   *
   * @defaultValue `'all'`
   */
  readonly acks?: Acks | undefined
  /**
   * How long a batch waits for more records, milliseconds from its first one. With 0 a batch is
   * sent at the end of the tick, or collects records while the previous one is being written.
   *
   * @defaultValue 0 (Kafka: 5)
   */
  readonly lingerMs?: number | undefined
  /**
   * Bytes at which a batch is full, [0, 2147483647]; with 0 each record has its own batch. A
   * topic's `maxMessageBytes` and `segmentBytes` limit a batch as well: a waiting batch is split
   * when they are lowered.
   *
   * @defaultValue 65536 (Kafka: 16384)
   */
  readonly batchSize?: number | undefined
  /** Records at which a batch is full, at least 1, or `Infinity`. @defaultValue `Infinity` */
  readonly batchRecords?: number | undefined
  /**
   * Bytes of encoded records that may wait to be written and acknowledged, at least 1. A send
   * without room waits for it.
   *
   * @defaultValue 33554432
   */
  readonly bufferMemory?: number | undefined
  /**
   * How long a send waits for room in `bufferMemory`, or for its topic to be created, milliseconds.
   *
   * @defaultValue 60000
   */
  readonly maxBlockMs?: number | undefined
  /**
   * Time limit for the outcome of a batch, counted from its first record, milliseconds, at least 1
   * and more than `lingerMs`. A batch whose turn to be written has not come by then is not written.
   * Once it has, even if a sync or a new segment is to come first, the batch may still be written
   * (`outcome` `'unknown'`).
   *
   * @defaultValue 120000, or `lingerMs` + 30000 if that is larger
   */
  readonly deliveryTimeoutMs?: number | undefined
  /** Codec of the batches, if the topic leaves the choice to producers. @defaultValue `'none'` */
  readonly compressionType?: CompressionType | undefined
  /**
   * Chooses partitions. Not to be shared between producers.
   * @defaultValue `defaultPartitioner({ stickyBytes: batchSize })`
   */
  readonly partitioner?: Partitioner | undefined
  /** Converts keys to bytes. @defaultValue accepts strings, stored in UTF-8, and bytes */
  readonly keySerializer?: Serializer<K> | undefined
  /** Converts values to bytes. @defaultValue accepts strings, stored in UTF-8, and bytes */
  readonly valueSerializer?: Serializer<V> | undefined
}

/** {@link ProducerOptions} with every key filled in. */
export type ResolvedProducerOptions = Resolved<ProducerOptions<unknown, unknown>>

/** How a producer, or a broker with its producers, is closed. */
export interface CloseOptions {
  /**
   * Milliseconds, at least 0, after which the remaining records are rejected.
   *
   * @defaultValue no time limit
   */
  readonly timeoutMs?: number | undefined
}

/** The checks for the options of a close. */
export const CLOSE_OPTIONS: Checks<CloseOptions> = { timeoutMs: wholeNumber(0) }

const PRODUCER_OPTIONS: Checks<ProducerOptions<unknown, unknown>> = {
  acks: oneOf(...ACKS),
  lingerMs: wholeNumber(0),
  batchSize: wholeNumber(0, MAX_INT32),
  batchRecords: (name, value) => {
    if (value !== Infinity) checkWholeNumber(name, value, 1, Number.MAX_SAFE_INTEGER)
  },
  bufferMemory: wholeNumber(1),
  maxBlockMs: wholeNumber(0),
  deliveryTimeoutMs: wholeNumber(1),
  compressionType: oneOf(...COMPRESSION_TYPES),
  ...LEVEL_CHECKS,
  partitioner: callback,
  keySerializer: objectWith('serialize'),
  valueSerializer: objectWith('serialize'),
}

const DEFAULT_BATCH_SIZE = 65_536
const DEFAULT_BUFFER_MEMORY = 32 * 1024 * 1024
const DEFAULT_MAX_BLOCK_MS = 60_000
const DEFAULT_DELIVERY_TIMEOUT_MS = 120_000
/** What the default leaves for the write after a long `lingerMs`. */
const DEFAULT_WRITE_TIME_MS = 30_000

/**
 * Checks `options` and fills in the defaults.
 *
 * @throws TypeError or RangeError naming the option, the value and what is allowed
 * @throws {@link UnsupportedCompressionTypeError} when the codec of `compressionType` is not
 * available
 */
export function resolveProducerOptions<K, V>(
  options: ProducerOptions<K, V>,
  random: Random,
): ResolvedProducerOptions {
  const checked = checkOptions<ProducerOptions<unknown, unknown>>(
    'producer options',
    options,
    PRODUCER_OPTIONS,
  )
  const { lingerMs = 0, batchSize = DEFAULT_BATCH_SIZE, compressionType = 'none' } = checked
  if (compressionType !== 'none') codecFor(compressionType)
  const serde = defaultSerde() as Serializer<unknown>
  return {
    acks: 'all',
    batchRecords: Infinity,
    bufferMemory: DEFAULT_BUFFER_MEMORY,
    maxBlockMs: DEFAULT_MAX_BLOCK_MS,
    partitioner: defaultPartitioner({ stickyBytes: Math.max(1, batchSize), random }),
    keySerializer: serde,
    valueSerializer: serde,
    ...DEFAULT_LEVELS,
    ...checked,
    lingerMs,
    batchSize,
    compressionType,
    deliveryTimeoutMs: resolveDeliveryTimeout(checked.deliveryTimeoutMs, lingerMs),
  }
}

/**
 * A batch must not expire when its linger time ends: it is sent only then. The default is raised
 * for a long `lingerMs`; a value set by the caller is not.
 */
function resolveDeliveryTimeout(deliveryTimeoutMs: number | undefined, lingerMs: number): number {
  if (deliveryTimeoutMs === undefined) {
    return Math.max(DEFAULT_DELIVERY_TIMEOUT_MS, lingerMs + DEFAULT_WRITE_TIME_MS)
  }
  if (deliveryTimeoutMs <= lingerMs) {
    throw new RangeError(
      `deliveryTimeoutMs must be more than lingerMs (${lingerMs}), got ${deliveryTimeoutMs}`,
    )
  }
  return deliveryTimeoutMs
}
