import { reasonOf } from '../checks.ts'
import { ClosedError, VarveError, type Broker } from '../index.ts'
import type { LoadTask } from './load-task.ts'
import type { LoadResult } from './run-load.ts'

/** A failed task and the reason. */
export interface LoadFailure {
  readonly task: LoadTask
  readonly error: unknown
}

const NAMED_FAILURES = 3

/** Some tasks of a load failed, each after all `retries`. All other tasks are done. */
export class LoadFailedError extends VarveError {
  override readonly name = 'LoadFailedError'
  readonly code = 'LOAD_FAILED'
  readonly failures: readonly LoadFailure[]
  /** What the run has done despite the failures. */
  readonly result: LoadResult

  constructor(failures: readonly LoadFailure[], result: LoadResult) {
    const named = failures.slice(0, NAMED_FAILURES).map(({ task, error }) => {
      const reason = reasonOf(error)
      return `${describeTask(task)}: ${reason}`
    })
    const others = failures.length > NAMED_FAILURES ? ['…'] : []
    super(
      `${failures.length} of ${failures.length + result.tasks} tasks failed: ${[...named, ...others].join('; ')}`,
      { cause: failures[0]?.error },
    )
    this.failures = failures
    this.result = result
  }
}

/** Records to be loaded have been deleted, by retention or by `deleteRecords`. */
export class RecordsGoneError extends VarveError {
  override readonly name = 'RecordsGoneError'
  readonly code = 'RECORDS_GONE'
  readonly topic: string
  readonly partition: number
  /** The first offset to be loaded that has been deleted. */
  readonly startOffset: number
  /** Exclusive: the first offset after it that still exists or is not part of the load. */
  readonly endOffset: number

  constructor(gone: LoadTask) {
    super(
      `the records ${gone.startOffset} to ${gone.endOffset} (exclusive) of ` +
        `${gone.topic}-${gone.partition} no longer exist: retention or deleteRecords deleted them ` +
        'before they were loaded',
    )
    this.topic = gone.topic
    this.partition = gone.partition
    this.startOffset = gone.startOffset
    this.endOffset = gone.endOffset
  }
}

/**
 * The error to report for one in a load. The caller does not know the consumer that commits for the
 * load, so a closed one is reported as the closed broker.
 */
export function reasonInLoad(broker: Broker, error: unknown): unknown {
  if (!(error instanceof ClosedError)) return error
  try {
    broker.topics()
    return error
  } catch {
    return new ClosedError('the broker was closed during the load')
  }
}

/** The task's name in messages. */
export function describeTask({ topic, partition, startOffset, endOffset }: LoadTask): string {
  return `${topic}-${partition} ${startOffset} to ${endOffset}`
}
