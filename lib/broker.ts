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
import { whyNotOpened } from './broker/why-not-opened.ts'
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
import { checkOptions, checkPath } from './checks.ts'
import { ensureCodec } from './config.ts'
import { ClosedError, ReadOnlyError, StorageError, TopicExistsError, VarveError } from './errors.ts'
import { NodeFileSystem } from './platform/node-file-system.ts'
import type { FreedSpace } from './storage/log-retention.ts'

export type { BrokerOptions, CreateTopicOptions } from './broker/broker-options.ts'

/**
 * An open data directory: its topics, producers, consumers and consumer groups. One process at a time writes to it.
 *
 * All calls may overlap. Call {@link Broker.close} when done. A process that ends without it loses no acknowledged
 * record: the next open recovers the directory. After `close`, calls throw or reject with {@link ClosedError}.
 * Calls that change something reject with {@link ReadOnlyError} if the broker is open for reading only, with
 * {@link LockLostError} if the lock on the directory was lost, and with {@link StorageError} if the disk fails.
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
    this.#upkeep = new BrokerUpkeep(options, parts)
  }

  /**
   * Opens a data directory and creates it if missing; with `readOnly` a missing one is a {@link StorageError}.
   *
   * @throws {@link LockedError} when another owner holds the directory.
   * @throws TypeError or RangeError when the path or an option is not legal.
   * @throws {@link UnsupportedCompressionTypeError} when `defaults` names a codec that is not available.
   * @throws {@link CorruptRecordError} when the list of topics is damaged, or when Kafka brokers left only
   * some partitions of the committed offsets and their total number cannot be determined. A partition that
   * is damaged, missing or unreadable does not prevent the others from opening: see {@link Broker.recovery}.
   * @throws {@link StorageError} when the disk fails in another way, or every user may write to the directory.
   */
  static async open(dir: string, options: BrokerOptions = {}): Promise<Broker> {
    checkPath('dir', dir)
    const resolved = resolveBrokerOptions(options)
    const fileSystem = resolved.fileSystem ?? new NodeFileSystem(resolved)
    const startMs = resolved.clock.monotonic()
    let data: DataDirectory | null = null
    try {
      data = await DataDirectory.open(dir, { ...resolved, fileSystem })
      const parts = await loadParts(data, resolved, startMs)
      return new Broker(data, resolved, parts)
    } catch (error) {
      // The caller receives the first error.
      await data?.close(false).catch(() => undefined)
      if (error instanceof VarveError) throw error
      const message = `${dir} cannot be opened: ${whyNotOpened(dir, error)}`
      throw new StorageError(message, { path: dir, outcome: 'not-written' }, { cause: error })
    }
  }

  /**
   * Creates a topic with all its partitions. If the call fails, there is none; after outcome `'unknown'`, the next open
   * may find it.
   *
   * @throws {@link InvalidTopicError} when the name is not legal, internal, or too similar to another one.
   * @throws {@link TopicExistsError} when the topic exists, unless `ifNotExists` is set.
   * @throws {@link InvalidPartitionsError} when the directory would have more than 200,000 partitions.
   * @throws TypeError or RangeError when an option is not legal.
   * @throws {@link UnsupportedCompressionTypeError} when the codec of `compressionType` is not available.
   * @throws {@link CorruptRecordError} when some committed offsets are damaged: they may belong to
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
      // Two concurrent callers may both find that the topic does not exist.
      if (ifNotExists && error instanceof TopicExistsError && this.#logs.get(name) !== undefined) {
        return this.topic(name)
      }
      throw error
    }
  }

  /** Returns a topic. @throws {@link UnknownTopicOrPartitionError}; {@link InvalidTopicError} for an illegal name */
  topic(name: string): Topic {
    this.#ensureOpen()
    const topic = this.#logs.get(validateTopicName(name))
    if (topic === undefined) throw unknownTopic(name)
    return topic
  }

  /** Returns all topics except the internal ones, sorted by name. */
  topics(): Topic[] {
    this.#ensureOpen()
    return this.#logs.topics.filter((topic) => !INTERNAL_TOPICS.has(topic.name))
  }

  /**
   * Deletes a topic, its records and the offsets committed for it. A topic created later under the
   * name is a new one. If the call fails with outcome `'unknown'`, the topic is deleted as well,
   * but its name is free only once another call, or the next open, has removed its files.
   *
   * @throws {@link UnknownTopicOrPartitionError}; {@link InvalidTopicError} for an internal topic or an illegal name.
   * @throws {@link CorruptRecordError} when some committed offsets are damaged.
   */
  async deleteTopic(name: string): Promise<void> {
    this.#ensureOpen()
    if (INTERNAL_TOPICS.has(validateTopicName(name))) {
      throw internalTopic(name)
    }
    // Checked first, because the offsets that groups have committed for the topic are deleted with it.
    if (!this.#options.readOnly) this.#coordinator.ensureAllOffsetsKnown()
    await this.#logs.delete(name)
  }

  /**
   * Deletes a group and its committed offsets. A consumer that uses the id later starts as a new group, and
   * `retention: 'consumed'` no longer waits for the deleted one. A consumer that starts during the deletion
   * may still resume from the committed offsets, so that it skips no records if the deletion fails.
   *
   * @throws {@link GroupNotEmptyError} while it has members; {@link GroupIdNotFoundError} when it does not exist.
   * @throws {@link InvalidGroupIdError} when `groupId` is not a legal id; {@link ReadOnlyError} on a read-only broker.
   * @throws {@link CorruptRecordError} when the committed offsets of the group are damaged, or not in this directory.
   */
  async deleteGroup(groupId: string): Promise<void> {
    this.#ensureOpen()
    if (this.#options.readOnly) throw new ReadOnlyError('the broker is open for reading only')
    await this.#coordinator.deleteGroup(groupId)
  }

  /**
   * Creates a producer. Closing the broker closes it too.
   *
   * @throws TypeError or RangeError when an option is not legal; {@link ReadOnlyError} on a read-only
   * broker; {@link UnsupportedCompressionTypeError} when the codec of `compressionType` is not available.
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
   * Creates a consumer. Closing the broker closes it too.
   *
   * @throws TypeError or RangeError when an option is not legal; {@link InvalidGroupIdError} when `groupId` is not
   * legal, or missing for `enableAutoCommit`; {@link ReadOnlyError} for `enableAutoCommit` on a read-only broker.
   */
  consumer<K = Buffer, V = Buffer>(options: ConsumerOptions<K, V> = {}): Consumer<K, V> {
    this.#ensureOpen()
    const { clock, readOnly } = this.#options
    const consumer = new Consumer<K, V>(
      {
        clock,
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
   * Deletes the records that the retention limits of all topics no longer keep. The broker does the same
   * automatically every `retentionCheckIntervalMs`. A failure in one partition does not stop the others.
   *
   * @returns the space that was freed.
   * @throws the first failure, as {@link Partition.enforceRetention} does, after all partitions were tried.
   */
  async enforceRetention(): Promise<FreedSpace> {
    this.#ensureOpen()
    if (this.#options.readOnly) throw new ReadOnlyError('the broker is open for reading only')
    return enforceRetention(this.#logs.topics)
  }

  /** Describes the topics, their leaders and offsets, and the state of the consumer groups. */
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
   * Closes the broker cleanly: producers drain, consumers commit and leave their groups, waiting fetches reject with
   * {@link ClosedError}, all data is synced, and the lock is released. It may be called again, for instance to set a
   * time limit. It does not wait for a listener that runs in a poll, as that may be the caller: end the loop first.
   *
   * @param options.timeoutMs how long producers may drain; the remaining records are rejected. Absent: no limit.
   * @throws TypeError or RangeError when `timeoutMs` is not a whole number of at least 0.
   * @throws the failure of a client's close, such as a listener's error; an AggregateError if several fail
   * @throws {@link StorageError} when something could not be made durable, now or in an earlier
   * failed sync that lost acknowledged records. With several failures, its cause is an
   * AggregateError. The directory is released all the same, and the next open recovers it.
   */
  async close(options: CloseOptions = {}): Promise<void> {
    const checked = checkOptions('close options', options, CLOSE_OPTIONS)
    if (this.#closing === null) {
      let begin: (closed: Promise<void>) => void = () => undefined
      // Set before the close begins: a callback that runs when it ends may close the broker again.
      this.#closing = new Promise((resolve) => {
        begin = resolve
      })
      begin(this.#close(checked))
      this.#closeListeners.notify()
    } else {
      // The clients are already being closed; the first call reports their failures.
      void this.#clients.close(checked)
    }
    await this.#closing
  }

  /**
   * Calls `listener` when the broker begins to close. The close does not wait for it.
   *
   * @returns a function that removes the listener.
   * @throws {@link ClosedError}
   * @internal
   */
  onClose(listener: () => void): () => void {
    this.#ensureOpen()
    return this.#closeListeners.add(listener)
  }

  /** In a read-only broker, looks for what the owner of the directory has committed. @internal */
  followOffsets(): Promise<void> {
    return this.#coordinator.followOffsets()
  }

  /** Calls {@link Broker.close}, for `await using`. */
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
    // The cleaner must have stopped before the next owner takes the directory.
    await this.#cleaner.stopped()
    await attempt(() => this.#data.close(isSound === true && ofDisk.length === 0))
    tellFailures(this.dir, { ofDisk, ofClients })
  }

  /** Returns an existing topic synchronously: sends made in one tick must not wait for each other. */
  #topicForProducer(name: string): Topic | Promise<Topic> {
    // A record that is not a commit would make the offsets of all groups unreadable. Kafka refuses it too.
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
