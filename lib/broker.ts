import { hostname } from 'node:os'
import {
  describeTopics,
  type BrokerDescription,
  type RecoveryReport,
} from './broker/broker-description.ts'
import {
  CREATE_TOPIC_OPTIONS,
  resolveBrokerOptions,
  type BrokerOptions,
  type CreateTopicOptions,
  type ResolvedBrokerOptions,
} from './broker/broker-options.ts'
import { loadParts, type BrokerParts } from './broker/broker-parts.ts'
import { BrokerUpkeep } from './broker/broker-upkeep.ts'
import { ChangeListeners } from './broker/change-listeners.ts'
import { tellFailures } from './broker/close-failures.ts'
import { DataDirectory } from './broker/data-directory.ts'
import type { LogManager } from './broker/log-manager.ts'
import { enforceRetention, type Topic } from './broker/topic.ts'
import {
  internalTopic,
  INTERNAL_TOPICS,
  unknownTopic,
  validateTopicName,
} from './broker/topic-name.ts'
import { Consumer } from './client/consumer.ts'
import type { ConsumerOptions } from './client/consumer-options.ts'
import { OpenClients } from './client/open-clients.ts'
import { Producer, type ProducerOptions } from './client/producer.ts'
import { CLOSE_OPTIONS, type CloseOptions } from './client/producer-options.ts'
import { checkOptions, checkPath, reasonOf } from './checks.ts'
import { ensureCodec } from './config.ts'
import { ClosedError, ReadOnlyError, StorageError, TopicExistsError, VarveError } from './errors.ts'
import { NodeFileSystem } from './platform/node-file-system.ts'
import type { FreedSpace } from './storage/log-retention.ts'

export type { BrokerOptions, CreateTopicOptions } from './broker/broker-options.ts'

/**
 * One data directory and the one process that writes to it: topics, producers, consumer groups.
 *
 * All calls may overlap. Close it when you are done; a process that ends without that loses
 * nothing that was acknowledged, and the next open looks after what it left. Once it is closed, calls throw or
 * reject with {@link ClosedError}. What changes something rejects with {@link ReadOnlyError} where it is open for reading
 * only, with {@link LockLostError} once the directory was taken away, with {@link StorageError} when the disk fails.
 */
export class Broker {
  readonly dir: string
  /** What opening the directory found and did. */
  readonly recovery: RecoveryReport
  readonly #data: DataDirectory
  readonly #options: ResolvedBrokerOptions
  readonly #logs: LogManager
  readonly #coordinator: BrokerParts['coordinator']
  readonly #cleaner: BrokerParts['cleaner']
  readonly #upkeep: BrokerUpkeep
  readonly #clients = new OpenClients()
  readonly #closeListeners = new ChangeListeners()
  #closing: Promise<void> | null = null

  private constructor(data: DataDirectory, options: ResolvedBrokerOptions, parts: BrokerParts) {
    this.dir = data.path
    this.#data = data
    this.#options = options
    this.#logs = parts.logs
    this.#coordinator = parts.coordinator
    this.recovery = parts.recovery
    this.#cleaner = parts.cleaner
    if (!options.readOnly) parts.cleaner.start()
    this.#upkeep = new BrokerUpkeep({ ...options, logs: parts.logs, offsets: parts.offsets })
  }

  /**
   * Opens a data directory, which is created when it does not exist, but with `readOnly`: a {@link StorageError} then.
   *
   * @throws {@link LockedError} when another owner holds it.
   * @throws TypeError or RangeError for a path or options that are not legal.
   * @throws {@link UnsupportedCompressionTypeError} when `defaults` name a codec that is not there.
   * @throws {@link CorruptRecordError} when the list of topics is damaged, or it cannot be told how many partitions
   * the committed offsets have of which brokers have left some; one that is damaged, missing or cannot be read
   * does not keep the others from opening, see {@link Broker.recovery}.
   * @throws {@link StorageError} when the disk fails otherwise, or every user may write to the directory.
   */
  static async open(dir: string, options: BrokerOptions = {}): Promise<Broker> {
    checkPath('dir', dir)
    const resolved = resolveBrokerOptions(options)
    const fileSystem = resolved.fileSystem ?? new NodeFileSystem(resolved)
    let data: DataDirectory | null = null
    try {
      data = await DataDirectory.open(dir, { ...resolved, fileSystem })
      const parts = await loadParts(data, resolved)
      return new Broker(data, resolved, parts)
    } catch (error) {
      // The caller hears of what came first.
      await data?.close(false).catch(() => undefined)
      if (error instanceof VarveError) throw error
      const message = `${dir} cannot be opened: ${reasonOf(error)}`
      throw new StorageError(message, { path: dir, outcome: 'not-written' }, { cause: error })
    }
  }

