import { setMaxListeners } from 'node:events'
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
import { sinkOfRun } from './sink-of-run.ts'

/** Options of {@link runTask}. */
export interface RunTaskOptions {
  /**
   * Aborts the task. It rejects with the signal's reason once the writer is aborted, which waits for
   * its call in progress or that of `open`: see `TaskContext`.
   */
  readonly signal?: AbortSignal | undefined
  /**
   * How long to wait until the end of the task is visible, in milliseconds. A process that reads a
   * directory sees new records shortly after the owner writes them. @defaultValue 30000
   */
  readonly maxWaitMs?: number | undefined
  /** @defaultValue the real one */
  readonly clock?: Clock | undefined
  /** The file system of the directory. Has no effect with a broker. @defaultValue the real one */
  readonly fileSystem?: FileSystem | undefined
}

const TASK_OPTIONS: Checks<RunTaskOptions> = {
  signal: abortSignal,
  maxWaitMs: wholeNumber(0),
  clock: objectWith('now', 'monotonic', 'startTimer'),
  fileSystem: objectWith(...FILE_SYSTEM_METHODS),
}

const DEFAULT_MAX_WAIT_MS = 30_000
/** A follower checks for new topics about once a second. */
const LOOK_AGAIN_MS = 100

/**
 * Runs one task of a plan, in any process. The directory is opened read-only, while its owner may
 * write. The task is published to the sink, but no offset is committed: the next `runLoad` finds
 * the task published and commits it. Records that the sink already has are not loaded again.
 *
 * If two processes run the same task at the same time, its records are in the sink once. Two
 * different tasks that overlap must not run at the same time. Tasks of one plan never overlap.
 *
 * @param source the data directory, or a broker that has it open.
 * @returns what was written to the sink; all counts are 0 if the sink already had everything.
 * @throws TypeError or RangeError for invalid arguments.
 * @throws `TimeoutError` if the log does not reach the end of the task within `maxWaitMs`.
 * @throws {@link RecordsGoneError} if some of the records have been deleted.
 * @throws `OffsetOutOfRangeError` if some of the records are truncated while they are loaded.
 * @throws the errors of the log and of the sink; the signal's reason.
 */
export async function runTask(
  source: string | Broker,
  task: LoadTask,
  sink: Sink,
  options: RunTaskOptions = {},
): Promise<TaskResult> {
  const checked = checkOptions('task options', options, TASK_OPTIONS)
  if (typeof source !== 'string') checkBroker('source, if not a path,', source)
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

/** A signal for all ranges of a task, which is never aborted. */
function endlessSignal(): AbortSignal {
  const { signal } = new AbortController()
  setMaxListeners(0, signal)
  return signal
}

async function doTask(
  broker: Broker,
  task: LoadTask,
  given: Sink,
  options: RunTaskOptions,
): Promise<TaskResult> {
  const { signal } = options
  const sink = sinkOfRun(given, signal ?? endlessSignal())
  const place = await placeThatHolds(broker, task, options)
  const { partition } = place
  const { readOnly } = broker.describe()
  // As `runLoad` does: a power loss must not lose records that the sink holds. Only the owner of
  // the directory can do so.
  if (!readOnly && partition.log.durableEndOffset < task.endOffset) await partition.flush()
  const total = { records: 0, rejected: 0, bytes: 0 }
  const refresh = readOnly ? () => partition.refresh() : undefined
  const published = await publishedBehind(task, place, sink, refresh)
  for (const range of subtractRanges(task, published)) {
    const loading = loadRange(partition, { ...task, ...range }, sink, { signal, refresh })
    const result = await loading.catch((error: unknown) => {
      // The error of a sink that listens to the signal.
      signal?.throwIfAborted()
      throw error
    })
    total.records += result.records
    total.rejected += result.rejected
    total.bytes += result.bytes
  }
  return total
}

/** Waits until the records up to the end of the task are visible. */
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
      // The last look at what the owner has appended or truncated may be long ago.
      await partition.refresh()
      partition.ensureOpen()
      if (partition.highWatermark >= task.endOffset) return { topicId: topic.id, partition }
      if (remainingMs <= 0) {
        throw new TimeoutError(
          `${describeTask(task)} cannot be loaded: after ${maxWaitMs} ms its log is visible ` +
            `only up to offset ${partition.highWatermark}`,
        )
      }
      // A fetch at the end makes a follower read what the owner has written.
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
