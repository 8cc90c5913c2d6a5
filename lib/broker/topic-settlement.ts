import { reasonOf } from '../checks.ts'
import { CorruptRecordError, LockLostError, StorageError } from '../errors.ts'
import { lockLossIn } from '../errors/lock-lost-by.ts'
import type { LogStates } from './log-states.ts'
import { isOfOneDirectory, type PartitionDirectories } from './partition-directory.ts'
import { MAX_PARTITIONS } from './topic.ts'
import { topicPartitionKey, type TopicPartition } from './topic-partition.ts'
import type { TopicEntry, TopicRegistry } from './topic-registry.ts'

/** Dependencies of {@link TopicSettlement}. */
export interface TopicSettlementOptions {
  readonly states: LogStates
  /** Forgets what other parts have stored about a topic, such as its committed offsets. */
  readonly forgetTopic: (name: string) => Promise<void>
}

/**
 * Makes the directories of topics match the registry after a crash or a change by another program.
 * Every step can be repeated. Calls must not overlap.
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
   * Settles every topic when a directory is opened.
   *
   * A topic whose directory cannot be removed stays as it is and does not keep the others from
   * opening; its next change, or the next open, tries again. A deleted topic stays in the list: its
   * committed offsets are not known yet, and have to be removed first.
   *
   * @param found every partition that has a directory. Listed by the caller, and once: a list for
   * each topic would be as long as there are topics.
   */
  async settleAll(found: readonly TopicPartition[]): Promise<void> {
    const { entries, isInDoubt } = this.#registry
    // The disk is full. A power loss may bring back another list, of which nothing may be missing.
    if (isInDoubt) return
    const beyond = beyondCounts(entries, found)
    for (const entry of entries) {
      const isActive = entry.state === 'active'
      const unfinished = beyond.get(entry.name) ?? []
      if (isActive && unfinished.length === 0) continue
      try {
        if (!isActive) await this.#removeAll(entry)
        await this.#removeUnfinished(entry, unfinished)
        if (entry.state === 'creating') await this.#forget(entry)
      } catch (error) {
        // On a full disk, the list cannot be written without a topic that was being created.
        if (!isOfOneDirectory(error)) throw error
      }
    }
  }

  /**
   * Completes interrupted deletions, once the committed offsets are known. What cannot be done now
   * is done by the next change of that topic, or by the next open.
   */
  async finishDeletions(): Promise<void> {
    const entries = this.#registry.entries.filter(({ state }) => state === 'deleting')
    // The offsets of a topic that a power loss might bring back are kept.
    if (entries.length === 0 || !(await this.#registry.makeCertain())) return
    for (const entry of entries) {
      try {
        await this.settle(entry)
      } catch (error) {
        // A broker can also be opened on a full disk, or with damaged commits.
        const isPutOff = error instanceof StorageError || error instanceof CorruptRecordError
        if (!isPutOff && !isOfOneDirectory(error)) throw error
      }
    }
  }

  /** Undoes a creation, or completes a deletion. */
  async settle(entry: TopicEntry): Promise<void> {
    // While the list names it: for any other topic it is unknown whether it was deleted or never
    // existed.
    const isDeleted = entry.state === 'deleting'
    if (isDeleted) await this.#options.forgetTopic(entry.name)
    await this.#removeAll(entry)
    // The rest of a failed growth has the topic's id. Without the list, nothing would remove it, and
    // no topic of that name could have so many partitions.
    if (isDeleted) await this.removeBeyond(entry, MAX_PARTITIONS)
    await this.#forget(entry)
  }

  /** Forgets a topic for good, once its directories are removed. */
  async #forget({ name, partitionCount }: TopicEntry): Promise<void> {
    // Nothing removes directories that the list does not name. One that came back after a power
    // loss would stay for good, and if its files came back too, no topic of that name could be
    // created.
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

  /** Removes the partitions of an interrupted growth; `total` is how many there may be. */
  async removeBeyond(entry: TopicEntry, total: number): Promise<void> {
    const found = await this.#directories.list()
    const beyond = beyondCounts([entry], found).get(entry.name) ?? []
    await this.#removeUnfinished(
      entry,
      beyond.filter((partition) => partition < total),
    )
  }

  /** Durable when it resolves: the next open finds nothing to remove. */
  async #removeUnfinished({ name, id }: TopicEntry, partitions: readonly number[]): Promise<void> {
    for (const partition of partitions) {
      await this.#directories.removeUnfinished(name, partition, id)
    }
    if (partitions.length > 0) await this.#directories.sync()
  }
}

/**
 * The partitions of each topic that have a directory and are beyond its count. It goes through the
 * existing directories: one with a high number must not cost a check of every lower number.
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
 * The error of a deletion that the list of topics has recorded. The topic is gone, whatever the
 * cause says about the step that failed.
 */
export function notRemovedYet(
  topic: string,
  dir: string,
  error: unknown,
): StorageError | LockLostError {
  const message = `topic '${topic}' is deleted, but not completely removed yet: ${reasonOf(error)}`
  if (lockLossIn(error) !== null) {
    return new LockLostError(dir, message, 'unknown', { cause: error })
  }
  return new StorageError(message, { path: dir, outcome: 'unknown' }, { cause: error })
}
