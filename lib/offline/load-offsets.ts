import { UnknownTopicOrPartitionError, type Broker, type Consumer } from '../index.ts'
import type { LoadStart } from './load-plan.ts'
import type { LoadTask } from './load-task.ts'

/**
 * How far a load has come in each partition: one integer, the end of the tasks that are done without
 * a gap before them, committed for the group of the load's name. It never goes back.
 */
export class LoadOffsets {
  readonly #consumer: Consumer
  /** Of each partition, the tasks that are not done or have one before them that is not. */
  readonly #open = new Map<string, LoadTask[]>()
  readonly #done = new Set<LoadTask>()
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
   */
  begin(task: LoadTask): Promise<void> {
    const key = keyOf(task)
    const begun = this.#begun.get(key)
    if (begun !== undefined) return begun
    const beginning = this.#begin(task, this.#open.get(key)?.[0] ?? task)
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
  ): Promise<void> {
    const committed = await this.#consumer.committed({ topic, partition })
    if (committed === null) await this.#consumer.commit([{ topic, partition, offset }])
  }

  /** What is committed for a partition, 0 for nothing. */
  async committed({ topic, partition }: LoadTask): Promise<number> {
    return (await this.#consumer.committed({ topic, partition }))?.offset ?? 0
  }

  /** Enters a task as done, and commits how far that brings its partition, if it does. */
  async finish(task: LoadTask): Promise<void> {
    this.#done.add(task)
    // One at a time, so that none overtakes one that is further; a failed one is its caller's matter.
    const commit = this.#commits.then(() => this.#commitPrefix(task))
    this.#commits = commit.catch(() => undefined)
    await commit
  }

  /** Commits in progress are waited for. */
  async close(): Promise<void> {
    await this.#commits
    await this.#consumer.close()
  }

  async #commitPrefix(task: LoadTask): Promise<void> {
    const open = this.#open.get(keyOf(task)) ?? []
    let count = 0
    while (isDone(open[count], this.#done)) count += 1
    const last = open[count - 1]
    if (last === undefined) return
    const { topic, partition, endOffset: offset } = last
    if (offset > (await this.committed(task))) {
      await this.#consumer.commit([{ topic, partition, offset }])
    }
    // After the commit: if it fails, the next one of the partition has to bring it along.
    for (const each of open.splice(0, count)) this.#done.delete(each)
  }
}

function isDone(task: LoadTask | undefined, done: ReadonlySet<LoadTask>): boolean {
  return task !== undefined && done.has(task)
}

function keyOf({ topic, partition }: LoadTask): string {
  return `${topic}-${partition}`
}
