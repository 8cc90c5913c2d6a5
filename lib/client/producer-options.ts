import type { Acks } from '../broker/append-chain.ts'
import { checkOneOf, checkOptions, checkWholeNumber, describeValue } from '../config.ts'
import type { Random } from '../platform/random.ts'
import { MAX_INT32 } from '../record/batch-layout.ts'
import { codecFor, COMPRESSION_TYPES, type CompressionType } from '../record/compression.ts'
import { defaultPartitioner, type Partitioner } from './partitioner.ts'
import { defaultSerde, type Serializer } from './serde.ts'

/** How a producer gathers, writes and acknowledges records: Kafka's keys in camelCase. */
export interface ProducerOptions<K = string | Uint8Array, V = string | Uint8Array> {
  /**
   * When a send counts as done: `0` when the record is in the producer's memory, after which
   * nobody learns of a failure; `1` when it is written; `'all'` when consumers may see it.
   *
   * @defaultValue `'all'`
   */
  readonly acks?: Acks
  /**
   * How long a batch waits for more records, milliseconds from its first one. With 0 a batch goes
   * out at the end of the tick, or gathers while the one before it is being written.
   *
   * @defaultValue 0 (Kafka: 5)
   */
  readonly lingerMs?: number
  /**
   * Bytes at which a batch is full, [0, 2147483647]; 0 gives every record a batch of its own. A
   * topic's `maxMessageBytes` and `segmentBytes` limit a batch as well.
   *
   * @defaultValue 65536 (Kafka: 16384)
   */
  readonly batchSize?: number
  /** Records at which a batch is full, at least 1, or `Infinity`. @defaultValue `Infinity` */
  readonly batchRecords?: number
  /**
   * Bytes of encoded records that may be waiting to be written and acknowledged, at least 1. A send
   * that finds no room waits for it.
   *
   * @defaultValue 33554432
   */
  readonly bufferMemory?: number
  /**
   * How long a send waits for room in `bufferMemory`, or for its topic to be created, milliseconds.
   *
   * @defaultValue 60000
   */
  readonly maxBlockMs?: number
  /**
   * How long after the first record of a batch its outcome must be known, milliseconds, at least 1
   * and at least `lingerMs`.
   *
   * @defaultValue 120000
   */
  readonly deliveryTimeoutMs?: number
  /** Codec of the batches, where the topic leaves that to producers. @defaultValue `'none'` */
  readonly compressionType?: CompressionType
  /** Not to be shared with another producer. @defaultValue `defaultPartitioner()` */
  readonly partitioner?: Partitioner
  /** @defaultValue takes strings, stored in UTF-8, and bytes */
  readonly keySerializer?: Serializer<K>
  /** @defaultValue takes strings, stored in UTF-8, and bytes */
  readonly valueSerializer?: Serializer<V>
}

/** {@link ProducerOptions} with every key filled in. */
export type ResolvedProducerOptions = Required<ProducerOptions<unknown, unknown>>

const KNOWN = [
  'acks',
  'lingerMs',
  'batchSize',
  'batchRecords',
  'bufferMemory',
  'maxBlockMs',
  'deliveryTimeoutMs',
  'compressionType',
  'partitioner',
  'keySerializer',
  'valueSerializer',
] as const satisfies readonly (keyof ProducerOptions)[]

const DEFAULT_BATCH_SIZE = 65_536
const DEFAULT_BUFFER_MEMORY = 32 * 1024 * 1024
const DEFAULT_MAX_BLOCK_MS = 60_000
const DEFAULT_DELIVERY_TIMEOUT_MS = 120_000
const MAX_MS = Number.MAX_SAFE_INTEGER

/**
 * Checks `options` and fills in what they leave out.
 *
 * @throws TypeError or RangeError naming the option, the value and what is allowed
 * @throws {@link UnsupportedCompressionTypeError} when there is no codec for `compressionType`
 */
export function resolveProducerOptions<K, V>(
  options: ProducerOptions<K, V>,
  random: Random,
): ResolvedProducerOptions {
  checkOptions('producer options', options, KNOWN)
  const lingerMs = checkWholeNumber('lingerMs', options.lingerMs ?? 0, 0, MAX_MS)
  const batchSize = options.batchSize ?? DEFAULT_BATCH_SIZE
  checkWholeNumber('batchSize', batchSize, 0, MAX_INT32)
  const bufferMemory = options.bufferMemory ?? DEFAULT_BUFFER_MEMORY
  checkWholeNumber('bufferMemory', bufferMemory, 1, Number.MAX_SAFE_INTEGER)
  const maxBlockMs = options.maxBlockMs ?? DEFAULT_MAX_BLOCK_MS
  checkWholeNumber('maxBlockMs', maxBlockMs, 0, MAX_MS)
  const compressionType = options.compressionType ?? 'none'
  checkOneOf('compressionType', compressionType, COMPRESSION_TYPES)
  codecFor(compressionType)
  const serde = defaultSerde()
  return {
    acks: checkOneOf<Acks>('acks', options.acks ?? 'all', [0, 1, 'all']),
    lingerMs,
    batchSize,
    batchRecords: checkBatchRecords(options.batchRecords ?? Infinity),
    bufferMemory,
    maxBlockMs,
    deliveryTimeoutMs: checkDeliveryTimeout(options.deliveryTimeoutMs, lingerMs),
    compressionType,
    partitioner:
      options.partitioner === undefined
        ? defaultPartitioner({ stickyBytes: Math.max(1, batchSize), random })
        : checkPartitioner(options.partitioner),
    keySerializer: checkSerializer('keySerializer', options.keySerializer ?? serde),
    valueSerializer: checkSerializer('valueSerializer', options.valueSerializer ?? serde),
  }
}

function checkBatchRecords(batchRecords: number): number {
  if (batchRecords === Infinity) return batchRecords
  return checkWholeNumber('batchRecords', batchRecords, 1, Number.MAX_SAFE_INTEGER)
}

/** The default gives way to a long linger; a value that the caller has chosen does not. */
function checkDeliveryTimeout(given: number | undefined, lingerMs: number): number {
  if (given === undefined) return Math.max(DEFAULT_DELIVERY_TIMEOUT_MS, lingerMs)
  const deliveryTimeoutMs = checkWholeNumber('deliveryTimeoutMs', given, 1, MAX_MS)
  if (deliveryTimeoutMs < lingerMs) {
    throw new RangeError(
      `deliveryTimeoutMs must be at least lingerMs, ${lingerMs}, got ${deliveryTimeoutMs}`,
    )
  }
  return deliveryTimeoutMs
}

function checkPartitioner(partitioner: unknown): Partitioner {
  if (typeof partitioner !== 'function') {
    throw new TypeError(`partitioner must be a function, got ${describeValue(partitioner)}`)
  }
  return partitioner as Partitioner
}

/** What the application hands in is typed by the producer; here it may be anything. */
function checkSerializer(key: string, serializer: unknown): Serializer<unknown> {
  const isObject = typeof serializer === 'object' && serializer !== null
  if (!isObject || !('serialize' in serializer) || typeof serializer.serialize !== 'function') {
    throw new TypeError(
      `${key} must be an object with a method serialize(topic, data), got ${describeValue(serializer)}`,
    )
  }
  return serializer as Serializer<unknown>
}
