import { StorageError } from '../errors.ts'
import { isSystemError } from '../platform/system-error.ts'
import type { LogStates } from './log-states.ts'
import type { Partition } from './partition.ts'
import type { PartitionOpener } from './partition-opener.ts'
import type { Topic } from './topic.ts'
import { INTERNAL_TOPICS } from './topic-name.ts'
import type { TopicEntry, TopicRegistry } from './topic-registry.ts'
import type { TopicTable } from './topic-table.ts'

/** Dependencies of {@link TopicFollower}. */
export interface TopicFollowerOptions {
  readonly dir: string
  readonly registry: TopicRegistry
  readonly opener: PartitionOpener
  readonly states: LogStates
  /** Changed only by `publish` and `letGo`. */
  readonly topics: Pick<TopicTable, 'all' | 'get'>
  readonly publish: (entry: TopicEntry, partitions: readonly Partition[]) => void
  readonly letGo: (topic: Topic) => Promise<void>
  readonly onTopicsChanged: () => void
  /**
   * Reads the groups' latest commits. Called before new topics and partitions become visible.
   * Before the owner created them, it removed the offsets of any earlier ones of these names, and
   * those must not be taken for offsets of the new ones.
   */
  readonly followOffsets: () => Promise<void>
}

/** Applies the topic changes of the owner of a directory that is open for reading only. */
export class TopicFollower {
  readonly #options: TopicFollowerOptions

  constructor(options: TopicFollowerOptions) {
    this.#options = options
  }

  /**
   * Opens new topics, closes deleted ones, and applies changed counts and configurations. Calls
   * must not overlap.
   *
   * @throws the first failure, after all topics were tried: the owner may be in the middle of a
   * change. The next call sees the result.
   */
  async refresh(): Promise<void> {
    const { registry, states, topics, followOffsets } = this.#options
    if (!(await registry.load())) return
    // After the list: for a topic in it, the states no longer contain an earlier topic of its name.
    await states.reload()
    const { entries } = registry
    const failures: unknown[] = []
    const attempt = (task: Promise<void>): Promise<void> =>
      task.catch((error: unknown) => {
        failures.push(error)
      })
    for (const topic of topics.all) await attempt(this.#followOrLetGo(topic))
    const added = entries.filter(
      ({ state, name }) => state === 'active' && topics.get(name) === undefined,
    )
    const isInternal = ({ name }: TopicEntry): boolean => INTERNAL_TOPICS.has(name)
    for (const entry of added.filter(isInternal)) await attempt(this.#open(entry))
    const others = added.filter((entry) => !isInternal(entry))
    if (others.length > 0) {
      // If that fails, readers that need no offsets can do without.
      await attempt(followOffsets())
      for (const entry of others) await attempt(this.#open(entry))
    }
    if (failures.length > 0) throw failures[0]
  }

  /**
   * Opens an internal topic if the owner has created it. Others are left to the next refresh, and
   * need not be readable. Calls must not overlap, nor with a refresh.
   *
   * @throws {@link StorageError} if that cannot be found out, or the topic not be opened
   */
  async lookFor(name: string): Promise<void> {
    const { dir, registry, states, topics } = this.#options
    try {
      if (!(await registry.load())) {
        // A directory that Kafka has left has no list.
        if (registry.entries.length === 0) return
        const message = `topic '${name}' cannot be looked for: the list of topics is missing`
        throw new StorageError(message, { path: dir, outcome: 'not-written' })
      }
      const entry = registry.get(name)
      if (entry?.state !== 'active' || topics.get(name) !== undefined) return
      await states.reload()
      await this.#open(entry)
    } catch (error) {
      if (!isSystemError(error)) throw error
      const message = `topic '${name}' cannot be looked for: ${error.message}`
      throw new StorageError(message, { path: dir, outcome: 'not-written' }, { cause: error })
    }
  }

  async #followOrLetGo(topic: Topic): Promise<void> {
    const { registry, opener, letGo, onTopicsChanged, followOffsets } = this.#options
    const entry = registry.get(topic.name)
    if (entry?.state !== 'active' || entry.id !== topic.id) return letGo(topic)
    topic.setConfig(opener.configOf(entry))
    const from = topic.partitions.length
    const added = from < entry.partitionCount ? await this.#partitionsOf(entry, from) : null
    if (added === null) return
    try {
      await followOffsets()
    } finally {
      // Readers that need no offsets can do without.
      topic.setPartitions([...topic.partitions, ...added])
      onTopicsChanged()
    }
  }

  async #open(entry: TopicEntry): Promise<void> {
    const partitions = await this.#partitionsOf(entry, 0)
    if (partitions !== null) this.#options.publish(entry, partitions)
  }

  /**
   * Opens partitions from `from` on.
   * @returns `null` if the owner has deleted the topic meanwhile
   */
  async #partitionsOf(entry: TopicEntry, from: number): Promise<Partition[] | null> {
    const { registry, opener, states } = this.#options
    const range = { from, to: entry.partitionCount }
    const past = { isClean: await states.areClean(), mayBeUnreadable: false }
    return opener.openUnlessLost(entry, range, past, registry)
  }
}
