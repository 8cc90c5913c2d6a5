import { checkWholeNumber, describeValue } from '../checks.ts'
import { checkTopicConfig, type ResolvedTopicConfig, type TopicConfig } from '../config.ts'
import {
  InvalidPartitionsError,
  PolicyViolationError,
  UnknownTopicOrPartitionError,
} from '../errors.ts'
import type { CompactionReport } from '../storage/log-cleaner.ts'
import { totalFreed, type FreedSpace } from '../storage/log-retention.ts'
import { LEAST_COMMIT_BYTES } from './offsets-topic-config.ts'
import { turnBefore } from './partition-turns.ts'
import type { Partition } from './partition.ts'
import { internalTopic, INTERNAL_TOPICS } from './topic-name.ts'
import type { TopicSpace } from './topic-space.ts'

/** Upper limit on the partitions of one topic; a larger number is taken for a mistake. */
export const MAX_PARTITIONS = 100_000

/**
 * The operations that a topic leaves to its broker.
 *
 * @internal
 */
export interface TopicOwner {
  addPartitions(topic: Topic, total: number): Promise<void>
  alter(topic: Topic, config: TopicConfig): Promise<void>
  /** Throws if calls are refused: the broker is closed, or the topic is deleted. */
  ensureOpen(): void
}

/**
 * A named set of partitions with one configuration.
 *
 * Calls may overlap. They reject with {@link ClosedError} once the broker is closed, and with
 * {@link UnknownTopicOrPartitionError} once the topic is deleted.
 */
export class Topic {
  readonly name: string
  /**
   * A UUID in Kafka's form of 22 characters. It distinguishes the topic from an earlier one of the
   * same name.
   */
  readonly id: string
  readonly #owner: TopicOwner
  /** Limits the bytes of all partitions together. */
  readonly #space: TopicSpace
  #config: Readonly<ResolvedTopicConfig>
  /** Frozen: all callers receive this same list, and producers look partitions up in it. */
  #partitions: readonly Partition[]

  /** @internal */
  constructor(
    place: { name: string; id: string },
    config: Readonly<ResolvedTopicConfig>,
    partitions: readonly Partition[],
    owner: TopicOwner,
    space: TopicSpace,
  ) {
    this.name = place.name
    this.id = place.id
    this.#config = config
    this.#partitions = Object.freeze([...partitions])
    this.#owner = owner
    this.#space = space
    this.#shareSpace()
  }

  /** The configuration in force, with every key filled in. */
  get config(): Readonly<ResolvedTopicConfig> {
    return this.#config
  }

  /** All partitions, in the order of their numbers, from 0. */
  get partitions(): readonly Partition[] {
    return this.#partitions
  }

  /**
   * Returns one partition.
   *
   * @throws {@link UnknownTopicOrPartitionError} when the topic has no such partition; TypeError
   * for anything but a number.
   */
  partition(index: number): Partition {
    if (typeof index !== 'number') {
      throw new TypeError(`partition must be a number, got ${describeValue(index)}`)
    }
    const partition = this.#partitions[index]
    if (partition !== undefined) return partition
    const count = this.#partitions.length
    throw new UnknownTopicOrPartitionError(
      this.name,
      index,
      `topic '${this.name}' has no partition ${index}: it has ${count}, numbered from 0`,
    )
  }

