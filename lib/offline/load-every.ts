import { callback, checkOptions, checkWholeNumber, errorOf, type Checks } from '../checks.ts'
import type { Broker } from '../index.ts'
import { onAbort } from '../platform/abort-listeners.ts'
import { systemClock } from '../platform/system-clock.ts'
import { pause } from '../platform/pause.ts'
import { checkBroker, checkSink } from './arguments.ts'
import { planLoad, type PlanLoadOptions } from './plan-load.ts'
import { RUN_OPTIONS, runLoad, type LoadResult, type RunLoadOptions } from './run-load.ts'
import type { Sink } from './sink.ts'

/** What {@link loadEvery} takes besides what a run takes. */
export interface LoadEveryOptions extends RunLoadOptions {
  /** Told what each run has done, and awaited; what it throws goes to `onError`. */
  readonly onLoad?: (result: LoadResult) => void | Promise<void>
  /**
   * Told why a plan or a run has failed. The next beat tries again.
   *
   * @defaultValue a warning of the process
   */
  readonly onError?: (error: unknown) => void | Promise<void>
}

const SCHEDULE_OPTIONS: Checks<LoadEveryOptions> = {
  ...RUN_OPTIONS,
  onLoad: callback,
  onError: callback,
}

/** Loads that are repeated. */
export interface LoadSchedule {
  /** Resolves when it has ended, by `stop`, by the signal or with its broker. Never rejects. */
  readonly finished: Promise<void>
  /** Ends it, once the run in progress is through. A callback that awaits this would wait for itself. */
  stop(): Promise<void>
}

const MAX_INTERVAL_MS = Number.MAX_SAFE_INTEGER

/**
 * Plans and runs a load at once, and again each `intervalMs`: what came since. Two runs never
 * overlap: one that takes longer leaves beats out. A failure does not end it.
 *
 * It ends when the broker is closed. Stop it before, so that a run in progress gets through.
 *
 * @param intervalMs milliseconds, at least 1
 * @param options.signal aborts the run in progress and ends the schedule
 * @param planOptions checked by each plan, as topics may come and go: what is not legal is told to `onError`
 * @throws TypeError or RangeError when the interval or one of `options` is not legal
 * @throws `ClosedError` when the broker is closed
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
  checkSink('sink', sink)
  const checked = checkOptions('schedule options', options, SCHEDULE_OPTIONS)
  const { onLoad, onError = warn, ...runOptions } = checked
  const { clock = systemClock, signal } = runOptions
  const stopping = new AbortController()
  const stop = (): void => {
    stopping.abort()
  }
  const load = async (): Promise<void> => {
    try {
      const plan = await planLoad(broker, planOptions)
      // Not inside the call: its arguments would not be evaluated where nobody wants to be told.
      const result = await runLoad(plan, sink, runOptions)
      await onLoad?.(result)
    } catch (error) {
      if (signal?.aborted === true) return
      await Promise.resolve(onError(error)).catch(warn)
    }
  }
  const repeat = async (): Promise<void> => {
    const startMs = clock.monotonic()
    while (!stopping.signal.aborted) {
      await load().catch(warn)
      const passedMs = clock.monotonic() - startMs
      const delayMs = intervalMs - (passedMs % intervalMs)
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

function warn(error: unknown): void {
  process.emitWarning(errorOf(error))
}
