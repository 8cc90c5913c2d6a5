import type { StoredRecord } from '../index.ts'
import type { LoadTask, OffsetRange } from './load-task.ts'

/** What came of a task. */
export interface TaskResult {
  /** Records that are in the sink now. */
  readonly records: number
  /** Records that the sink could not take, and has put aside with their offset and a reason. */
  readonly rejected: number
  /** Bytes written; 0 where the sink does not know. */
  readonly bytes: number
}

/** Takes the records of one task. Calls do not overlap. */
export interface TaskWriter {
  /**
   * Takes records in offset order. Resolves when it may be given more, which bounds the memory in use.
   */
  write(records: readonly StoredRecord[]): Promise<void>
  /**
   * Makes all of the task durable and visible, in one step: after a crash it is there as a whole or
   * not at all, and {@link Sink.published} says which.
   */
  commit(): Promise<TaskResult>
  /**
   * Lets go of what this writer has written, and of nothing else: another may have committed the
   * same task meanwhile. Also called when `write` or `commit` has failed.
   */
  abort(): Promise<void>
}

/**
 * Where a load goes: files, a database, an object store. What it has committed must be known to it
 * after a crash, because the load's own offset is committed only after it.
 */
export interface Sink {
  /**
   * The ranges of a partition that are committed in the sink and end above `fromOffset`, in any
   * order. They are not loaded again.
   *
   * @param partition.topicId `Topic.id`: tells a topic from an earlier one of its name, whose offsets
   * mean other records. A load always tells it; a sink that keeps it can refuse what is not of the
   * topic that it holds.
   */
  published(
    partition: { readonly topic: string; readonly partition: number; readonly topicId?: string },
    fromOffset: number,
  ): Promise<readonly OffsetRange[]>
  /** Begins a task. Several may be open at the same time. */
  open(task: LoadTask): Promise<TaskWriter>
}
