import {
  OffsetOutOfRangeError,
  UnknownTopicOrPartitionError,
  type Broker,
  type Consumer,
  type Partition,
} from '../index.ts'
import { checkPublished } from './arguments.ts'
import { cutOffOf, loadCommit } from './load-commit.ts'
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
  /** Of each task that is done, the leader epoch of its last record. */
  readonly #done = new Map<LoadTask, number | null>()
  /** Of each partition, that something is committed. */
  readonly #begun = new Map<string, Promise<void>>()
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
   * Commits where the partition of a task begins in the plan, when nothing is committed for it yet. Otherwise
   * records that are deleted before its first task is done would be missing in the next plan, and nobody
   * would know.
   *
   * @throws {@link OffsetOutOfRangeError} when the log has lost what was loaded, unless the sink has been rid
   * of it and the plan begins there: others would be taken for loaded that are in its place.
   */
  begin(task: LoadTask, place: LoadPlace, sink: Sink): Promise<void> {
    const key = keyOf(task)
    const begun = this.#begun.get(key)
    if (begun !== undefined) return begun
    const first = this.#open.get(key)?.[0] ?? task
    const beginning = this.#begin(task, first).then((cutOff) =>
      cutOff === null ? undefined : this.#beginBehindCut(first, cutOff, { place, sink }),
    )
    this.#begun.set(key, beginning)
    // The next try asks again.
    beginning.catch(() => this.#begun.delete(key))
    return beginning
  }

  /** Likewise where there is nothing to do yet: what comes and goes until the next plan would be missing. */
  async beginEmpty(starts: readonly LoadStart[]): Promise<void> {
    for (const start of starts) {
      try {
        await this.#begin(start, start)
      } catch (error) {
        // A topic that has been deleted since has nothing that could be missing.
        if (!(error instanceof UnknownTopicOrPartitionError)) throw error
      }
    }
  }

  async #begin(
    { topic, partition }: Omit<LoadStart, 'startOffset'>,
    { startOffset: offset }: Pick<LoadStart, 'startOffset'>,
  ): Promise<OffsetRange | null> {
    const committed = await this.#consumer.committed({ topic, partition })
    if (committed !== null) return cutOffOf(committed)
    await this.#consumer.commit([{ topic, partition, offset }])
    return null
  }

  async #beginBehindCut(
    first: LoadTask,
    cutOff: OffsetRange,
    { place, sink }: { readonly place: LoadPlace; readonly sink: Sink },
  ): Promise<void> {
    const { topic, partition } = first
    const { startOffset: offset } = cutOff
    const where = { topic, partition, topicId: place.topicId }
    const published = checkPublished(await sink.published(where, offset))
    if (first.startOffset > offset || published.some((each) => overlaps(each, cutOff))) {
      throw lostSince(place.partition, cutOff)
    }
    // From now on what the sink holds there is of the log as it is.
    await this.#consumer.commit([{ topic, partition, offset }])
  }

  /** What is committed for a partition, 0 for nothing. */
  async committed({ topic, partition }: LoadTask): Promise<number> {
    return (await this.#consumer.committed({ topic, partition }))?.offset ?? 0
  }

  /**
   * Enters a task as done, and commits how far that brings its partition, if it does.
   *
   * @param leaderEpoch of its last record, as it was before it was loaded.
   * @throws {@link OffsetOutOfRangeError} when the log has lost records that were loaded.
   */
  async finish(task: LoadTask, partition: Partition, leaderEpoch: number | null): Promise<void> {
    this.#done.set(task, leaderEpoch)
    // One at a time, so that none overtakes one that is further; a failed one is its caller's matter.
    const commit = this.#commits.then(() => this.#commitPrefix(task, partition))
    this.#commits = commit.catch(() => undefined)
    await commit
  }

  /** Commits in progress are waited for. */
  async close(): Promise<void> {
    await this.#commits
    await this.#consumer.close()
  }

  async #commitPrefix(task: LoadTask, source: Partition): Promise<void> {
    const open = this.#open.get(keyOf(task)) ?? []
    const gap = open.findIndex((each) => !this.#done.has(each))
    const prefix = gap < 0 ? [...open] : open.slice(0, gap)
    const lost = prefix.filter((each) => this.#keptOf(each, source) < each.endOffset)
    const last = lost.at(-1) ?? prefix.at(-1)
    if (last === undefined) return
    const { endOffset } = last
    const offset = this.#keptOf(lost[0] ?? last, source)
    // What is lost is noted in any case: the next run has to know that it was loaded.
    if (lost.length > 0 || offset > (await this.committed(task))) {
      const leaderEpoch = this.#done.get(last) ?? null
      await this.#consumer.commit([loadCommit(last, { offset, leaderEpoch })])
    }
    if (lost.length > 0) throw lostSince(source, { startOffset: offset, endOffset })
    // After the commit: if it fails, the next one of the partition has to bring it along.
    for (const each of open.splice(0, prefix.length)) this.#done.delete(each)
  }

  /** Up to where the log still has the records of a task that is done. */
  #keptOf(task: LoadTask, { log }: Partition): number {
    const end = log.reader.endOffsetForEpoch(this.#done.get(task) ?? null)
    return Math.min(end ?? Infinity, task.endOffset)
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
