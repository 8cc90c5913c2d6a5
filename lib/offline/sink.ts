import type { StoredRecord } from '../index.ts'
import type { LoadTask, OffsetRange } from './load-task.ts'

/** Result of a task. */
export interface TaskResult {
  /** Records written to the sink. */
  readonly records: number
  /** Records that the sink rejected, and stored separately with their offset and a reason. */
  readonly rejected: number
  /** Bytes written; 0 if the sink does not know. */
  readonly bytes: number
}

/** What a sink receives from the run that uses it. */
export interface TaskContext {
  /**
   * Aborted when the run ends early, by the `signal` of `runLoad` or `runTask` for example. The run
   * does not wait for {@link Sink.published} then, but it ends only once all other calls of the sink
   * in progress have settled. So a sink whose calls may not settle, or take long, must let them
   * reject when the signal is aborted. It is not needed otherwise.
   */
  readonly signal: AbortSignal
}

/** Receives the records of one task. Calls do not overlap. */
export interface TaskWriter {
  /** Takes records in offset order. Resolves when ready for more, which bounds memory use. */
  write(records: readonly StoredRecord[]): Promise<void>
  /**
   * Makes the whole task durable and visible in one step. After a crash either all of it is there
   * or none of it, and {@link Sink.published} says which.
   */
  commit(): Promise<TaskResult>
  /**
   * Discards what this writer has written, and nothing else: another writer may have committed the
   * same task meanwhile. Also called after `write` or `commit` has failed.
   */
  abort(): Promise<void>
}

/**
 * The destination of a load: files, a database, an object store. A sink must know after a crash
 * what it has committed, because the load commits its own offset only afterwards.
 */
export interface Sink {
  /**
   * The ranges of a partition that are committed in the sink and end above `fromOffset`, in any
   * order. They are not loaded again.
   *
   * @param partition.topicId `Topic.id`: distinguishes a topic from an earlier one of the same
   * name, whose offsets refer to other records. A load always passes it. A sink that stores it
   * can refuse records of a topic other than the one it holds.
   * @param context a load always passes it
   */
  published(
    partition: { readonly topic: string; readonly partition: number; readonly topicId?: string },
    fromOffset: number,
    context?: TaskContext,
  ): Promise<readonly OffsetRange[]>
  /**
   * Starts a task. Several may be open at the same time.
   *
   * @param context a load always passes it
   */
  open(task: LoadTask, context?: TaskContext): Promise<TaskWriter>
}
