import { describeValue, isError } from '../checks.ts'
import { pause } from '../platform/pause.ts'
import type { PushContext, ResolvedPushOptions } from './push-options.ts'
import type { PushEnd } from './push-end.ts'
import type { PushEntry, PushPartition } from './push-queue.ts'
import type { ConsumerRecord } from '../index.ts'

/** The function that a push calls with the records of one write. */
export type Write<K, V> = (
  records: readonly ConsumerRecord<K, V>[],
  context: PushContext,
) => unknown

/** Result of a push. */
export interface PushResult {
  /** Records that writes have acknowledged. */
  readonly written: number
  /** Records that could not be written, and were skipped or passed to the `onError` function. */
  readonly failed: number
  /** Number of retries of writes. */
  readonly retries: number
}

const MAX_BACKOFF_MS = 30_000
const MAX_DOUBLINGS = 30

/** Passes records to the target, retries failed writes, and counts the outcomes. */
export class PushDelivery<K, V> {
  readonly #write: Write<K, V>
  readonly #options: ResolvedPushOptions<K, V>
  readonly #end: PushEnd
  #written = 0
  #failed = 0
  #retries = 0

  constructor(write: Write<K, V>, options: ResolvedPushOptions<K, V>, end: PushEnd) {
    this.#write = write
    this.#options = options
    this.#end = end
  }

  /** The result so far. */
  get result(): PushResult {
    return { written: this.#written, failed: this.#failed, retries: this.#retries }
  }

  /**
   * @param isNeeded whether a stop or a drain during a backoff has the records tried once more
   * @returns whether the records are processed
   * @throws the last error if it ends the push, or the error of `onError`
   */
  async deliver(
    partition: PushPartition<K, V>,
    entries: readonly PushEntry<K, V>[],
    isNeeded: () => boolean,
  ): Promise<boolean> {
    const { retries, onError } = this.#options
    // A new array each time, as a write or `onError` may have modified the previous one.
    const recordsOf = (): ConsumerRecord<K, V>[] => entries.map(({ record }) => record)
    for (let attempt = 1; ; attempt += 1) {
      try {
        await this.#write(recordsOf(), { signal: this.#end.ending, attempt })
        this.#written += entries.length
        return true
      } catch (error) {
        if (this.#isEnding(partition) || partition.isOver) return false
        if (attempt <= retries) {
          if (!(await this.#backOff(partition, entries, attempt, isNeeded))) return false
          this.#retries += 1
          continue
        }
        if (onError === 'stop') throw asError(error, entries)
        if (onError !== 'skip') await onError(error, recordsOf())
        this.#failed += entries.length
        return true
      }
    }
  }

  /**
   * Waits before a retry, but no longer than until the push is stopped or the partition drained.
   *
   * @returns whether to retry
   */
  async #backOff(
    partition: PushPartition<K, V>,
    entries: readonly PushEntry<K, V>[],
    attempt: number,
    isNeeded: () => boolean,
  ): Promise<boolean> {
    const { retryBackoffMs, clock } = this.#options
    const { over, draining } = partition
    for (const each of entries) each.isInWrite = false
    // The power stays finite: times 0, an infinite one would not be a number.
    const doublings = Math.min(attempt - 1, MAX_DOUBLINGS)
    const delayMs = Math.min(MAX_BACKOFF_MS, retryBackoffMs * 2 ** doublings)
    await pause(clock, delayMs, this.#end.stopping, draining, over).catch(() => undefined)
    const isRetried = !partition.isOver && (!this.#isEnding(partition) || isNeeded())
    for (const each of entries) each.isInWrite = isRetried
    return isRetried
  }

  #isEnding({ draining }: PushPartition<K, V>): boolean {
    return this.#end.isStopping || draining.aborted
  }
}

/** What a write of these records has thrown. A value that is not an error says nothing by itself. */
function asError<K, V>(thrown: unknown, entries: readonly PushEntry<K, V>[]): unknown {
  const [first] = entries
  if (isError(thrown) || first === undefined) return thrown
  const { topic, partition } = first.partition
  const place = `${topic}-${partition}@${first.offset}`
  const which = entries.length === 1 ? place : `${entries.length} records from ${place} on`
  return new Error(`the write of ${which} threw ${describeValue(thrown)}`, { cause: thrown })
}
