import {
  Broker,
  TimeoutError,
  UnknownTopicOrPartitionError,
  type BrokerOptions,
  type Clock,
} from '../index.ts'
import { abortSignal, checkOptions, objectWith, wholeNumber, type Checks } from '../checks.ts'
import type { FileSystem } from '../platform/file-system.ts'
import { FILE_SYSTEM_METHODS } from '../platform/file-system.ts'
import { systemClock } from '../platform/system-clock.ts'
import { pause } from '../platform/pause.ts'
import { checkBroker, checkSink } from './arguments.ts'
import { describeTask } from './load-errors.ts'
import { checkTask } from './load-plan.ts'
import { loadRange, publishedBehind, type LoadPlace } from './load-range.ts'
import type { LoadTask } from './load-task.ts'
import { subtractRanges } from './offset-ranges.ts'
import type { Sink, TaskResult } from './sink.ts'

/** How a single task is done. */
export interface RunTaskOptions {
  /** Ends the task, which rejects with its reason once the writer is aborted. */
  readonly signal?: AbortSignal
  /**
   * How long to wait for the end of the task to come into sight, in milliseconds: a process that
   * reads a directory sees what its owner writes a little later. @defaultValue 30000
   */
  readonly maxWaitMs?: number
  /** @defaultValue the real one */
  readonly clock?: Clock
  /** Where the directory lies; of no use with a broker. @defaultValue the real one */
  readonly fileSystem?: FileSystem
}

const TASK_OPTIONS: Checks<RunTaskOptions> = {
  signal: abortSignal,
  maxWaitMs: wholeNumber(0),
  clock: objectWith('now', 'monotonic', 'startTimer'),
  fileSystem: objectWith(...FILE_SYSTEM_METHODS),
}

const DEFAULT_MAX_WAIT_MS = 30_000
/** A follower looks for topics about once a second. */
const LOOK_AGAIN_MS = 100

/**
 * Does one task of a plan, in any process: the directory is opened for reading only, while its owner
 * writes. Publishes to the sink and commits no offset: the next `runLoad` finds the task published
 * and commits it. What the sink has already is not loaded again.
 *
 * Two that do one task at the same time leave it once; two tasks that overlap must not be done at
 * the same time, and tasks of one plan never do.
 *
 * @param source the data directory, or a broker that is open on it.
 * @returns what was put into the sink, nothing if that had everything.
 * @throws TypeError or RangeError for arguments that are not legal.
 * @throws `TimeoutError` when the log does not reach the end of the task in time.
 * @throws {@link RecordsGoneError} when some of the records have been deleted.
 * @throws what the log and the sink throw; the signal's reason.
 */
export async function runTask(
  source: string | Broker,
  task: LoadTask,
  sink: Sink,
  options: RunTaskOptions = {},
): Promise<TaskResult> {
  const checked = checkOptions('task options', options, TASK_OPTIONS)
  if (typeof source !== 'string') checkBroker('source, where it is no path,', source)
  const wanted = checkTask('task', task)
  checkSink('sink', sink)
  checked.signal?.throwIfAborted()
  if (typeof source !== 'string') return doTask(source, wanted, sink, checked)
  const { clock, fileSystem } = checked
  const brokerOptions: BrokerOptions = {
    readOnly: true,
    ...(clock === undefined ? {} : { clock }),
    ...(fileSystem === undefined ? {} : { fileSystem }),
  }
  const broker = await Broker.open(source, brokerOptions)
  try {
    return await doTask(broker, wanted, sink, checked)
  } finally {
    await broker.close()
  }
}

async function doTask(
  broker: Broker,
  task: LoadTask,
  sink: Sink,
  options: RunTaskOptions,
): Promise<TaskResult> {
  const { signal } = options
  const place = await placeThatHolds(broker, task, options)
  const { partition } = place
  const total = { records: 0, rejected: 0, bytes: 0 }
  const refresh = broker.describe().readOnly ? () => partition.refresh() : undefined
  const published = await publishedBehind(task, place, sink, refresh)
  for (const range of subtractRanges(task, published)) {
    const result = await loadRange(partition, { ...task, ...range }, sink, { signal })
    total.records += result.records
    total.rejected += result.rejected
    total.bytes += result.bytes
  }
  return total
}

/** Waits until the end of the task can be read. */
async function placeThatHolds(
  broker: Broker,
  task: LoadTask,
  { signal, maxWaitMs = DEFAULT_MAX_WAIT_MS, clock = systemClock }: RunTaskOptions,
): Promise<LoadPlace> {
  const deadlineMs = clock.monotonic() + maxWaitMs
  for (;;) {
    signal?.throwIfAborted()
    const remainingMs = deadlineMs - clock.monotonic()
    try {
      const topic = broker.topic(task.topic)
      const partition = topic.partition(task.partition)
      if (partition.highWatermark >= task.endOffset) return { topicId: topic.id, partition }
      if (remainingMs <= 0) {
        throw new TimeoutError(
          `${describeTask(task)} cannot be loaded: after ${maxWaitMs} ms its log is seen ` +
            `up to ${partition.highWatermark} only`,
        )
      }
      // A read at the end makes a follower look at what the owner has written.
      const wait = { maxBytes: 1, maxWaitMs: Math.min(Math.ceil(remainingMs), LOOK_AGAIN_MS) }
      await partition.fetch(
        partition.highWatermark,
        signal === undefined ? wait : { ...wait, signal },
      )
    } catch (error) {
      if (!(error instanceof UnknownTopicOrPartitionError) || remainingMs <= 0) throw error
      await pause(clock, LOOK_AGAIN_MS, ...(signal === undefined ? [] : [signal]))
    }
  }
}
