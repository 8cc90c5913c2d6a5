import { checkWholeNumber, describeValue } from '../checks.ts'
import { checkTopicConfig, type ResolvedTopicConfig, type TopicConfig } from '../config.ts'
import { InvalidPartitionsError, UnknownTopicOrPartitionError } from '../errors.ts'
import type { CompactionReport } from '../storage/log-cleaner.ts'
import type { Partition } from './partition.ts'

/** More partitions than this in one topic are taken for a mistake. */
export const MAX_PARTITIONS = 100_000

/**
 * What a topic asks its broker to do.
 *
 * @internal
 */
export interface TopicOwner {
  addPartitions(topic: Topic, total: number): Promise<void>
  alter(topic: Topic, config: TopicConfig): Promise<void>
  /** Why calls are refused, if they are: the broker is closed, or the topic is deleted. */
  ensureOpen(): void
}

/** A named set of partitions with one configuration. All calls may overlap. */
export class Topic {
  readonly name: string
  /** Tells a topic from an earlier one of the same name: a UUID, in 22 characters as Kafka writes it. */
  readonly id: string
  readonly #owner: TopicOwner
  #config: Readonly<ResolvedTopicConfig>
  #partitions: readonly Partition[]

  /** @internal */
  constructor(
    place: { name: string; id: string },
    config: Readonly<ResolvedTopicConfig>,
    partitions: readonly Partition[],
    owner: TopicOwner,
  ) {
    this.name = place.name
    this.id = place.id
    this.#config = config
    this.#partitions = partitions
    this.#owner = owner
  }

  /** The configuration in force, with every key filled in. */
  get config(): Readonly<ResolvedTopicConfig> {
    return this.#config
  }

  /** In order of their numbers, from 0. */
  get partitions(): readonly Partition[] {
    return this.#partitions
  }

  /**
   * One partition.
   *
   * @throws {@link UnknownTopicOrPartitionError} when the topic has no such partition.
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
   * Grows the topic to `total` partitions, all of them or none. Records stay where they are, so
   * keys hash to other partitions from now on.
   *
   * @throws {@link InvalidPartitionsError} when `total` is not above the present count.
   */
  async addPartitions(total: number): Promise<void> {
    checkWholeNumber('total', total, 1, MAX_PARTITIONS)
    this.#owner.ensureOpen()
    ensureGrows(this.name, this.#partitions.length, total)
    await this.#owner.addPartitions(this, total)
  }

  /**
   * Changes parts of the configuration, durably. Segments that exist keep their form; what is
   * appended from now on follows the new one. A key that is `undefined` stays as it is.
   *
   * @throws TypeError or RangeError for a key or value that is not legal; nothing is changed then.
   * @throws {@link UnsupportedCompressionTypeError} when there is no codec for `compressionType`.
   */
  async alter(config: TopicConfig): Promise<void> {
    const checked = checkTopicConfig('topic options', config)
    this.#owner.ensureOpen()
    await this.#owner.alter(this, checked)
  }

  /**
   * Compacts every partition, see {@link Partition.compact}.
   *
   * @returns what was done, in the order of the partitions.
   */
  async compact(): Promise<CompactionReport[]> {
    this.#owner.ensureOpen()
    const reports: CompactionReport[] = []
    for (const partition of this.#partitions) reports.push(await partition.compact())
    return reports
  }

  /** @internal */
  setPartitions(partitions: readonly Partition[]): void {
    this.#partitions = partitions
  }

  /** @internal */
  setConfig(config: Readonly<ResolvedTopicConfig>): void {
    this.#config = config
    for (const { log } of this.#partitions) log.config = config
  }
}

/** @throws {@link InvalidPartitionsError} unless `total` is above the present count. */
export function ensureGrows(name: string, count: number, total: number): void {
  if (total > count) return
  throw new InvalidPartitionsError(
    `topic '${name}' has ${count} partitions and can only grow, not go to ${total}`,
  )
}
