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
import { LoadFailedError, RecordsGoneError, type LoadFailure } from './load-errors.ts'
import { LoadOffsets } from './load-offsets.ts'
import { LoadPlan } from './load-plan.ts'
import { loadRange, publishedBehind, type LoadPlace } from './load-range.ts'
import type { LoadTask, OffsetRange } from './load-task.ts'
import { JoinedRanges, subtractRanges } from './offset-ranges.ts'
import { MissingModuleError } from './optional-module.ts'
import type { Sink } from './sink.ts'

/** How a plan is run. */
export interface RunLoadOptions {
  /** Tasks that run at the same time, [1, 1000]. Each holds what its sink buffers. @defaultValue 4 */
  readonly concurrency?: number
  /** Ends the run, which rejects with its reason once the writers are aborted. */
  readonly signal?: AbortSignal
  /** Told after each write, and after each task. What it throws ends the run. */
  readonly onProgress?: (progress: LoadProgress) => void
  /** How often a task that fails is tried again, at least 0. @defaultValue 2 */
  readonly retries?: number
  /** For the waits before that, and for `durationMs`. @defaultValue the real one */
  readonly clock?: Clock
}

/** What a run has done. */
export interface LoadResult {
  /** Tasks that are done, those that were so before included. */
  readonly tasks: number
  /** Records that this run has put into the sink. */
  readonly records: number
  /** Records that the sink has put aside. */
  readonly rejected: number
  /** Bytes that the sink has written, as far as it knows. */
  readonly bytes: number
  /** Of the tasks, those of which everything was in the sink before. */
  readonly skipped: number
  readonly durationMs: number
}

/** How far a run is. */
export interface LoadProgress extends LoadResult {
  /** Tasks of the plan. */
  readonly totalTasks: number
  /** Offsets of the plan. */
  readonly totalOffsets: number
  /** Offsets that are written or were there before, those of tasks in progress included. */
  readonly offsets: number
}

/** The check of each option of {@link RunLoadOptions}. */
export const RUN_OPTIONS: Checks<RunLoadOptions> = {
  concurrency: wholeNumber(1, 1000),
  signal: abortSignal,
  onProgress: callback,
  retries: wholeNumber(0),
  clock: objectWith('now', 'monotonic', 'startTimer'),
}

const FIRST_RETRY_MS = 100
const LONGEST_RETRY_MS = 10_000

/** What is so once, is so at the next try. */
const FINAL_ERRORS = [
  RecordsGoneError,
  OffsetOutOfRangeError,
  CorruptRecordError,
  UnknownTopicOrPartitionError,
  ClosedError,
  MissingModuleError,
  // What a sink gives that is no answer: it would give the same again.
  SinkMisuse,
] as const

/** Loads that run, so that two of one name cannot put the same records into a sink. */
const running = new WeakMap<Broker, Set<string>>()

/**
 * Runs the tasks of a plan, several at a time, and commits the load's offsets as they are done. What
 * the sink has already is not loaded again, whoever has put it there. Run it again after a failure
 * or a crash, with the same plan or a new one: it goes on where it was.
 *
 * Where the log has lost what was loaded, its tasks fail with `OffsetOutOfRangeError` until the sink has been
 * rid of that, and a plan begins there or below.
 *
 * A task that fails is tried again, after 100 ms, then twice as long each time, up to 10 s; the
 * others go on meanwhile, and in the end the run rejects.
 *
 * @throws {@link LoadFailedError} with the tasks that have failed, when all others are done.
 * @throws `ReadOnlyError` when the broker of the plan is read-only: offsets cannot be committed.
 * @throws `IllegalStateError` while a load of this name runs.
 * @throws TypeError or RangeError for options that are not legal; the signal's reason.
 */
export async function runLoad(
  plan: LoadPlan,
  sink: Sink,
  options: RunLoadOptions = {},
): Promise<LoadResult> {
  const checked = checkOptions('run options', options, RUN_OPTIONS)
  if (!(plan instanceof LoadPlan)) {
    throw new TypeError(
      `plan must be what planLoad or LoadPlan.restore has given, got ${describeValue(plan)}`,
    )
  }
  checkSink('sink', sink)
  const { broker, name } = plan
  if (broker.describe().readOnly) {
    throw new ReadOnlyError('a load commits offsets, and the broker is open for reading only')
  }
  const names = running.get(broker) ?? new Set()
  running.set(broker, names)
  if (names.has(name)) throw new IllegalStateError(`the load '${name}' is running already`)
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
  /** How far each partition has been flushed, or is being so. */
  readonly #flushes = new Map<
    Partition,
    { readonly endOffset: number; readonly done: Promise<void> }
  >()
  /** What the sink has said that it holds of each partition when it was first asked. */
  readonly #held = new Map<Partition, JoinedRanges>()
  #next = 0

  constructor(plan: LoadPlan, sink: Sink, options: RunLoadOptions) {
    this.#plan = plan
    this.#sink = sink
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#startMs = this.#clock.monotonic()
    this.#totalOffsets = plan.tasks.reduce((sum, task) => sum + sizeOf(task), 0)
    this.#offsets = new LoadOffsets(plan.broker, plan.name, plan.tasks)
  }

  async run(): Promise<LoadResult> {
    const { concurrency = 4, signal } = this.#options
    const stop = (): void => {
      this.#stop.abort(signal?.reason)
    }
    if (signal?.aborted === true) stop()
    const stopFollowing = signal === undefined ? null : onAbort(signal, stop)
    try {
      if (!this.#stop.signal.aborted) await this.#offsets.beginEmpty(this.#plan.begins)
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

  /** Takes one task after the other. Never rejects. */
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
          this.#failures.push({ task, error })
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
      // Before it is on record how far the load may come: a power loss must not take what that speaks of.
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
   * A topic with a relaxed flush shows records that a power loss may take, and gives their offsets
   * to others after it. What is in the sink has to be what the log holds.
   */
  #flush(partition: Partition, { endOffset }: LoadTask): Promise<void> {
    const before = this.#flushes.get(partition)
    if (before !== undefined && before.endOffset >= endOffset) return before.done
    const flush = { endOffset: partition.highWatermark, done: partition.flush() }
    this.#flushes.set(partition, flush)
    // The next try asks again.
    flush.done.catch(() => this.#flushes.delete(partition))
    return flush.done
  }

  /**
   * What of a task is not in the sink yet. Where it was all there when the partition began it counts as done
   * then; whatever is to be loaded is asked for now, as others may load into the sink too.
   */
  async #missingOf(task: LoadTask, place: LoadPlace): Promise<readonly OffsetRange[]> {
    const committed = this.#plan.resumes ? await this.#offsets.committed(task) : 0
    if (committed >= task.endOffset) return []
    const left = { ...task, startOffset: Math.max(task.startOffset, committed) }
    const { partition } = place
    const held = this.#held.get(partition)
    // A sink that holds more than the log has is asked each time, and refused.
    const isCertain = held !== undefined && held.endOffset <= partition.logEndOffset
    if (isCertain && held.hold(left)) return []
    const published = await publishedBehind(left, place, this.#sink)
    if (held === undefined) this.#held.set(partition, new JoinedRanges(published))
    return subtractRanges(left, published)
  }

  #report(): void {
    // The type of the option lets functions pass that return something.
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