  /**
   * Creates a topic: with all its partitions, or not at all.
   *
   * @throws {@link InvalidTopicError} when the name is not legal, internal, or too much like another.
   * @throws {@link TopicExistsError} unless `ifNotExists`.
   * @throws {@link InvalidPartitionsError} when the directory would have more than 200,000 partitions.
   * @throws TypeError or RangeError for options that are not legal.
   * @throws {@link UnsupportedCompressionTypeError} when there is no codec for `compressionType`.
   * @throws {@link CorruptRecordError} when some committed offsets are damaged: they may hold some of
   * an earlier topic of that name.
   */
  async createTopic(name: string, options: CreateTopicOptions = {}): Promise<Topic> {
    validateTopicName(name)
    const checked = checkOptions('topic options', options, CREATE_TOPIC_OPTIONS)
    const { partitions = 1, ifNotExists = false, ...config } = checked
    ensureCodec(config.compressionType)
    if (INTERNAL_TOPICS.has(name)) {
      throw internalTopic(name)
    }
    this.#ensureOpen()
    try {
      return this.#logs.get(name) !== undefined && ifNotExists
        ? this.topic(name)
        : await this.#logs.create(name, partitions, config)
    } catch (error) {
      // Two callers may both find that it does not exist.
      if (ifNotExists && error instanceof TopicExistsError && this.#logs.get(name) !== undefined) {
        return this.topic(name)
      }
      throw error
    }
  }

  /** A topic by its name. @throws {@link UnknownTopicOrPartitionError}, or {@link InvalidTopicError} for what is no name */
  topic(name: string): Topic {
    this.#ensureOpen()
    const topic = this.#logs.get(validateTopicName(name))
    if (topic === undefined) throw unknownTopic(name)
    return topic
  }

  /** All topics but the internal ones, in the order of their names. */
  topics(): Topic[] {
    this.#ensureOpen()
    return this.#logs.topics.filter((topic) => !INTERNAL_TOPICS.has(topic.name))
  }

