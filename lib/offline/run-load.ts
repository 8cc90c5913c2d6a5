import { setMaxListeners } from 'node:events'
import {
  ClosedError,
  CorruptRecordError,
  IllegalStateError,
  OffsetOutOfRangeError,
  ReadOnlyError,
  UnknownTopicOrPartitionError,
  type Broker,
  type Clock,
  type Partition,
} from '../index.ts'
import {
  abortSignal,
  callback,
  checkOptions,
  describeValue,
  objectWith,
  refuseThenable,
  wholeNumber,
  type Checks,
} from '../checks.ts'
import { onAbort } from '../platform/abort-listeners.ts'
import { systemClock } from '../platform/system-clock.ts'
import { pause } from '../platform/pause.ts'
import { checkSink, SinkMisuse } from './arguments.ts'
import { LoadFailedError, reasonInLoad, RecordsGoneError, type LoadFailure } from './load-errors.ts'
import { LoadOffsets } from './load-offsets.ts'
import { LoadPlan } from './load-plan.ts'
import { loadRange, publishedBehind, type LoadPlace } from './load-range.ts'
import type { LoadTask, OffsetRange } from './load-task.ts'
import { JoinedRanges, subtractRanges } from './offset-ranges.ts'
import { MissingModuleError } from './optional-module.ts'
import type { Sink } from './sink.ts'
import { sinkOfRun } from './sink-of-run.ts'

/** Options of {@link runLoad}. */
export interface RunLoadOptions {
  /** Tasks that run concurrently, [1, 1000]. Each holds what its sink buffers. @defaultValue 4 */
  readonly concurrency?: number | undefined
  /**
   * Aborts the run. It rejects with the signal's reason once the writers are aborted, which waits
   * for their calls in progress and those of `open`: see `TaskContext`.
   */
  readonly signal?: AbortSignal | undefined
  /** Called after each write and after each task. An exception from it ends the run. */
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined
  /** How often a failed task is retried, at least 0. @defaultValue 2 */
  readonly retries?: number | undefined
  /** Used for the delays before retries and for `durationMs`. @defaultValue the real one */
  readonly clock?: Clock | undefined
}

/** Result of a run. */
export interface LoadResult {
  /** Tasks that are done, including those that were already done before. */
  readonly tasks: number
  /** Records that this run has written to the sink. */
  readonly records: number
  /** Records that the sink has rejected. */
  readonly rejected: number
  /** Bytes that the sink has written, as far as the sink knows. */
  readonly bytes: number
  /** Number of those tasks of which the sink already had everything. */
  readonly skipped: number
  readonly durationMs: number
}

/** Progress of a run. */
export interface LoadProgress extends LoadResult {
  /** Number of tasks in the plan. */
  readonly totalTasks: number
  /** Number of offsets in the plan. */
  readonly totalOffsets: number
  /** Offsets that are written or were in the sink before, including those of tasks in progress. */
  readonly offsets: number
}

/** The check for each option of {@link RunLoadOptions}. */
export const RUN_OPTIONS: Checks<RunLoadOptions> = {
  concurrency: wholeNumber(1, 1000),
  signal: abortSignal,
  onProgress: callback,
  retries: wholeNumber(0),
  clock: objectWith('now', 'monotonic', 'startTimer'),
}

const FIRST_RETRY_MS = 100
const LONGEST_RETRY_MS = 10_000

/** Errors that a retry does not change. */
const FINAL_ERRORS = [
  RecordsGoneError,
  OffsetOutOfRangeError,
  CorruptRecordError,
  UnknownTopicOrPartitionError,
  ClosedError,
  MissingModuleError,
  // An invalid result from a sink, which would return the same again.
  SinkMisuse,
] as const

/** Names of running loads: two loads of one name must not write the same records to a sink. */
const running = new WeakMap<Broker, Set<string>>()

/**
 * Runs the tasks of a plan, several at a time, and commits the load's offsets as tasks finish.
 * Records that the sink already has are not loaded again, no matter who wrote them. After a failure
 * or a crash, call it again with the same plan or a new one: it continues where it stopped.
 *
 * If the log has lost records that were loaded, the tasks of that partition fail with
 * `OffsetOutOfRangeError` until those records are removed from the sink and a plan starts at the
 * first lost offset or below.
 *
 * A failed task is retried after 100 ms. The delay doubles with each retry, up to 10 s. The other
 * tasks continue meanwhile, and the run rejects at the end.
 *
 * @throws {@link LoadFailedError} with the failed tasks, once all others are done.
 * @throws `ReadOnlyError` if the plan's broker is read-only, as offsets cannot be committed.
 * @throws `IllegalStateError` while another load of this name runs.
 * @throws TypeError or RangeError for invalid options; the signal's reason.
 */
