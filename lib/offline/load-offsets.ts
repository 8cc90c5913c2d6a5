import {
  OffsetOutOfRangeError,
  UnknownTopicOrPartitionError,
  type Consumer,
  type Partition,
} from '../index.ts'
import { checkPublished } from './arguments.ts'
import { cutOffOf, loadCommit, reachOf, type LoadReach } from './load-commit.ts'
import type { LoadPlan, LoadStart } from './load-plan.ts'
import type { LoadPlace } from './load-range.ts'
import type { LoadTask, OffsetRange } from './load-task.ts'
import { overlaps } from './offset-ranges.ts'
import type { Sink } from './sink.ts'

/**
 * The progress of a load in each partition: one integer, the end of the tasks that are done without
 * a gap before them. It is committed for the group with the load's name. It moves back only if the
 * log was truncated.
 */
export class LoadOffsets {
  readonly #broker: LoadPlan['broker']
  readonly #consumer: Consumer
  /** Whether the tasks follow the committed offset; a plan may lack some that it once had. */
  readonly #resumes: boolean
  /** Per partition, the tasks that are not done or follow one that is not. */
  readonly #open = new Map<string, LoadTask[]>()
  readonly #done = new Set<LoadTask>()
  /** Per partition in which the load has begun, the committed reach. */
  readonly #begun = new Map<string, Promise<LoadReach>>()
  #commits: Promise<void> = Promise.resolve()

  constructor({ broker, name, resumes, tasks }: LoadPlan) {
    this.#broker = broker
    this.#consumer = broker.consumer({ groupId: name, enableAutoCommit: false })
    this.#resumes = resumes
    for (const task of tasks) {
      const open = this.#open.get(keyOf(task))
      if (open === undefined) this.#open.set(keyOf(task), [task])
      else open.push(task)
    }
  }

