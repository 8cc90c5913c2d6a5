import {
  abortSignal,
  checkOptions,
  describeValue,
  objectWith,
  oneOf,
  wholeNumber,
  type Checks,
  type Resolved,
} from '../checks.ts'
import type { Clock, ConsumerRecord } from '../index.ts'
import { systemClock } from '../platform/system-clock.ts'

/** What a write receives besides its records. */
export interface PushContext {
  /**
   * Aborted with the push, so that a write need not wait any longer. All writes share this signal;
   * any number of listeners may be added. A `stop` does not abort it.
   */
  readonly signal: AbortSignal
  /** From 1, higher for each retry. A later push begins at 1 again. */
  readonly attempt: number
}

/**
 * What to do with records that could not be written after all retries: `'stop'` ends the push with
 * the error, `'skip'` commits them as if they were written, and a function can first store them
 * elsewhere. With `'skip'` and a function, the result counts them as `failed`.
 */
export type PushErrorHandler<K, V> =
  | 'stop'
  | 'skip'
  | ((error: unknown, records: readonly ConsumerRecord<K, V>[]) => void | Promise<void>)

/** Options of {@link pushTo}. */
export interface PushOptions<K = Buffer, V = Buffer> {
  /**
   * Writes that run concurrently, [1, 10000]. A failed write that waits for its retry counts: as
   * many of them as this limit hold up all other records until the first of them is retried. A
   * `drain` may run one write more, because the writes of other partitions may hang.
   *
   * @defaultValue 4
   */
  readonly concurrency?: number | undefined
  /**
   * Maximum number of records that have been passed to writes and cannot be committed yet, because
   * they, or records before them in their partition, are not acknowledged; at least 1. A crash
   * repeats them. It may also repeat up to two polls of records whose commit was in progress.
   *
   * @defaultValue 1000
   */
  readonly maxInFlight?: number | undefined
  /**
   * Maximum number of records of a partition in one write, which receives them as an array; at
   * least 1. Without this option, a write receives a single record.
   */
  readonly batchRecords?: number | undefined
  /**
   * What is written in order, one write after another: each partition, or each key as the
   * deserializer returns it. With `'key'`, records whose key is null or deserialized to `null` have
   * no order. @defaultValue `'partition'`
   */
  readonly orderBy?: 'partition' | 'key' | undefined
  /** How often a failed write is retried, at least 0. @defaultValue 3 */
  readonly retries?: number | undefined
  /**
   * Delay before the first retry in ms, at least 0. Each further delay is twice as long. None is
   * longer than 30 s, whatever this option is.
   *
   * @defaultValue 100
   */
  readonly retryBackoffMs?: number | undefined
  /** @defaultValue `'stop'` */
  readonly onError?: PushErrorHandler<K, V> | undefined
  /** Aborts the push, which rejects with the signal's reason once writes in progress have ended. */
  readonly signal?: AbortSignal | undefined
  /** Used for delays. @defaultValue the real one */
  readonly clock?: Clock | undefined
}

/** {@link PushOptions} with defaults filled in. */
export interface ResolvedPushOptions<K, V> extends Resolved<
  Omit<PushOptions<K, V>, 'batchRecords' | 'signal'>
> {
  /** `null` for single records that are not in an array. */
  readonly batchRecords: number | null
  readonly signal: AbortSignal | null
}

const OPTIONS: Checks<PushOptions> = {
  concurrency: wholeNumber(1, 10_000),
  maxInFlight: wholeNumber(1),
  batchRecords: wholeNumber(1),
  orderBy: oneOf('partition', 'key'),
  retries: wholeNumber(0),
  retryBackoffMs: wholeNumber(0),
  onError: (name, value) => {
    if (value === 'stop' || value === 'skip' || typeof value === 'function') return
    throw new TypeError(`${name} must be 'stop', 'skip' or a function, got ${describeValue(value)}`)
  },
  signal: abortSignal,
  clock: objectWith('now', 'monotonic', 'startTimer'),
}

/** Checks the options of a push and fills in defaults. @throws TypeError or RangeError */
export function resolvePushOptions<K, V>(options: PushOptions<K, V>): ResolvedPushOptions<K, V> {
  const checked = checkOptions('push options', options, OPTIONS as Checks<PushOptions<K, V>>)
  return {
    concurrency: checked.concurrency ?? 4,
    maxInFlight: checked.maxInFlight ?? 1000,
    batchRecords: checked.batchRecords ?? null,
    orderBy: checked.orderBy ?? 'partition',
    retries: checked.retries ?? 3,
    retryBackoffMs: checked.retryBackoffMs ?? 100,
    onError: checked.onError ?? 'stop',
    signal: checked.signal ?? null,
    clock: checked.clock ?? systemClock,
  }
}