  /**
   * Deletes a topic with its records and the offsets that groups have committed for it. A topic
   * that is created under the name later is another one. Where it fails as `'unknown'` the topic is gone
   * too; its name is free once another call, or the next open, has been able to remove its files.
   *
   * @throws {@link UnknownTopicOrPartitionError}, {@link InvalidTopicError} for an internal topic, or for what is no name.
   * @throws {@link CorruptRecordError} when some committed offsets are damaged.
   */
  async deleteTopic(name: string): Promise<void> {
    this.#ensureOpen()
    if (INTERNAL_TOPICS.has(validateTopicName(name))) {
      throw internalTopic(name)
    }
    // Before anything is done: what groups have committed for the topic has to go with it.
    if (!this.#options.readOnly) this.#coordinator.ensureAllOffsetsKnown()
    await this.#logs.delete(name)
  }

  /**
   * Deletes a group with the offsets it has committed. Who consumes under its id later begins anew, and
   * `retention: 'consumed'` waits for it no longer. Who begins while it is being deleted may go on from
   * what it has committed, so that nothing is passed over where that fails.
   *
   * @throws {@link GroupNotEmptyError} while it has members, {@link GroupIdNotFoundError} when there
   * is no such group.
   * @throws {@link InvalidGroupIdError} when `groupId` is no id, {@link ReadOnlyError} when the broker
   * is open for reading only.
   * @throws {@link CorruptRecordError} when the committed offsets of the group are damaged, or not here.
   */
  async deleteGroup(groupId: string): Promise<void> {
    this.#ensureOpen()
    if (this.#options.readOnly) throw new ReadOnlyError('the broker is open for reading only')
    await this.#coordinator.deleteGroup(groupId)
  }

  /**
   * A producer, closed with the broker at the latest.
   *
   * @throws TypeError or RangeError for options that are not legal; {@link ReadOnlyError};
   * {@link UnsupportedCompressionTypeError} when there is no codec for `compressionType`.
   */
  producer<K = string | Uint8Array, V = string | Uint8Array>(
    options: ProducerOptions<K, V> = {},
  ): Producer<K, V> {
    this.#ensureOpen()
    const { clock, random, readOnly } = this.#options
    if (readOnly) throw new ReadOnlyError('the broker is open for reading only')
    const producer = new Producer<K, V>(
      {
        clock,
        random,
        topic: (name) => this.#topicForProducer(name),
        onClosed: this.#clients.remove.bind(this.#clients),
      },
      options,
    )
    this.#clients.add(producer, (limit) => producer.close(limit))
    return producer
  }

  /**
   * A consumer, closed with the broker at the latest.
   *
   * @throws TypeError or RangeError for options that are not legal; {@link InvalidGroupIdError} when `groupId` is no
   * id, or `enableAutoCommit` lacks one; {@link ReadOnlyError} for `enableAutoCommit` where nothing may be written.
   */
  consumer<K = Buffer, V = Buffer>(options: ConsumerOptions<K, V> = {}): Consumer<K, V> {
    this.#ensureOpen()
    const { clock, random, readOnly } = this.#options
    const consumer = new Consumer<K, V>(
      {
        clock,
        random,
        readOnly,
        lockLoss: this.#data.lockLoss,
        coordinator: this.#coordinator,
        topic: (name) => this.#logs.get(name),
        topicNames: () => this.#logs.topicNames,
        onClosed: this.#clients.remove.bind(this.#clients),
      },
      options,
    )
    this.#clients.add(consumer, () => consumer.close())
    return consumer
  }

  /**
   * Deletes what the limits of all topics no longer keep: what the broker does by itself every
   * `retentionCheckIntervalMs`. One partition that fails does not keep the others.
   *
   * @returns what that has freed.
   * @throws as {@link Partition.enforceRetention}, the first failure, after all were tried.
   */
  async enforceRetention(): Promise<FreedSpace> {
    this.#ensureOpen()
    if (this.#options.readOnly) throw new ReadOnlyError('the broker is open for reading only')
    return enforceRetention(this.#logs.topics)
  }

  /** Which topics there are, who leads them, how far they and the groups are. */
  describe(): BrokerDescription {
    this.#ensureOpen()
    const process_ = { host: hostname(), pid: process.pid, holdsLock: this.#data.isOwned }
    return {
      dir: this.dir,
      clusterId: this.#data.clusterId,
      readOnly: this.#options.readOnly,
      topics: describeTopics(this.#logs.topics, process_),
      groups: this.#coordinator.describe(),
      compaction: { ...this.#cleaner.figures },
    }
  }

  /**
   * Ends in order: producers drain, consumers commit and leave, waiting fetches reject with
   * {@link ClosedError}, everything is synced, and the lock is given up. May be called again, also to
   * set a time limit. A listener that runs in a poll is not waited for, as it may be what closes the
   * broker: end the loop that polls first.
   *
   * @param options.timeoutMs how long producers may drain; what is left is rejected. Absent: no limit.
   * @throws TypeError or RangeError when `timeoutMs` is not a whole number of at least 0.
   * @throws what a client fails with as it closes, as a listener that throws; AggregateError of several
   * @throws {@link StorageError} when something could not be made durable, now or by a sync that has failed
   * before and has cost records that were acknowledged; with an AggregateError as its cause where there is
   * more. The directory is given up all the same, and the next open looks after it.
   */
  async close(options: CloseOptions = {}): Promise<void> {
    const checked = checkOptions('close options', options, CLOSE_OPTIONS)
    if (this.#closing === null) {
      let begin: (closed: Promise<void>) => void = () => undefined
      // Known before it begins: a callback that hears of its end may close the broker again.
      this.#closing = new Promise((resolve) => {
        begin = resolve
      })
      begin(this.#close(checked))
      this.#closeListeners.notify()
    } else {
      // They are being closed, and what they fail with is told once.
      void this.#clients.close(checked)
    }
    await this.#closing
  }

  /**
   * Calls `listener` when the broker begins to close, which does not wait for what it does.
   *
   * @returns a function that ends it.
   * @throws {@link ClosedError}
   * @internal
   */
  onClose(listener: () => void): () => void {
    this.#ensureOpen()
    return this.#closeListeners.add(listener)
  }

  /** {@link Broker.close}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(options: CloseOptions): Promise<void> {
    this.#upkeep.stop()
    this.#cleaner.stop()
    const ofDisk: unknown[] = []
    const attempt = async <T>(step: () => Promise<T>): Promise<T | null> => {
      try {
        return await step()
      } catch (error) {
        ofDisk.push(error)
        return null
      }
    }
    const ofClients = await this.#clients.close(options)
    this.#coordinator.close()
    const isSound = await attempt(() => this.#logs.close(new ClosedError('the broker is closed')))
    // Whoever takes the directory next must find it at rest.
    await this.#cleaner.stopped()
    await attempt(() => this.#data.close(isSound === true && ofDisk.length === 0))
    tellFailures(this.dir, { ofDisk, ofClients })
  }

  /** At once where the topic is there: sends of one tick must not have to wait for each other. */
  #topicForProducer(name: string): Topic | Promise<Topic> {
    // A record that is no commit would make those of all groups unreadable. Kafka refuses it too.
    if (INTERNAL_TOPICS.has(name)) {
      return Promise.reject(internalTopic(name))
    }
    const topic = this.#logs.get(name)
    if (topic !== undefined) return topic
    return this.#options.autoCreateTopics
      ? this.createTopic(name, { ifNotExists: true })
      : Promise.reject(unknownTopic(name))
  }

  #ensureOpen(): void {
    if (this.#closing !== null) throw new ClosedError('the broker is closed')
  }
}
