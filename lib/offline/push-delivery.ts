import { pause } from '../platform/pause.ts'
import type { PushContext, ResolvedPushOptions } from './push-options.ts'
import type { PushEntry } from './push-queue.ts'
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

/** Passes records to the target, retries failed writes, and counts the outcomes. */
export class PushDelivery<K, V> {
  readonly #write: Write<K, V>
  readonly #options: ResolvedPushOptions<K, V>
  /** The signal that writes receive. */
  readonly #signal: AbortSignal
  readonly #stopping: AbortSignal
  #written = 0
  #failed = 0
  #retries = 0

  /**
   * @param signals.ending for writes: aborted when they need not continue
   * @param signals.stopping aborted when no write is retried any more
   */
  constructor(
    write: Write<K, V>,
    options: ResolvedPushOptions<K, V>,
    { ending, stopping }: { readonly ending: AbortSignal; readonly stopping: AbortSignal },
  ) {
    this.#write = write
    this.#options = options
    this.#signal = ending
    this.#stopping = stopping
  }

  /** The result so far. */
  get result(): PushResult {
    return { written: this.#written, failed: this.#failed, retries: this.#retries }
  }

  /**
   * @param over aborted when a retry is pointless, because the records are delivered again
   * @returns whether the records are processed
   * @throws the last error if it ends the push, or the error of `onError`
   */
  async deliver(entries: readonly PushEntry<K, V>[], over: AbortSignal): Promise<boolean> {
    const { retries, retryBackoffMs, clock, onError } = this.#options
    // A new array each time, as a write or `onError` may have modified the previous one.
    const recordsOf = (): ConsumerRecord<K, V>[] => entries.map(({ record }) => record)
    const signal = this.#signal
    const isUnwanted = (): boolean => this.#stopping.aborted || over.aborted
    for (let attempt = 1; ; attempt += 1) {
      try {
        await this.#write(recordsOf(), { signal, attempt })
        this.#written += entries.length
        return true
      } catch (error) {
        if (isUnwanted()) return false
        if (attempt <= retries) {
          const delayMs = Math.min(MAX_BACKOFF_MS, retryBackoffMs * 2 ** (attempt - 1))
          await pause(clock, delayMs, this.#stopping, over).catch(() => undefined)
          if (isUnwanted()) return false
          this.#retries += 1
          continue
        }
        if (onError === 'stop') throw error
        if (onError !== 'skip') await onError(error, recordsOf())
        this.#failed += entries.length
        return true
      }
    }
  }
}
