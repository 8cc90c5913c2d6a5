import { reasonOf } from '../checks.ts'
import { ensureConsistent, type TopicConfig } from '../config.ts'
import {
  ClosedError,
  ReadOnlyError,
  StorageError,
  TopicExistsError,
  VarveError,
} from '../errors.ts'
import { lockLossIn } from '../errors/lock-lost-by.ts'
import type { Random } from '../platform/random.ts'
import { newTopicId } from '../storage/partition-metadata.ts'
import { SerialQueue } from '../storage/serial-queue.ts'
import { adoptTopics } from './foreign-topics.ts'
import { FreeSpace } from './free-space.ts'
import { whyFenced } from './lock-fence.ts'
import type { Partition } from './partition.ts'
import { PartitionDirectories } from './partition-directory.ts'
import { closeAll, PartitionOpener, type PartitionOpenerOptions } from './partition-opener.ts'
import { turnBefore } from './partition-turns.ts'
import { ensureGrows, Topic, type TopicOwner } from './topic.ts'
import { TopicFollower } from './topic-follower.ts'
import { INTERNAL_TOPICS, unknownTopic } from './topic-name.ts'
import { topicPartitionKey } from './topic-partition.ts'
import { TopicRegistry, type TopicEntry } from './topic-registry.ts'
import { notRemovedYet, TopicSettlement } from './topic-settlement.ts'
import { TopicSpace } from './topic-space.ts'
import { TopicTable } from './topic-table.ts'

/** Dependencies of {@link LogManager}. */
export interface LogManagerOptions extends PartitionOpenerOptions {
  readonly dir: string
  readonly random: Random
  /** Whether the directory was closed cleanly. */
  readonly isClean: boolean
  /** Called when topics or partitions were created or deleted. */
  readonly onTopicsChanged: () => void
  /**
   * Forgets what other parts have stored about the partitions of a topic, from `fromPartition` (default 0) on.
   * Called before a deletion is finished and, because a deletion may have been interrupted, before a topic is
   * created: a new topic has no past. Nor do added partitions, for which Kafka's groups may have committed.
   */
  readonly forgetTopic: (name: string, fromPartition?: number) => Promise<void>
  /** See {@link TopicFollowerOptions}. */
  readonly followOffsets: () => Promise<void>
}

/**
 * The topics of one data directory and the logs of their partitions.
 *
 * Creating, growing and deleting a topic are carried out one after the other. Each takes effect in one step,
 * the write of the topic registry. When the directory is opened after a crash, the steps before it are
 * undone, and the steps after it are completed.
 */
export class LogManager {
  readonly #options: LogManagerOptions
  readonly #registry: TopicRegistry
  readonly #directories: PartitionDirectories
  readonly #opener: PartitionOpener
  readonly #settlement: TopicSettlement
  readonly #queue: SerialQueue = new SerialQueue()
  readonly #topics: TopicTable = new TopicTable()
  readonly #topicOwner: TopicOwner
  readonly #follower: TopicFollower
  readonly #freeSpace: FreeSpace
  #closedBy: ClosedError | null = null

