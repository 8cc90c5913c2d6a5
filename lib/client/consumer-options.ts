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
} from '../checks.ts'
import { InvalidGroupIdError, ReadOnlyError } from '../errors.ts'
import type { Deserializer } from './serde.ts'

/** Where a consumer starts when it has no offset, or one that the log does not hold. */
export type AutoOffsetReset = 'earliest' | 'latest' | 'none'

/** A position that was moved because the log does not hold it. */
export interface OffsetReset extends TopicPartition {
  /** The next offset it would have read. */
  readonly from: number
  /** The next offset it reads. */
  readonly to: number
  /**
   * - `deleted`: the records at `from` were deleted; `autoOffsetReset` says where it goes on.
   * - `truncated`: records below `from` were cut off, or lost by a crash, after they had been read or
   *   committed, and others may be in their place. It goes on where they began, also with `'latest'`.
   * - `beyond-end`: somebody has sought beyond the end of the log; `autoOffsetReset` says where it
   *   goes on.
   */
  readonly reason: 'deleted' | 'truncated' | 'beyond-end'
}

/** How a consumer reads: Kafka's keys in camelCase, with Kafka's defaults but where a line says so. */
export interface ConsumerOptions<K = Buffer, V = Buffer> {
  /** The group that shares the partitions and the committed offsets. Without one nothing is committed. */
  readonly groupId?: string
  /**
   * Where to start without a committed offset, or with one that the log does not hold (any more);
   * `'none'` makes that an error, in every poll until somebody seeks. Where a crash has taken records back
   * after they were consumed it goes on where they began, be it `'earliest'` or `'latest'`: see
   * {@link OffsetReset}.
   *
   * @defaultValue `'earliest'` (Kafka: latest), so that what was sent before the first consumer came is read
   */
  readonly autoOffsetReset?: AutoOffsetReset
  /**
   * Called inside `poll`, `position` or `lag` when the position of a partition had to be moved; a topic
   * that was deleted and created again is another one, in which there was none. What
   * it throws the call rejects with, also a TypeError where it is asynchronous; the move stands.
   */
  readonly onOffsetReset?: (reset: OffsetReset) => void
  /**
   * Whether offsets are committed by themselves: inside `poll`, in the iteration, when partitions
   * are given up, and by `close`.
   *
   * @defaultValue whether there is a `groupId`; false where the broker is open for reading only
   */
  readonly enableAutoCommit?: boolean
  /** Time between two automatic commits, milliseconds, at least 0. @defaultValue 5000 */
  readonly autoCommitIntervalMs?: number
  /** Most records that one `poll` returns, at least 1. @defaultValue 500 */
  readonly maxPollRecords?: number
  /**
   * Stored bytes over all partitions that end the wait of a `poll`, at least 0. So does all that one read
   * of a partition gives where more lies behind it: `maxPartitionFetchBytes`, or the end of a segment.
   *
   * @defaultValue 1
   */
  readonly fetchMinBytes?: number
  /** How long a `poll` waits that names no time of its own, milliseconds, at least 0. @defaultValue 500 */
  readonly fetchMaxWaitMs?: number
  /**
   * Limit on the stored bytes that are held in memory over all partitions, at least 0. One batch is
   * taken however large. Where paused partitions hold half of it, theirs is read again later.
   *
   * @defaultValue 52428800
   */
  readonly fetchMaxBytes?: number
  /** Limit on what is read of one partition at a time, bytes, at least 0. @defaultValue 1048576 */
  readonly maxPartitionFetchBytes?: number
  /** How the group divides its partitions; the same for all members. @defaultValue `'range'` */
  readonly partitionAssignmentStrategy?: PartitionAssignmentStrategy
  /**
   * Longest time between two polls, or in the body of an iteration, milliseconds, at least 1. A
   * member of a group that takes longer loses its partitions to the others, and what it has handled
   * since its last commit comes again there. As long as there is no other, it keeps them, unlike in
   * Kafka.
   *
   * @defaultValue 300000
   */
  readonly maxPollIntervalMs?: number
  /** @defaultValue keys are Buffers */
  readonly keyDeserializer?: Deserializer<K>
  /** @defaultValue values are Buffers */
  readonly valueDeserializer?: Deserializer<V>
}

/** {@link ConsumerOptions} with every key filled in. A missing deserializer stays missing. */
export interface ResolvedConsumerOptions<K, V> {
  readonly groupId: string | null
  readonly autoOffsetReset: AutoOffsetReset
  readonly onOffsetReset: ((reset: OffsetReset) => void) | null
  readonly enableAutoCommit: boolean
  readonly autoCommitIntervalMs: number
  readonly maxPollRecords: number
  readonly fetchMinBytes: number
  readonly fetchMaxWaitMs: number
  readonly fetchMaxBytes: number
  readonly maxPartitionFetchBytes: number
  readonly partitionAssignmentStrategy: PartitionAssignmentStrategy
  readonly maxPollIntervalMs: number
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
 * @throws {@link InvalidGroupIdError} when `groupId` is empty, or `enableAutoCommit` goes without one
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
