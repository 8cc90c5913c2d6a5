import { checkGroupId } from '../broker/group-coordinator.ts'
import type { PartitionAssignmentStrategy } from '../broker/assignors/assignor.ts'
import type { TopicPartition } from '../broker/topic-partition.ts'
import {
  boolean,
  callback,
  checkOptions,
  describeValue,
  objectWith,
  oneOf,
  wholeNumber,
  type Checks,
  type Resolved,
} from '../checks.ts'
import { InvalidGroupIdError, ReadOnlyError } from '../errors.ts'
import type { Deserializer } from './serde.ts'

/**
 * Where a consumer starts when there is no committed offset, or one that the log does not hold.
 */
export type AutoOffsetReset = 'earliest' | 'latest' | 'none'

/** A position that was moved because the log does not hold it. */
export interface OffsetReset extends TopicPartition {
  /** The next offset that would have been read. */
  readonly from: number
  /** The next offset that is read instead. */
  readonly to: number
  /**
   * - `deleted`: the records at `from` were deleted. The position moves as `autoOffsetReset` says.
   * - `truncated`: records below `from` were truncated, or lost in a crash, after they had been
   *   read or committed. Other records may be in their place. The position moves to the offset
   *   where the lost ones began, even with `'latest'`.
   * - `beyond-end`: a seek went beyond the end of the log. The position moves as `autoOffsetReset`
   *   says.
   */
  readonly reason: 'deleted' | 'truncated' | 'beyond-end'
}

/** How a consumer reads: Kafka's keys in camelCase, with Kafka's defaults unless noted. */
export interface ConsumerOptions<K = Buffer, V = Buffer> {
  /**
   * The group whose members share partitions and committed offsets. Without a group nothing is
   * committed.
   */
  readonly groupId?: string | undefined
  /**
   * Where to start if there is no committed offset, or one that the log does not hold (any more).
   * `'none'` makes that an error in every poll until the position is set by a seek. If a crash lost
   * records after they were consumed, the consumer continues where they began, with `'earliest'` as
   * well as `'latest'`: see {@link OffsetReset}.
   *
   * @defaultValue `'earliest'` (Kafka: latest), so that records sent before the first consumer
   * started are read
   */
  readonly autoOffsetReset?: AutoOffsetReset | undefined
  /**
   * Called inside `poll`, `position` or `lag` when the position of a partition had to be moved. It
   * is not called for a topic that was deleted and created again: that is a new topic, without a
   * position. If the callback throws, the call rejects with its error; if it is asynchronous, with
   * a TypeError. The move takes effect all the same.
   */
  readonly onOffsetReset?: ((reset: OffsetReset) => void) | undefined
  /**
   * Whether offsets are committed automatically: inside `poll`, during iteration, when partitions
   * are given up, and by `close`.
   *
   * @defaultValue true with a `groupId`, false without one or if the broker is open for reading
   * only
   */
  readonly enableAutoCommit?: boolean | undefined
  /** Time between two automatic commits, milliseconds, at least 0. @defaultValue 5000 */
  readonly autoCommitIntervalMs?: number | undefined
  /** Maximum number of records that one `poll` returns, at least 1. @defaultValue 500 */
  readonly maxPollRecords?: number | undefined
  /**
   * Stored bytes over all partitions that end the wait of a `poll`, at least 0. The wait also ends
   * when the read of one partition stops although more follows: at `maxPartitionFetchBytes`, or at
   * the end of a segment.
   *
   * @defaultValue 1
   */
  readonly fetchMinBytes?: number | undefined
  /** How long a `poll` without `maxWaitMs` waits, milliseconds, at least 0. @defaultValue 500 */
  readonly fetchMaxWaitMs?: number | undefined
  /**
   * Limit on the stored bytes held in memory over all partitions, at least 0. One batch of any size
   * is always accepted. If paused partitions hold more than half of it, their bytes are discarded
   * and read again later.
   *
   * @defaultValue 52428800
   */
  readonly fetchMaxBytes?: number | undefined
  /** Limit on the bytes read from one partition at a time, at least 0. @defaultValue 1048576 */
  readonly maxPartitionFetchBytes?: number | undefined
  /**
   * How the group divides its partitions; must be the same for all members.
   * @defaultValue `'range'`
   */
  readonly partitionAssignmentStrategy?: PartitionAssignmentStrategy | undefined
  /**
   * Longest time between two polls, or in the body of an iteration, milliseconds, at least 1. A
   * group member that takes longer loses its partitions to the others, which receive the records
   * handled since its last commit again. Unlike in Kafka, it keeps its partitions while the group
   * has no other member that could take them.
   *
   * @defaultValue 300000
   */
  readonly maxPollIntervalMs?: number | undefined
  /** Converts stored keys. @defaultValue keys are Buffers */
  readonly keyDeserializer?: Deserializer<K> | undefined
  /** Converts stored values. @defaultValue values are Buffers */
  readonly valueDeserializer?: Deserializer<V> | undefined
}