  constructor(options: LogManagerOptions) {
    this.#options = options
    this.#registry = new TopicRegistry(options.fileSystem, options.dir)
    this.#directories = new PartitionDirectories(options.fileSystem, options.dir)
    this.#opener = new PartitionOpener(options, this.#directories, this.#whyGone.bind(this))
    this.#settlement = new TopicSettlement(this.#registry, this.#directories, options)
    this.#freeSpace = new FreeSpace(options.fileSystem, options.dir, options.partitionContext.clock)
    this.#follower = new TopicFollower({
      ...options,
      registry: this.#registry,
      opener: this.#opener,
      topics: this.#topics,
      publish: (entry, partitions) => this.#publish(entry, partitions),
      letGo: (topic) => this.#letGo(topic),
    })
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
    return this.#topics.all
  }

  /** The names of all topics in any order. The list is the same one until a topic is created or deleted. */
  get topicNames(): readonly string[] {
    return this.#topics.names
  }

  get(name: string): Topic | undefined {
    return this.#topics.get(name)
  }

  /** Opens every topic, after completing or undoing what a crash has interrupted. */
  async load(): Promise<void> {
    const { isClean, states, partitionContext } = this.#options
    const { clock, readOnly } = partitionContext
    const isKnown = await this.#registry.load()
    if (!readOnly) {
      // Before anything is removed because of the registry.
      if (isKnown && !isClean) await this.#registry.renew()
      const found = await this.#directories.removeRenamed()
      await this.#settlement.settleAll(found)
    }
    const adoption = { ...this.#options, clock, readOnly }
    const entries = isKnown
      ? this.#registry.entries
      : await adoptTopics(this.#registry, this.#directories, adoption)
    const open = async (): Promise<void> => {
      for (const entry of entries) if (entry.state === 'active') await this.#open(entry, isClean)
    }
    await (isClean ? open() : states.whileOpening(clock, open))
  }

  /** Applies the changes of the directory's owner; see {@link TopicFollower.refresh}. */
  refresh(): Promise<void> {
    return this.#queue.run(async () => {
      if (this.#closedBy === null) await this.#follower.refresh()
    })
  }

  /** Opens a topic that the directory's owner has created; see {@link TopicFollower.lookFor}. */
  lookFor(name: string): Promise<void> {
    return this.#queue.run(async () => {
      if (this.#closedBy === null) await this.#follower.lookFor(name)
    })
  }

  /**
   * Creates a topic.
   *
   * @throws {@link TopicExistsError} when there is one of that name.
   * @throws {@link InvalidTopicError} when the name is too similar to that of another.
   */
  create(name: string, partitionCount: number, config: TopicConfig): Promise<Topic> {
    return this.#change(async () => {
      const known = this.#registry.get(name)
      if (known?.state === 'active') throw new TopicExistsError(name)
      ensureConsistent(this.#opener.configOf({ name, config }))
      // The rest of a failed attempt that could not be removed at the time.
      if (known !== undefined) await this.#settlement.settle(known)
      await this.#topics.ensureNoTwin(name, () => this.#directories.isTaken(name, 0))
      await this.#options.forgetTopic(name)
      const id = newTopicId(this.#options.random)
      const entry: TopicEntry = { name, id, partitionCount, state: 'creating', config }
      await this.#registry.put(entry)
      let partitions: Partition[] = []
      try {
        partitions = await this.#makePartitions(entry, 0, partitionCount)
        await this.#registry.put({ ...entry, state: 'active' })
      } catch (error) {
        const reason = new ClosedError(`topic '${name}' was not created`)
        await closeAll(partitions, reason).catch(() => undefined)
        // If that fails too, the next attempt or the next open does it.
        await this.#takeBack(() => this.#settlement.settle(entry))
        throw error
      }
      return this.#publish(entry, partitions)
    })
  }

  /**
   * Deletes a topic. Calls that wait for its records get {@link UnknownTopicOrPartitionError}. If it fails
   * after the topic is gone, another call, or the next open, completes it.
   */
  delete(name: string): Promise<void> {
    return this.#change(async () => {
      const entry = this.#registry.get(name)
      if (entry === undefined || entry.state === 'creating') throw unknownTopic(name)
      if (entry.state === 'active') await this.#retire(entry)
      try {
        await this.#settlement.settle({ ...entry, state: 'deleting' })
      } catch (error) {
        throw notRemovedYet(name, this.#options.dir, error)
      }
    })
  }

  /** See {@link TopicSettlement.finishDeletions}. Called once the committed offsets are known. */
  finishDeletions(): Promise<void> {
    return this.#settlement.finishDeletions()
  }

  /** Closes every log. @returns whether all of them are sound. @throws as {@link closeAll}. */
  async close(reason: ClosedError): Promise<boolean> {
    this.#closedBy = reason
    // Otherwise a power loss could bring back another list than the one this close knows.
    const isCertain = await this.#queue.run(() => this.#registry.makeCertain())
    const partitions = this.topics.flatMap((topic) => topic.partitions)
    let isWritable = isCertain
    for (const [slot, { log }] of partitions.entries()) {
      const turn = turnBefore(slot)
      if (turn !== null) await turn
      if (!log.isWritable) isWritable = false
    }
    await closeAll(partitions, reason)
    // Writes in flight may have failed meanwhile, and only their callers know.
    return isWritable && partitions.every(({ log }) => log.failure === null && log.damage === null)
  }

  #change<T>(change: () => Promise<T>): Promise<T> {
    return this.#queue.run(async () => {
      this.#ensureOpen()
      let hasBegun = false
      try {
        await this.#registry.ensureCertain()
        hasBegun = true
        return await change()
      } catch (error) {
        // A configuration that contradicts the one in force is refused; that is no failure of the disk.
        if (error instanceof VarveError || error instanceof RangeError) throw error
        const { dir } = this.#options
        const outcome = hasBegun && this.#registry.isInDoubt ? 'unknown' : 'not-written'
        const lost = lockLossIn(error)
        throw lost ?? new StorageError(reasonOf(error), { path: dir, outcome }, { cause: error })
      }
    })
  }

  #ensureOpen(): void {
    if (this.#closedBy !== null) throw this.#closedBy
    if (this.#options.partitionContext.readOnly) {
      throw new ReadOnlyError('the broker is open for reading only')
    }
    const fence = whyFenced(this.#options.partitionContext, 'not-written')
    if (fence !== null) throw fence
  }

  /** As far as possible. Directories that the list may still name after a power loss are kept. */
  async #takeBack(remove: () => Promise<void>): Promise<void> {
    try {
      await this.#registry.ensureCertain()
      await remove()
    } catch {
      // The caller gets the first error.
    }
  }

  /** From here on the topic cannot be found, even if it is uncertain whether that is on disk. */
  async #retire(entry: TopicEntry): Promise<void> {
    const topic = this.#topics.get(entry.name)
    try {
      await this.#registry.retire(entry)
    } finally {
      const isRetired = this.#registry.get(entry.name)?.state === 'deleting'
      // It no longer matters whether their last bytes reach the disk.
      if (isRetired && topic !== undefined) await this.#letGo(topic).catch(() => undefined)
    }
  }

  /** The registry entry of a topic. @throws when it is deleted, even if there is another of its name. */
  #entryOf(topic: Topic): TopicEntry {
    const entry = this.#registry.get(topic.name)
    if (entry === undefined || this.#topics.get(topic.name) !== topic) {
      throw unknownTopic(topic.name)
    }
    return entry
  }

  async #addPartitions(topic: Topic, total: number): Promise<void> {
    const entry = this.#entryOf(topic)
    const { partitionCount } = entry
    // Another call may have grown it since this call was made.
    ensureGrows(topic.name, partitionCount, total)
    const grown = { ...entry, partitionCount: total }
    this.#registry.ensureRoom(grown)
    // The rest of a failed attempt that could not be removed at the time.
    await this.#settlement.removeBeyond(entry, total)
    let added: Partition[] = []
    try {
      added = await this.#makePartitions(entry, partitionCount, total)
      await this.#options.forgetTopic(topic.name, partitionCount)
      await this.#registry.put(grown)
    } catch (error) {
      const reason = new ClosedError('the partition was not created')
      await closeAll(added, reason).catch(() => undefined)
      await this.#takeBack(() => this.#settlement.removeBeyond(entry, total))
      throw error
    }
    topic.setPartitions([...topic.partitions, ...added])
    this.#options.onTopicsChanged()
  }

  async #alter(topic: Topic, config: TopicConfig): Promise<void> {
    const entry = this.#entryOf(topic)
    const merged = { ...entry.config, ...config }
    // The stored configuration may contradict itself because of defaults that have changed since.
    if ('minCompactionLagMs' in config || 'maxCompactionLagMs' in config) {
      ensureConsistent(this.#opener.configOf({ ...entry, config: merged }))
    }
    await this.#registry.put({ ...entry, config: merged })
    topic.setConfig(this.#opener.configOf({ ...entry, config: merged }))
  }

  /** Creates partitions [`from`, `to`) of a topic and opens them; durable when it resolves. */
  async #makePartitions(entry: TopicEntry, from: number, to: number): Promise<Partition[]> {
    const indexes = Array.from({ length: to - from }, (_, each) => from + each)
    const keys = indexes.map((partition) => topicPartitionKey({ topic: entry.name, partition }))
    // The recovery point of an earlier topic of that name would make this one look truncated.
    await this.#options.states.forget(keys)
    for (const index of indexes) await this.#directories.create(entry.name, index, entry.id)
    await this.#directories.sync()
    return this.#opener.open(entry, { from, to }, { isClean: true, mayBeUnreadable: false })
  }

  async #open(entry: TopicEntry, isClean: boolean): Promise<void> {
    const range = { from: 0, to: entry.partitionCount }
    const past = { isClean, mayBeUnreadable: true }
    const partitions = await this.#opener.openUnlessLost(entry, range, past, this.#registry)
    if (partitions !== null) this.#publish(entry, partitions)
  }

  /** Why the files of a topic are gone: another process may have deleted it since the last look. */
  async #whyGone({ name, id }: TopicEntry): Promise<VarveError | null> {
    // Internal topics are never deleted. They are read during a refresh, which must not wait for another.
    if (INTERNAL_TOPICS.has(name)) return null
    await this.refresh().catch(() => undefined)
    return this.#topics.get(name)?.id === id ? null : unknownTopic(name)
  }

  async #letGo(topic: Topic): Promise<void> {
    this.#topics.delete(topic.name)
    const closing = closeAll(topic.partitions, unknownTopic(topic.name))
    await closing.finally(this.#options.onTopicsChanged)
  }

  #publish(entry: TopicEntry, partitions: readonly Partition[]): Topic {
    const config = this.#opener.configOf(entry)
    const topic = new Topic(entry, config, partitions, this.#topicOwner, this.#spaceOf(entry))
    this.#topics.set(topic)
    this.#options.onTopicsChanged()
    return topic
  }

  #spaceOf({ name }: TopicEntry): TopicSpace {
    return new TopicSpace(name, this.#options.partitionContext.clock, this.#freeSpace)
  }
}