  /**
   * Grows the topic to `total` partitions: adds all of them or none. Records stay in their
   * partitions, but from then on keys hash to other partitions.
   *
   * @throws {@link InvalidPartitionsError} when `total` is not above the present count, or the
   * directory would have more than 200,000 partitions; TypeError or RangeError if it is not a whole
   * number in [1, 100000].
   * @throws {@link InvalidTopicError} for an internal topic, whose records are located by the
   * count.
   * @throws {@link CorruptRecordError} when some committed offsets are damaged: they may belong to
   * partitions of these numbers that were left on another broker.
   * @throws {@link StorageError}, {@link LockLostError} or {@link ReadOnlyError} when the change
   * cannot be stored.
   */
  async addPartitions(total: number): Promise<void> {
    checkWholeNumber('total', total, 1, MAX_PARTITIONS)
    this.#owner.ensureOpen()
    if (INTERNAL_TOPICS.has(this.name)) {
      throw internalTopic(this.name)
    }
    ensureGrows(this.name, this.#partitions.length, total)
    await this.#owner.addPartitions(this, total)
  }

  /**
   * Changes parts of the configuration, durably. Existing segments keep their form; later appends
   * follow the new configuration. A key that is `undefined` keeps its value.
   *
   * Appends that are still waiting, for other appends or for room, are refused if they are larger
   * than the new `maxBytes`, or have a record without a key and the topic is now compacted.
   *
   * @throws TypeError or RangeError for an illegal key or value; nothing is changed then.
   * @throws {@link UnsupportedCompressionTypeError} when there is no codec for `compressionType`.
   * @throws {@link PolicyViolationError} for an internal topic, if the change would delete its
   * records, or delay or refuse commits or leave them not durable: another `cleanupPolicy`, a cap,
   * `retention: 'consumed'`, `flushMessages` above 1, `maxMessageBytes` or `segmentBytes` below
   * 65,536.
   * @throws {@link StorageError}, {@link LockLostError} or {@link ReadOnlyError} when the change
   * cannot be stored.
   */
  async alter(config: TopicConfig): Promise<void> {
    const checked = checkTopicConfig('topic options', config)
    this.#owner.ensureOpen()
    if (INTERNAL_TOPICS.has(this.name)) ensureKept(this.name, checked)
    await this.#owner.alter(this, checked)
  }

  /**
   * Compacts every partition, one after the other; see {@link Partition.compact}.
   *
   * @returns one report per partition, in the order of their numbers.
   * @throws as {@link Partition.compact}, for the first partition that fails; later ones are not
   * compacted then.
   */
  async compact(): Promise<CompactionReport[]> {
    this.#owner.ensureOpen()
    const reports: CompactionReport[] = []
    for (const partition of this.#partitions) reports.push(await partition.compact())
    return reports
  }

  /**
   * Deletes the segments that the limits no longer keep, in all partitions, as the broker does
   * automatically every `retentionCheckIntervalMs`. A partition that fails does not stop the
   * others.
   *
   * @returns the space that was freed.
   * @throws as {@link Partition.enforceRetention}: the first failure, after all partitions were
   * tried.
   */
  async enforceRetention(): Promise<FreedSpace> {
    this.#owner.ensureOpen()
    return enforceRetention([this])
  }

  /** Number and total size of the log files of all partitions, without indexes. */
  diskUsage(): FreedSpace {
    return totalFreed(this.#partitions.map((partition) => partition.diskUsage()))
  }

  /** @internal */
  setPartitions(partitions: readonly Partition[]): void {
    this.#partitions = Object.freeze([...partitions])
    this.#shareSpace()
  }

  /** @internal */
  setConfig(config: Readonly<ResolvedTopicConfig>): void {
    this.#config = config
    for (const partition of this.#partitions) partition.configure(config)
    this.#space.changed()
  }

  #shareSpace(): void {
    for (const partition of this.#partitions) partition.space = this.#space
    this.#space.share(this.#partitions)
  }
}

/** @throws {@link InvalidPartitionsError} unless `total` is above the present count. */
export function ensureGrows(name: string, count: number, total: number): void {
  if (total > count) return
  throw new InvalidPartitionsError(
    `topic '${name}' can only grow: total must be more than its ${count} partitions, got ${total}`,
  )
}

/**
 * Enforces the limits of topics, partition by partition.
 * @throws the first failure, after all were tried.
 */
export async function enforceRetention(topics: readonly Topic[]): Promise<FreedSpace> {
  const freed: FreedSpace[] = []
  const failures: unknown[] = []
  for (const [slot, partition] of topics.flatMap((topic) => topic.partitions).entries()) {
    const turn = turnBefore(slot)
    if (turn !== null) await turn
    try {
      freed.push(await partition.enforceRetention())
    } catch (error) {
      // A topic may be deleted while the others are being checked.
      if (!partition.isClosed || topics.length === 1) failures.push(error)
    }
  }
  if (failures.length > 0) throw failures[0]
  return totalFreed(freed)
}

/** @throws {@link PolicyViolationError} */
function ensureKept(name: string, config: TopicConfig): void {
  const { cleanupPolicy = 'compact', retention = 'limits' } = config
  const { maxBytes = -1, minFreeBytes = 0, flushMessages = 1 } = config
  const refuse = (key: string, wanted: string, given: string): void => {
    if (given === wanted) return
    throw new PolicyViolationError(`${key} of '${name}' must be ${wanted}, got ${given}`)
  }
  refuse('cleanupPolicy', "'compact'", `'${cleanupPolicy}'`)
  refuse('retention', "'limits'", `'${retention}'`)
  refuse('maxBytes', '-1', `${maxBytes}`)
  refuse('minFreeBytes', '0', `${minFreeBytes}`)
  refuse('flushMessages', '1', `${flushMessages}`)
  for (const key of ['maxMessageBytes', 'segmentBytes'] as const) {
    const { [key]: bytes = LEAST_COMMIT_BYTES } = config
    if (bytes < LEAST_COMMIT_BYTES) refuse(key, `at least ${LEAST_COMMIT_BYTES}`, `${bytes}`)
  }
}
