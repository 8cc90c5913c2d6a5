import {
  OffsetOutOfRangeError,
  UnknownTopicOrPartitionError,
  type Broker,
  type Consumer,
  type Partition,
} from '../index.ts'
import { checkPublished } from './arguments.ts'
import { cutOffOf, loadCommit, reachOf, type LoadReach } from './load-commit.ts'
import type { LoadStart } from './load-plan.ts'
import type { LoadPlace } from './load-range.ts'
import type { LoadTask, OffsetRange } from './load-task.ts'
import { overlaps } from './offset-ranges.ts'
import type { Sink } from './sink.ts'

/**
 * How far a load has come in each partition: one integer, the end of the tasks that are done without
 * a gap before them, committed for the group of the load's name. It goes back only where the log was cut.
 */
export class LoadOffsets {
  readonly #consumer: Consumer
  /** Of each partition, the tasks that are not done or have one before them that is not. */
  readonly #open = new Map<string, LoadTask[]>()
  readonly #done = new Set<LoadTask>()
  /** Of each partition that the load has begun in, what is on record of how far it may come. */
  readonly #begun = new Map<string, Promise<LoadReach>>()
  #commits: Promise<void> = Promise.resolve()

  constructor(broker: Broker, name: string, tasks: readonly LoadTask[]) {
    this.#consumer = broker.consumer({ groupId: name, enableAutoCommit: false })
    for (const task of tasks) {
      const open = this.#open.get(keyOf(task))
      if (open === undefined) this.#open.set(keyOf(task), [task])
      else open.push(task)
    }
  }

  /**
   * Commits, before the first task of a partition is loaded, how far its tasks reach, and where they begin when
   * nothing is committed yet. Otherwise records that are deleted before the first task is done would be missing in
   * the next plan, others would pass for loaded in the place of those that are cut off while the sink has them and
   * the commit does not, and nobody would know.
   *
   * @returns what is on record now: what the load takes of it is of before any cut that comes from then on.
   * @throws {@link OffsetOutOfRangeError} when the log has lost what was loaded, unless the sink has been rid
   * of it and the plan begins there: others would be taken for loaded that are in its place.
   */
  begin(task: LoadTask, place: LoadPlace, sink: Sink): Promise<LoadReach> {
    const key = keyOf(task)
    const begun = this.#begun.get(key)
    if (begun !== undefined) return begun
    const tasks = this.#open.get(key) ?? [task]
    const beginning = this.#begin(tasks, place, sink)
    this.#begun.set(key, beginning)
    // The next try asks again.
    beginning.catch(() => this.#begun.delete(key))
    return beginning
  }

  /** Where there is nothing to do yet, what comes and goes until the next plan would be missing too. */
  async beginEmpty(starts: readonly LoadStart[]): Promise<void> {
    for (const { topic, partition, startOffset: offset } of starts) {
      try {
        if ((await this.#consumer.committed({ topic, partition })) !== null) continue
        await this.#consumer.commit([{ topic, partition, offset }])
      } catch (error) {
        // A topic that has been deleted since has nothing that could be missing.
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
    // What was loaded up to there and is left counts for what is cut off from now on, too.
    const kept = cutOff === null ? (before?.loadedTo ?? 0) : cutOff.startOffset
    if (cutOff === null && before !== null && kept >= planned) return before
    const loadedTo = Math.max(kept, planned)
    const { reader } = source.log
    // It is known before the sink is asked: a cut that comes meanwhile is of a later epoch.
    const reach = { loadedTo, leaderEpoch: reader.epochOf(loadedTo - 1) }
    const offset = committed?.offset ?? startOffset
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

  /** What is committed for a partition, 0 for nothing. */
  async committed({ topic, partition }: LoadTask): Promise<number> {
    return (await this.#consumer.committed({ topic, partition }))?.offset ?? 0
  }

  /**
   * Enters a task as done, and commits how far that brings its partition, if it does.
   *
   * @param reach what {@link LoadOffsets.begin} has given for it.
   * @throws {@link OffsetOutOfRangeError} when the log has lost records that were loaded.
   */
  async finish(task: LoadTask, partition: Partition, reach: LoadReach): Promise<void> {
    this.#done.add(task)
    // One at a time, so that none overtakes one that is further; a failed one is its caller's matter.
    const commit = this.#commits.then(() => this.#commitPrefix(task, partition, reach))
    this.#commits = commit.catch(() => undefined)
    await commit
  }

  /** Commits in progress are waited for. */
  async close(): Promise<void> {
    await this.#commits
    await this.#consumer.close()
  }

  async #commitPrefix(task: LoadTask, source: Partition, reach: LoadReach): Promise<void> {
    const open = this.#open.get(keyOf(task)) ?? []
    const gap = open.findIndex((each) => !this.#done.has(each))
    const prefix = gap < 0 ? [...open] : open.slice(0, gap)
    const committed = await this.committed(task)
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
    // After the commit: if it fails, the next one of the partition has to bring it along.
    for (const each of open.splice(0, prefix.length)) this.#done.delete(each)
  }
}

/** The error for records that a load has taken and the log has lost. */
function lostSince(
  { topic, index, logStartOffset, logEndOffset }: Partition,
  { startOffset, endOffset }: OffsetRange,
): OffsetOutOfRangeError {
  return new OffsetOutOfRangeError(
    { topic, partition: index, offset: endOffset, logStartOffset, logEndOffset },
    `the records ${startOffset} to ${endOffset} (exclusive) of ${topic}-${index} were cut off from its log ` +
      'after they had been loaded, and others may be in their place: take them out of the sink, and load from ' +
      `offset ${startOffset} or one below it`,
  )
}

function keyOf({ topic, partition }: LoadTask): string {
  return `${topic}-${partition}`
}
