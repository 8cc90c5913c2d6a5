import { callback, checkOptions, checkWholeNumber, reasonOf, type Checks } from '../checks.ts'
import { InvalidTopicError, type Broker } from '../index.ts'
import { onAbort } from '../platform/abort-listeners.ts'
import { systemClock } from '../platform/system-clock.ts'
import { pause } from '../platform/pause.ts'
import { checkBroker, checkSink } from './arguments.ts'
import { checkPlanOptions, DEFAULT_LOAD_NAME, planLoad, type PlanLoadOptions } from './plan-load.ts'
import { RUN_OPTIONS, runLoad, type LoadResult, type RunLoadOptions } from './run-load.ts'
import type { Sink } from './sink.ts'

/** Options of {@link loadEvery}, in addition to those of a run. */
export interface LoadEveryOptions extends RunLoadOptions {
  /** Called with the result of each run, and awaited. Its exceptions are passed to `onError`. */
  readonly onLoad?: ((result: LoadResult) => void | Promise<void>) | undefined
  /**
   * Called if a plan or a run has failed. The next beat tries again.
   *
   * @defaultValue emits a process warning with the name of the load and the reason
   */
  readonly onError?: ((error: unknown) => void | Promise<void>) | undefined
}

const SCHEDULE_OPTIONS: Checks<LoadEveryOptions> = {
  ...RUN_OPTIONS,
  onLoad: callback,
  onError: callback,
}

/** A repeated load. */
export interface LoadSchedule {
  /** Resolves once the schedule has ended, by `stop`, the signal or its broker. Never rejects. */
  readonly finished: Promise<void>
  /** Ends the schedule after the run in progress. Awaiting it in a callback would wait forever. */
  stop(): Promise<void>
}

const MAX_INTERVAL_MS = Number.MAX_SAFE_INTEGER

/**
 * Plans and runs a load at once, and then every `intervalMs` for the new records. Runs never
 * overlap: a run that takes longer than the interval skips beats. A failure does not end the
 * schedule.
 *
 * The schedule ends when the broker is closed. Stop it first, so that a run in progress completes.
 *
 * @param intervalMs milliseconds, at least 1
 * @param options.signal aborts the run in progress and ends the schedule
 * @param planOptions `onError` is called at each beat at which they do not fit the topics, which may
 * be created and deleted in the meantime
 * @throws TypeError or RangeError if the interval or one of the options is invalid whatever the
 * topics are; `InvalidGroupIdError` or `InvalidTopicError` for a name that no group or topic can have
 * @throws `ClosedError` if the broker is closed
 */
export function loadEvery(
  intervalMs: number,
  broker: Broker,
  planOptions: PlanLoadOptions,
  sink: Sink,
  options: LoadEveryOptions = {},
): LoadSchedule {
  checkWholeNumber('intervalMs', intervalMs, 1, MAX_INTERVAL_MS)
  checkBroker('broker', broker)
  const { name = DEFAULT_LOAD_NAME, topics } = checkPlanOptions(planOptions)
  checkSink('sink', sink)
  const checked = checkOptions('schedule options', options, SCHEDULE_OPTIONS)
  for (const topic of topics) checkTopicName(broker, topic)
  const warn = (error: unknown): void => {
    const what = `the load '${name}' has failed, and the next beat tries again`
    process.emitWarning(loadWarning(what, error))
  }
  const { onLoad, onError = warn, ...runOptions } = checked
  const { clock = systemClock, signal } = runOptions
  const stopping = new AbortController()
  const stop = (): void => {
    stopping.abort()
  }
  const load = async (): Promise<void> => {
    try {
      const plan = await planLoad(broker, planOptions)
      // Not within the call of `onLoad`, as its arguments are not evaluated without a callback.
      const result = await runLoad(plan, sink, runOptions)
      await onLoad?.(result)
    } catch (error) {
      if (signal?.aborted === true) return
      await onError(error)
    }
  }
  const repeat = async (): Promise<void> => {
    const startMs = clock.monotonic()
    let beat = 0
    while (!stopping.signal.aborted) {
      await load().catch((error: unknown) => {
        process.emitWarning(loadWarning(`onError of the load '${name}' has failed`, error))
      })
      const passedMs = clock.monotonic() - startMs
      // A timer may fire early, so that the beat it was for seems to be still to come.
      beat = Math.max(beat, Math.floor(passedMs / intervalMs)) + 1
      const delayMs = beat * intervalMs - passedMs
      await pause(clock, delayMs, stopping.signal).catch(() => undefined)
    }
    stopFollowing?.()
    stopWatching()
  }
  const stopWatching = broker.onClose(stop)
  const stopFollowing = signal === undefined ? null : onAbort(signal, stop)
  if (signal?.aborted === true) stop()
  const finished = repeat()
  return {
    finished,
    stop: () => {
      stop()
      return finished
    },
  }
}

/** The topic itself may be created later. */
function checkTopicName(broker: Broker, name: string): void {
  try {
    broker.topic(name)
  } catch (error) {
    if (error instanceof InvalidTopicError) throw error
  }
}

function loadWarning(what: string, error: unknown): Error {
  return new Error(`${what}: ${reasonOf(error)}`, { cause: error })
}
