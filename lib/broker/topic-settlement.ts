import { reasonOf } from '../checks.ts'
import { CorruptRecordError, LockLostError, StorageError } from '../errors.ts'
import type { LogStates } from './log-states.ts'
import { isOfOneDirectory, type PartitionDirectories } from './partition-directory.ts'
import { topicPartitionKey, type TopicPartition } from './topic-partition.ts'
import type { TopicEntry, TopicRegistry } from './topic-registry.ts'

/** What a {@link TopicSettlement} works with. */
export interface TopicSettlementOptions {
  readonly states: LogStates
  /** Forgets what others have noted about a topic, such as what groups have committed for it. */
  readonly forgetTopic: (name: string) => Promise<void>
}

/**
 * Brings the directories of topics to what the registry says, where a crash or another program has
 * left something else. Every step can be repeated. Calls must not overlap.
 */
export class TopicSettlement {
  readonly #registry: TopicRegistry
  readonly #directories: PartitionDirectories
  readonly #options: TopicSettlementOptions

  constructor(
    registry: TopicRegistry,
    directories: PartitionDirectories,
    options: TopicSettlementOptions,
  ) {
    this.#registry = registry
    this.#directories = directories
    this.#options = options
  }

  /**
   * Settles every topic, as a directory is opened. One whose directory cannot be removed stays as it is, so
   * that it keeps no other from opening: the next change of it, or the next open, tries again. One that is
   * deleted stays in the list: what groups have committed for it is not known yet, and has to go first.
   */
  async settleAll(): Promise<void> {
    const { entries } = this.#registry
    // Listed once: a list for each topic would be as long as there are topics.
    const beyond = beyondCounts(entries, await this.#directories.list())
    for (const entry of entries) {
      const isActive = entry.state === 'active'
      const unfinished = beyond.get(entry.name) ?? []
      if (isActive && unfinished.length === 0) continue
      try {
        if (isActive) await this.#removeUnfinished(entry, unfinished)
        else await this.#removeAll(entry)
      } catch (error) {
        if (!isOfOneDirectory(error)) throw error
        continue
      }
      if (entry.state === 'creating') await this.#forget(entry)
    }
  }

  /**
   * Finishes deletions that a crash has cut short, once it is known what groups have committed. What cannot be
   * done now the next change of that topic does, or the next open.
   */
  async finishDeletions(): Promise<void> {
    const entries = this.#registry.entries.filter(({ state }) => state === 'deleting')
    // A topic that a power loss might bring back keeps what was committed for it.
    if (entries.length === 0 || !(await this.#registry.makeCertain())) return
    for (const entry of entries) {
      try {
        await this.settle(entry)
      } catch (error) {
        // A broker opens on a full disk too, and where the commits are damaged.
        const isPutOff = error instanceof StorageError || error instanceof CorruptRecordError
        if (!isPutOff && !isOfOneDirectory(error)) throw error
      }
    }
  }

  /** Takes a creation back, or finishes a deletion. */
  async settle(entry: TopicEntry): Promise<void> {
    // As long as the list names it: of any other topic nobody knows whether it was deleted, or never here.
    if (entry.state === 'deleting') await this.#options.forgetTopic(entry.name)
    await this.#removeAll(entry)
    await this.#forget(entry)
  }

  /** For good, once the directories are removed. */
  async #forget({ name, partitionCount }: TopicEntry): Promise<void> {
    // What the list does not name is removed by nobody: a directory that comes back would be there for good, and
    // where its files do too, no topic of that name could be created.
    await this.#directories.sync()
    const keys = Array.from({ length: partitionCount }, (_, partition) =>
      topicPartitionKey({ topic: name, partition }),
    )
    await this.#options.states.forget(keys)
    await this.#registry.remove(name)
  }

  async #removeAll({ name, id, partitionCount, state }: TopicEntry): Promise<void> {
    for (let index = 0; index < partitionCount; index += 1) {
      if (state === 'deleting') await this.#directories.remove(name, index)
      else await this.#directories.removeUnfinished(name, index, id)
    }
  }

  /** Removes partitions that were being added when that was interrupted; `total` is how many there may be. */
  async removeBeyond(entry: TopicEntry, total: number): Promise<void> {
    const found = await this.#directories.list()
    const beyond = beyondCounts([entry], found).get(entry.name) ?? []
    await this.#removeUnfinished(
      entry,
      beyond.filter((partition) => partition < total),
    )
  }

  /** For good when it resolves: who opens the directory next finds nothing to remove. */
  async #removeUnfinished({ name, id }: TopicEntry, partitions: readonly number[]): Promise<void> {
    for (const partition of partitions) {
      await this.#directories.removeUnfinished(name, partition, id)
    }
    if (partitions.length > 0) await this.#directories.sync()
  }
}

/**
 * Which partitions of each topic have a directory and are beyond its count. Only what is there is looked for:
 * one directory with a high number must not cost a look at every number below it.
 */
function beyondCounts(
  entries: readonly TopicEntry[],
  found: readonly TopicPartition[],
): Map<string, number[]> {
  const counts = new Map(entries.map(({ name, partitionCount }) => [name, partitionCount]))
  const beyond = new Map<string, number[]>()
  for (const { topic, partition } of found) {
    if (partition < (counts.get(topic) ?? Infinity)) continue
    const partitions = beyond.get(topic)
    if (partitions === undefined) beyond.set(topic, [partition])
    else partitions.push(partition)
  }
  return beyond
}

/**
 * What a deletion fails with that is down in the list of topics. The topic is gone, whatever the error says
 * of the step that it has kept from being done.
 */
export function notRemovedYet(
  topic: string,
  dir: string,
  error: unknown,
): StorageError | LockLostError {
  const message = `topic '${topic}' is deleted and not all of it is removed yet: ${reasonOf(error)}`
  if (error instanceof LockLostError) {
    return new LockLostError(dir, message, 'unknown', { cause: error })
  }
  return new StorageError(message, { path: dir, outcome: 'unknown' }, { cause: error })
}
