import {
  DEFAULT_TOPIC_CONFIG,
  resolveTopicConfig,
  type ResolvedTopicConfig,
  type TopicConfig,
} from '../config.ts'
import {
  ClosedError,
  CorruptRecordError,
  InvalidTopicError,
  StorageError,
  TopicExistsError,
  UnknownTopicOrPartitionError,
  VarveError,
} from '../errors.ts'
import type { FileSystem } from '../platform/file-system.ts'
import type { Random } from '../platform/random.ts'
import { Log } from '../storage/log.ts'
import { newTopicId } from '../storage/partition-metadata.ts'
import { SerialQueue } from '../storage/serial-queue.ts'
import type { LogStates } from './log-states.ts'
import { Partition, type PartitionContext } from './partition.ts'
import { PartitionDirectories } from './partition-directory.ts'
import { Topic, type TopicOwner } from './topic.ts'
import { INTERNAL_TOPICS, topicNamesCollide } from './topic-name.ts'
import { topicPartitionKey } from './topic-partition.ts'
import { TopicRegistry, type TopicEntry } from './topic-registry.ts'

/** What the topics of a broker have in common. */
export interface LogManagerOptions {
  readonly dir: string
  readonly fileSystem: FileSystem
  readonly random: Random
  readonly states: LogStates
  readonly defaults: Readonly<ResolvedTopicConfig>
  /** Whether the directory was closed in order. */
  readonly isClean: boolean
  readonly partitionContext: PartitionContext
  /** Called when topics or partitions have come or gone. */
  readonly onTopicsChanged: () => void
}

/** Logs that are opened at the same time. */
const OPEN_CONCURRENCY = 8

/**
 * The topics of one data directory and the logs of their partitions.
 *
 * Creating, growing and deleting are carried out one after the other. Each has one step that makes
 * it true, the write of the topic registry; what comes before is taken back and what comes after is
 * finished when the directory is opened after a crash.
 */
export class LogManager {
  readonly #options: LogManagerOptions
  readonly #registry: TopicRegistry
  readonly #directories: PartitionDirectories
  readonly #queue: SerialQueue = new SerialQueue()
  readonly #topics = new Map<string, Topic>()
  readonly #topicOwner: TopicOwner
  #closedBy: ClosedError | null = null