  /**
   * Commits, before the first task of a partition is loaded, how far its tasks reach, and where
   * they start if nothing is committed yet. Without this commit, the next plan would not notice
   * records that are deleted before the first task is done. Nor would it notice a truncation of
   * records that are in the sink but not yet covered by a commit, and would take others in their
   * place for loaded.
   *
   * @returns the committed reach; the records that the load reads within it precede any later
   * truncation.
   * @throws {@link OffsetOutOfRangeError} if the log has lost loaded records, unless the sink has
   * been cleared of them and the plan starts there. Otherwise others in their place would be taken
   * for loaded.
   */
  begin(task: LoadTask, place: LoadPlace, sink: Sink): Promise<LoadReach> {
    const key = keyOf(task)
    const begun = this.#begun.get(key)
    if (begun !== undefined) return begun
    const tasks = this.#open.get(key) ?? [task]
    const beginning = this.#begin(tasks, place, sink)
    this.#begun.set(key, beginning)
    // The next attempt tries again.
    beginning.catch(() => this.#begun.delete(key))
    return beginning
  }

  /**
   * Commits the start of partitions with nothing to load yet. Otherwise the next plan would not
   * notice records that are appended and deleted before it. Each commit is a sync, and there may be
   * thousands: after an abort the remaining ones are left out.
   */
  async beginEmpty(starts: readonly LoadStart[], signal: AbortSignal): Promise<void> {
    for (const { topic, partition, startOffset } of starts) {
      if (signal.aborted) return
      try {
        if ((await this.#consumer.committed({ topic, partition })) !== null) continue
        const offset = this.#firstOf(startOffset, this.#broker.topic(topic).partition(partition))
        await this.#consumer.commit([{ topic, partition, offset }])
      } catch (error) {
        // In a topic deleted meanwhile, no records can be missed.
        if (!(error instanceof UnknownTopicOrPartitionError)) throw error
      }
    }
  }

  async #begin(tasks: readonly LoadTask[], place: LoadPlace, sink: Sink): Promise<LoadReach> {
    const { topicId, partition: source } = place
    const { topic, index: partition } = source
    const startOffset = tasks[0]?.startOffset ?? 0
    const planned = tasks.at(-1)?.endOffset ?? 0
    const committed = await this.#consumer.committed({ topic, partition })
    const before = committed === null ? null : reachOf(committed)
    const cutOff = before === null ? null : cutOffOf(before, source)
    // Records loaded up to this offset and still in the log count for later truncations too.
    const kept = cutOff === null ? (before?.loadedTo ?? 0) : cutOff.startOffset
    if (cutOff === null && before !== null && kept >= planned) return before
    const loadedTo = Math.max(kept, planned)
    const { reader } = source.log
    // Determined before the sink is asked, as a truncation during that call has a later epoch.
    const reach = { loadedTo, leaderEpoch: reader.epochOf(loadedTo - 1) }
    const offset = committed?.offset ?? this.#firstOf(startOffset, source)
    const leaderEpoch = committed === null ? reader.epochOf(offset - 1) : committed.leaderEpoch
    if (cutOff !== null) {
      const where = { topic, partition, topicId }
      const published = checkPublished(await sink.published(where, cutOff.startOffset))
      if (startOffset > cutOff.startOffset || published.some((each) => overlaps(each, cutOff))) {
        throw lostSince(source, cutOff)
      }
    }
    await this.#consumer.commit([loadCommit({ topic, partition, offset, leaderEpoch }, reach)])
    return reach
  }

  /**
   * Where a load begins that has committed nothing: at the first record, even if its plan lacks the
   * first tasks by now, or the topic was deleted and created again since.
   */
  #firstOf(startOffset: number, { logStartOffset }: Partition): number {
    return this.#resumes ? Math.min(startOffset, logStartOffset) : startOffset
  }

  /** The committed offset of a partition, 0 if there is none. */
  async committed({ topic, partition }: LoadTask): Promise<number> {
    return (await this.#consumer.committed({ topic, partition }))?.offset ?? 0
  }

  /**
   * Marks a task as done, and commits the offset that its partition has thereby reached, if it has
   * moved.
   *
   * @param reach the result of {@link LoadOffsets.begin} for it.
   * @throws {@link OffsetOutOfRangeError} if the log has lost loaded records.
   */
  async finish(task: LoadTask, partition: Partition, reach: LoadReach): Promise<void> {
    this.#done.add(task)
    // One at a time, so that none overtakes a later one. A failed commit concerns only its caller.
    const commit = this.#commits.then(() => this.#commitPrefix(task, partition, reach))
    this.#commits = commit.catch(() => undefined)
    await commit
  }

  /** Waits for commits in progress. */
  async close(): Promise<void> {
    await this.#commits
    await this.#consumer.close()
  }

  async #commitPrefix(task: LoadTask, source: Partition, reach: LoadReach): Promise<void> {
    const open = this.#open.get(keyOf(task)) ?? []
    const committed = await this.committed(task)
    let reached = this.#resumes ? Math.max(committed, source.logStartOffset) : Infinity
    let count = 0
    for (const each of open) {
      if (each.startOffset > reached || !this.#done.has(each)) break
      reached = Math.max(reached, each.endOffset)
      count += 1
    }
    const prefix = open.slice(0, count)
    const kept = cutOffOf(reach, source)?.startOffset ?? Infinity
    const prefixEnd = prefix.at(-1)?.endOffset ?? 0
    const offset = Math.min(kept, prefixEnd)
    if (offset > committed) {
      const { topic, partition } = task
      const leaderEpoch = source.log.reader.epochOf(offset - 1)
      await this.#consumer.commit([loadCommit({ topic, partition, offset, leaderEpoch }, reach)])
    }
    const endOffset = Math.max(prefixEnd, task.endOffset)
    if (kept < endOffset) throw lostSince(source, { startOffset: kept, endOffset })
    // Only after the commit: if it fails, the partition's next commit must cover these tasks.
    for (const each of open.splice(0, prefix.length)) this.#done.delete(each)
  }
}

/** The error for loaded records that the log has lost. */
function lostSince(
  { topic, index, logStartOffset, logEndOffset }: Partition,
  { startOffset, endOffset }: OffsetRange,
): OffsetOutOfRangeError {
  return new OffsetOutOfRangeError(
    { topic, partition: index, offset: endOffset, logStartOffset, logEndOffset },
    `the records ${startOffset} to ${endOffset} (exclusive) of ${topic}-${index} were truncated ` +
      'after they had been loaded, and others may have taken their place: remove them from the sink, and load from ' +
      `offset ${startOffset} or below`,
  )
}

function keyOf({ topic, partition }: LoadTask): string {
  return `${topic}-${partition}`
}