/** {@link ConsumerOptions} with every key filled in; those without a default are `null`. */
export interface ResolvedConsumerOptions<K, V> extends Resolved<
  Omit<ConsumerOptions, 'groupId' | 'onOffsetReset' | 'keyDeserializer' | 'valueDeserializer'>
> {
  readonly groupId: string | null
  readonly onOffsetReset: ((reset: OffsetReset) => void) | null
  readonly keyDeserializer: Deserializer<K> | null
  readonly valueDeserializer: Deserializer<V> | null
}

const CONSUMER_OPTIONS: Checks<ConsumerOptions<unknown, unknown>> = {
  groupId,
  autoOffsetReset: oneOf('earliest', 'latest', 'none'),
  onOffsetReset: callback,
  enableAutoCommit: boolean,
  autoCommitIntervalMs: wholeNumber(0),
  maxPollRecords: wholeNumber(1),
  fetchMinBytes: wholeNumber(0),
  fetchMaxWaitMs: wholeNumber(0),
  fetchMaxBytes: wholeNumber(0),
  maxPartitionFetchBytes: wholeNumber(0),
  partitionAssignmentStrategy: oneOf('range', 'roundrobin', 'sticky', 'cooperative-sticky'),
  maxPollIntervalMs: wholeNumber(1),
  keyDeserializer: objectWith('deserialize'),
  valueDeserializer: objectWith('deserialize'),
}

/**
 * Checks a consumer's options and fills in the defaults.
 *
 * @throws TypeError for an option that does not exist or a value of the wrong type
 * @throws RangeError for a number outside its range
 * @throws {@link InvalidGroupIdError} when `groupId` is not legal, or `enableAutoCommit` is set
 * without one
 * @throws {@link ReadOnlyError} for `enableAutoCommit` on a broker that is open for reading only
 */
export function resolveConsumerOptions<K, V>(
  options: ConsumerOptions<K, V>,
  { readOnly }: { readonly readOnly: boolean },
): ResolvedConsumerOptions<K, V> {
  const checked = checkOptions<ConsumerOptions<K, V>>('consumer options', options, CONSUMER_OPTIONS)
  const { groupId = null, enableAutoCommit = groupId !== null && !readOnly } = checked
  if (enableAutoCommit && groupId === null) {
    throw new InvalidGroupIdError('enableAutoCommit needs a groupId to commit for')
  }
  if (enableAutoCommit && readOnly) {
    throw new ReadOnlyError('enableAutoCommit needs a broker that is not open for reading only')
  }
  return {
    autoOffsetReset: 'earliest',
    onOffsetReset: null,
    autoCommitIntervalMs: 5000,
    maxPollRecords: 500,
    fetchMinBytes: 1,
    fetchMaxWaitMs: 500,
    fetchMaxBytes: 52_428_800,
    maxPartitionFetchBytes: 1_048_576,
    partitionAssignmentStrategy: 'range',
    maxPollIntervalMs: 300_000,
    keyDeserializer: null,
    valueDeserializer: null,
    ...checked,
    groupId,
    enableAutoCommit,
  }
}

function groupId(name: string, value: unknown): void {
  if (typeof value !== 'string') {
    throw new TypeError(`${name} must be a string, got ${describeValue(value)}`)
  }
  checkGroupId(value)
}