  constructor(options: LogManagerOptions) {
    this.#options = options
    this.#registry = new TopicRegistry(options.fileSystem, options.dir)
    this.#directories = new PartitionDirectories(options.fileSystem, options.dir)
    this.#topicOwner = {
      addPartitions: (topic, total) => this.#change(() => this.#addPartitions(topic, total)),
      alter: (topic, config) => this.#change(() => this.#alter(topic, config)),
      ensureOpen: () => {
        this.#ensureOpen()
      },
    }
  }

  /** All topics, in the order of their names. */
  get topics(): Topic[] {
    return [...this.#topics.values()].sort((left, right) => (left.name < right.name ? -1 : 1))
  }

  get(name: string): Topic | undefined {
    return this.#topics.get(name)
  }

  /** Opens every topic, after finishing or taking back what a crash has interrupted. */
  async load(): Promise<void> {
    const { readOnly } = this.#options.partitionContext
    const isKnown = await this.#registry.load()
    if (!readOnly) {
      await this.#directories.removeRenamed()
      for (const entry of this.#registry.entries) await this.#settle(entry)
    }
    const entries = isKnown ? this.#registry.entries : await this.#adopt()
    for (const entry of entries) {
      if (entry.state !== 'active') continue
      const indexes = Array.from({ length: entry.partitionCount }, (_, index) => index)
      const partitions = await this.#openPartitions(entry, indexes, this.#options.isClean)
      this.#publish(entry, partitions)
    }
  }

  /**
   * Creates a topic.
   *
   * @throws {@link TopicExistsError} when there is one of that name.
   * @throws {@link InvalidTopicError} when the name is too much like that of another.
   */
  create(name: string, partitionCount: number, config: TopicConfig): Promise<Topic> {
    return this.#change(async () => {
      const known = this.#registry.get(name)
      if (known?.state === 'active') throw new TopicExistsError(name)
      // An attempt that failed, and whose traces could not be removed then.
      if (known !== undefined) await this.#settle(known)
      const twin = this.topics.find((topic) => topicNamesCollide(topic.name, name))
      if (twin !== undefined) {
        throw new InvalidTopicError(name, `it differs from '${twin.name}' only in '.' and '_'`)
      }
      const id = newTopicId(this.#options.random)
      const entry: TopicEntry = { name, id, partitionCount, state: 'creating', config }
      await this.#registry.put(entry)
      let partitions: Partition[] = []
      try {
        partitions = await this.#makePartitions(entry, 0, partitionCount)
        await this.#registry.put({ ...entry, state: 'active' })
      } catch (error) {
        const reason = new ClosedError(`topic '${name}' was not created`)
        await this.#closeAll(partitions, reason).catch(() => undefined)
        // Where that fails too, the next attempt or the next open does it.
        await this.#settle(entry).catch(() => undefined)
        throw error
      }
      return this.#publish(entry, partitions)
    })
  }

  /**
   * Deletes a topic. Who waits for its records gets {@link UnknownTopicOrPartitionError}.
   *
   * @param forget is called when the topic can no longer be found and before it is forgotten.
   */
  delete(name: string, forget: () => Promise<void>): Promise<void> {
    return this.#change(async () => {
      const topic = this.#topics.get(name)
      const entry = this.#registry.get(name)
      if (topic === undefined || entry === undefined) throw unknownTopic(name)
      await this.#registry.put({ ...entry, state: 'deleting' })
      this.#topics.delete(name)
      // Whether their last bytes reach the disk does not matter any more.
      await this.#closeAll(topic.partitions, unknownTopic(name)).catch(() => undefined)
      this.#options.onTopicsChanged()
      await forget()
      await this.#settle({ ...entry, state: 'deleting' })
    })
  }

  /** Closes every log. @returns whether all of them are in order. @throws the first failure, after all were tried. */
  async close(reason: ClosedError): Promise<boolean> {
    this.#closedBy = reason
    await this.#queue.run(() => Promise.resolve())
    const partitions = this.topics.flatMap((topic) => topic.partitions)
    const isSound = partitions.every(({ log }) => log.isWritable)
    await this.#closeAll(partitions, reason)
    return isSound
  }

  #change<T>(change: () => Promise<T>): Promise<T> {
    return this.#queue.run(async () => {
      this.#ensureOpen()
      try {
        return await change()
      } catch (error) {
        if (error instanceof VarveError) throw error
        const { dir } = this.#options
        const message = error instanceof Error ? error.message : String(error)
        throw new StorageError(message, { path: dir, outcome: 'not-written' }, { cause: error })
      }
    })
  }

  #ensureOpen(): void {
    if (this.#closedBy !== null) throw this.#closedBy
    if (this.#options.partitionContext.readOnly) {
      throw new ClosedError('the broker is open for reading only')
    }
  }

  async #addPartitions(topic: Topic, total: number): Promise<void> {
    const entry = this.#registry.get(topic.name)
    if (entry === undefined || this.#topics.get(topic.name) !== topic)
      throw unknownTopic(topic.name)
    const { partitionCount } = entry
    let added: Partition[] = []
    try {
      added = await this.#makePartitions(entry, partitionCount, total)
      await this.#registry.put({ ...entry, partitionCount: total })
    } catch (error) {
      const reason = new ClosedError('the partition was not created')
      await this.#closeAll(added, reason).catch(() => undefined)
      await this.#removeBeyond(entry, total).catch(() => undefined)
      throw error
    }
    topic.setPartitions([...topic.partitions, ...added])
    this.#options.onTopicsChanged()
  }

  async #alter(topic: Topic, config: TopicConfig): Promise<void> {
    const entry = this.#registry.get(topic.name)
    if (entry === undefined) throw unknownTopic(topic.name)
    const merged = { ...entry.config, ...config }
    await this.#registry.put({ ...entry, config: merged })
    topic.setConfig(this.#configOf({ ...entry, config: merged }))
  }

  /** Makes partitions [`from`, `to`) of a topic and opens them; durable when it resolves. */
  async #makePartitions(entry: TopicEntry, from: number, to: number): Promise<Partition[]> {
    const indexes = Array.from({ length: to - from }, (_, each) => from + each)
    const keys = indexes.map((partition) => topicPartitionKey({ topic: entry.name, partition }))
    // A recovery point of an earlier topic of that name would look like records lost from this one.
    await this.#options.states.forget(keys)
    for (const index of indexes) await this.#directories.create(entry.name, index, entry.id)
    await this.#directories.sync()
    return this.#openPartitions(entry, indexes, true)
  }

  async #openPartitions(
    entry: TopicEntry,
    indexes: readonly number[],
    isClean: boolean,
  ): Promise<Partition[]> {
    const config = this.#configOf(entry)
    const opened: Partition[] = []
    try {
      for (let from = 0; from < indexes.length; from += OPEN_CONCURRENCY) {
        const some = indexes.slice(from, from + OPEN_CONCURRENCY)
        const results = await Promise.allSettled(
          some.map((index) => this.#openPartition(entry.name, index, config, isClean)),
        )
        for (const result of results) if (result.status === 'fulfilled') opened.push(result.value)
        for (const result of results) if (result.status === 'rejected') throw result.reason
      }
      return opened
    } catch (error) {
      await this.#closeAll(opened, new ClosedError('the broker could not be opened'))
      throw error
    }
  }

  async #openPartition(
    topic: string,
    partition: number,
    config: Readonly<ResolvedTopicConfig>,
    isClean: boolean,
  ): Promise<Partition> {
    const { fileSystem, states, partitionContext } = this.#options
    const { clock, readOnly } = partitionContext
    const path = this.#directories.pathOf(topic, partition)
    if ((await fileSystem.stat(path)) === null) {
      const place = { path, position: 0 }
      throw new CorruptRecordError(`the directory of ${topic}-${partition} is missing`, place)
    }
    const key = topicPartitionKey({ topic, partition })
    const saveState = states.save.bind(states, key)
    const context = { topic, partition, config, fileSystem, clock, readOnly, isClean, saveState }
    return new Partition(await Log.load(path, { ...context, ...states.get(key) }), partitionContext)
  }

  #publish(entry: TopicEntry, partitions: readonly Partition[]): Topic {
    const config = this.#configOf(entry)
    const topic = new Topic(entry, config, partitions, this.#topicOwner)
    this.#topics.set(entry.name, topic)
    this.#options.onTopicsChanged()
    return topic
  }

  /** What the library keeps for itself does not follow the application's defaults: commits stay durable. */
  #configOf({ name, config }: TopicEntry): Readonly<ResolvedTopicConfig> {
    const base = INTERNAL_TOPICS.has(name) ? DEFAULT_TOPIC_CONFIG : this.#options.defaults
    return resolveTopicConfig(config, base)
  }

  /** Brings an entry and the directories to what the entry says: creations are undone, deletions done. */
  async #settle(entry: TopicEntry): Promise<void> {
    if (entry.state === 'active') {
      await this.#removeBeyond(entry, null)
      return
    }
    for (let index = 0; index < entry.partitionCount; index += 1) {
      if (entry.state === 'deleting') await this.#directories.remove(entry.name, index)
      else await this.#directories.removeUnfinished(entry.name, index, entry.id)
    }
    await this.#directories.sync()
    const keys = Array.from({ length: entry.partitionCount }, (_, partition) =>
      topicPartitionKey({ topic: entry.name, partition }),
    )
    await this.#options.states.forget(keys)
    await this.#registry.remove(entry.name)
  }

  /** Removes partitions that were being added when that was interrupted. */
  async #removeBeyond(entry: TopicEntry, total: number | null): Promise<void> {
    const { name, id, partitionCount } = entry
    const found = await this.#directories.list()
    const last =
      total ??
      Math.max(-1, ...found.filter((each) => each.topic === name).map((each) => each.partition)) + 1
    for (let index = partitionCount; index < last; index += 1) {
      await this.#directories.removeUnfinished(name, index, id)
    }
    if (last > partitionCount) await this.#directories.sync()
  }

  /** Takes over the partitions of a directory that another program, such as a Kafka broker, has filled. */
  async #adopt(): Promise<TopicEntry[]> {
    const counts = new Map<string, number>()
    for (const { topic, partition } of await this.#directories.list()) {
      counts.set(topic, Math.max(counts.get(topic) ?? 0, partition + 1))
    }
    const entries: TopicEntry[] = []
    for (const [name, partitionCount] of counts) {
      const id = (await this.#directories.topicIdOf(name, 0)) ?? newTopicId(this.#options.random)
      const config: TopicConfig = name === '__consumer_offsets' ? { cleanupPolicy: 'compact' } : {}
      const entry: TopicEntry = { name, id, partitionCount, state: 'active', config }
      entries.push(entry)
    }
    // In one step: a list with some of them would be taken for all there are.
    if (entries.length > 0 && !this.#options.partitionContext.readOnly) {
      await this.#registry.replace(entries)
    }
    return entries
  }

  async #closeAll(partitions: readonly Partition[], reason: VarveError): Promise<void> {
    const results = await Promise.allSettled(partitions.map((each) => each.close(reason)))
    for (const result of results) if (result.status === 'rejected') throw result.reason
  }
}

/** The error for a topic that does not exist. */
export function unknownTopic(name: string): UnknownTopicOrPartitionError {
  return new UnknownTopicOrPartitionError(name, null, `there is no topic '${name}'`)
}