export async function runLoad(
  plan: LoadPlan,
  sink: Sink,
  options: RunLoadOptions = {},
): Promise<LoadResult> {
  const checked = checkOptions('run options', options, RUN_OPTIONS)
  if (!(plan instanceof LoadPlan)) {
    throw new TypeError(
      `plan must be the result of planLoad() or LoadPlan.restore(), got ${describeValue(plan)}`,
    )
  }
  checkSink('sink', sink)
  const { broker, name } = plan
  if (broker.describe().readOnly) {
    throw new ReadOnlyError('a load commits offsets, but the broker is open for reading only')
  }
  const names = running.get(broker) ?? new Set()
  running.set(broker, names)
  if (names.has(name)) throw new IllegalStateError(`the load '${name}' is already running`)
  names.add(name)
  try {
    return await new LoadRun(plan, sink, checked).run()
  } finally {
    names.delete(name)
  }
}

class LoadRun {
  readonly #plan: LoadPlan
  readonly #sink: Sink
  readonly #options: RunLoadOptions
  readonly #clock: Clock
  readonly #offsets: LoadOffsets
  readonly #failures: LoadFailure[] = []
  readonly #startMs: number
  readonly #totalOffsets: number
  /** Aborted to end the run early, by the caller's signal or by a callback that throws. */
  readonly #stop = new AbortController()
  readonly #counts = { tasks: 0, records: 0, rejected: 0, bytes: 0, skipped: 0, offsets: 0 }
  /** How far each partition has been flushed, or is being flushed. */
  readonly #flushes = new Map<
    Partition,
    { readonly endOffset: number; readonly done: Promise<void> }
  >()
  /** The ranges of each partition that the sink returned when first asked. */
  readonly #held = new Map<Partition, JoinedRanges>()
  #next = 0

