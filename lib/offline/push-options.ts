import {
  abortSignal,
  checkOptions,
  describeValue,
  objectWith,
  oneOf,
  wholeNumber,
  type Checks,
} from '../checks.ts'
import type { Clock, ConsumerRecord } from '../index.ts'
import { systemClock } from '../platform/system-clock.ts'

/** What a write is told besides its records. */
export interface PushContext {
  /** Aborted when the push is, so that a write need not wait any longer. */
  readonly signal: AbortSignal
  /** From 1; more when it is tried again. */
  readonly attempt: number
}

/**
 * What becomes of records that could not be written, however often it was tried: the push ends with
 * the error, or they are committed as if they were written, or a function puts them somewhere else first.
 * In the last two cases the result counts them as `failed`.
 */
export type PushErrorHandler<K, V> =
  | 'stop'
  | 'skip'
  | ((error: unknown, records: readonly ConsumerRecord<K, V>[]) => void | Promise<void>)

/** What {@link pushTo} takes. */
export interface PushOptions<K = Buffer, V = Buffer> {
  /** Writes that run at the same time, [1, 10000]. @defaultValue 4 */
  readonly concurrency?: number
  /**
   * Records that have been handed to writes and are not acknowledged, or stand behind one that is not, so
   * that no commit can cover them; at least 1. Those that are acknowledged and whose commit is on its way do
   * not count: a crash may repeat up to two polls of them besides. @defaultValue 1000
   */
  readonly maxInFlight?: number
  /**
   * Records of a partition that one write gets at most, as an array; at least 1. Absent: a write gets
   * one record.
   */
  readonly batchRecords?: number
  /**
   * What keeps its order, one write after the other: a partition, or a key, as the deserializer gives it,
   * where records without a key, or of which it makes `null`, have no order. @defaultValue `'partition'`
   */
  readonly orderBy?: 'partition' | 'key'
  /** How often a write that fails is tried again, at least 0. @defaultValue 3 */
  readonly retries?: number
  /** Milliseconds before that, which double each time up to 30 s. @defaultValue 100 */
  readonly retryBackoffMs?: number
  /** @defaultValue `'stop'` */
  readonly onError?: PushErrorHandler<K, V>
  /** Ends the push, which rejects with its reason once the writes in progress have ended. */
  readonly signal?: AbortSignal
  /** For the waits. @defaultValue the real one */
  readonly clock?: Clock
}

/** {@link PushOptions} with what they leave out. */
export interface ResolvedPushOptions<K, V> {
  readonly concurrency: number
  readonly maxInFlight: number
  /** `null` for one record that is not in an array. */
  readonly batchRecords: number | null
  readonly orderBy: 'partition' | 'key'
  readonly retries: number
  readonly retryBackoffMs: number
  readonly onError: PushErrorHandler<K, V>
  readonly signal: AbortSignal | null
  readonly clock: Clock
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

/** Checks what a push is told and fills in the rest. @throws TypeError or RangeError */
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