  constructor(plan: LoadPlan, sink: Sink, options: RunLoadOptions) {
    this.#plan = plan
    this.#sink = sinkOfRun(sink, this.#stop.signal)
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#startMs = this.#clock.monotonic()
    this.#totalOffsets = plan.tasks.reduce((sum, task) => sum + sizeOf(task), 0)
    this.#offsets = new LoadOffsets(plan)
    // Node.js warns of a leak from eleven listeners on, and the sink may add one for each task.
    setMaxListeners(0, this.#stop.signal)
  }

  async run(): Promise<LoadResult> {
    const { concurrency = 4, signal } = this.#options
    const stop = (): void => {
      this.#stop.abort(signal?.reason)
    }
    if (signal?.aborted === true) stop()
    const stopFollowing = signal === undefined ? null : onAbort(signal, stop)
    try {
      await this.#beginEmpty()
      const workers = Math.min(concurrency, this.#plan.tasks.length)
      await Promise.all(Array.from({ length: workers }, () => this.#work()))
    } finally {
      stopFollowing?.()
      await this.#offsets.close()
    }
    this.#stop.signal.throwIfAborted()
    if (this.#failures.length > 0) throw new LoadFailedError(this.#failures, this.#result())
    return this.#result()
  }

  async #beginEmpty(): Promise<void> {
    const { broker, begins } = this.#plan
    try {
      await this.#offsets.beginEmpty(begins, this.#stop.signal)
    } catch (error) {
      throw reasonInLoad(broker, error)
    }
  }

  /** Runs one task after another. Never rejects. */
  async #work(): Promise<void> {
    for (;;) {
      const task = this.#plan.tasks[this.#next]
      if (task === undefined || this.#stop.signal.aborted) return
      this.#next += 1
      await this.#takeTask(task)
    }
  }

  async #takeTask(task: LoadTask): Promise<void> {
    const { retries = 2 } = this.#options
    const { signal } = this.#stop
    for (let attempt = 0; !signal.aborted; attempt += 1) {
      try {
        await this.#load(task)
        return
      } catch (error) {
        if (attempt >= retries || FINAL_ERRORS.some((each) => error instanceof each)) {
          this.#failures.push({ task, error: reasonInLoad(this.#plan.broker, error) })
          return
        }
        const delayMs = Math.min(FIRST_RETRY_MS * 2 ** attempt, LONGEST_RETRY_MS)
        await pause(this.#clock, delayMs, signal).catch(() => undefined)
      }
    }
  }

  async #load(task: LoadTask): Promise<void> {
    const { signal } = this.#stop
    let counted = 0
    const count = (offsets: number): void => {
      this.#counts.offsets += offsets - counted
      counted = offsets
    }
    try {
      const topic = this.#plan.broker.topic(task.topic)
      const partition = topic.partition(task.partition)
      const place = { topicId: topic.id, partition }
      // Flushed before the load's reach is committed: a power loss must not lose records that the
      // commit covers.
      await this.#flush(partition, task)
      const reach = await this.#offsets.begin(task, place, this.#sink)
      const ranges = await this.#missingOf(task, place)
      let done = sizeOf(task) - ranges.reduce((sum, range) => sum + sizeOf(range), 0)
      count(done)
      for (const range of ranges) {
        const onWritten = (nextOffset: number): void => {
          count(done + nextOffset - range.startOffset)
          this.#report()
        }
        const piece = { ...task, ...range }
        const how = { signal, onWritten, leaderEpoch: reach.leaderEpoch }
        const result = await loadRange(partition, piece, this.#sink, how)
        this.#counts.records += result.records
        this.#counts.rejected += result.rejected
        this.#counts.bytes += result.bytes
        done += sizeOf(range)
        count(done)
      }
      await this.#offsets.finish(task, partition, reach)
      this.#counts.tasks += 1
      if (ranges.length === 0) this.#counts.skipped += 1
    } catch (error) {
      count(0)
      throw error
    }
    this.#report()
  }

  /**
   * A topic with a relaxed flush delivers records that a power loss may lose. Their offsets are
   * then reused for other records. The flush ensures that the log holds what the sink holds.
   */
  #flush(partition: Partition, { endOffset }: LoadTask): Promise<void> {
    const before = this.#flushes.get(partition)
    if (before !== undefined && before.endOffset >= endOffset) return before.done
    const flush = { endOffset: partition.highWatermark, done: partition.flush() }
    this.#flushes.set(partition, flush)
    // The next attempt flushes again.
    flush.done.catch(() => this.#flushes.delete(partition))
    return flush.done
  }

  /**
   * The parts of a task that are not in the sink yet. If the sink had all of it when it was first
   * asked about the partition, the task counts as done. Otherwise the sink is asked again, as
   * others may load into it too.
   */
  async #missingOf(task: LoadTask, place: LoadPlace): Promise<readonly OffsetRange[]> {
    const committed = this.#plan.resumes ? await this.#offsets.committed(task) : 0
    if (committed >= task.endOffset) return []
    const left = { ...task, startOffset: Math.max(task.startOffset, committed) }
    const { partition } = place
    const held = this.#held.get(partition)
    // A sink that holds more than the log is asked every time, so that the load is refused.
    const isCertain = held !== undefined && held.endOffset <= partition.logEndOffset
    if (isCertain && held.hold(left)) return []
    const published = await publishedBehind(left, place, this.#sink)
    if (held === undefined) this.#held.set(partition, new JoinedRanges(published))
    return subtractRanges(left, published)
  }

  #report(): void {
    // The type of the option also admits functions that return a value.
    const onProgress: ((progress: LoadProgress) => unknown) | undefined = this.#options.onProgress
    if (onProgress === undefined || this.#stop.signal.aborted) return
    try {
      const told: unknown = onProgress({
        ...this.#result(),
        offsets: this.#counts.offsets,
        totalTasks: this.#plan.tasks.length,
        totalOffsets: this.#totalOffsets,
      })
      refuseThenable('onProgress must not be asynchronous', told)
    } catch (error) {
      this.#stop.abort(error)
    }
  }

  #result(): LoadResult {
    const { tasks, records, rejected, bytes, skipped } = this.#counts
    const durationMs = this.#clock.monotonic() - this.#startMs
    return { tasks, records, rejected, bytes, skipped, durationMs }
  }
}

function sizeOf({ startOffset, endOffset }: OffsetRange): number {
  return endOffset - startOffset
}
