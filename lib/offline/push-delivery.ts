import { pause } from '../platform/pause.ts'
import type { PushContext, ResolvedPushOptions } from './push-options.ts'
import type { PushEntry } from './push-queue.ts'
import type { ConsumerRecord } from '../index.ts'

/** What a push calls for the records of one write. */
export type Write<K, V> = (
  records: readonly ConsumerRecord<K, V>[],
  context: PushContext,
) => unknown

/** What a push has done. */
export interface PushResult {
  /** Records that writes have acknowledged. */
  readonly written: number
  /** Records that could not be written, and were skipped or put somewhere else. */
  readonly failed: number
  /** Writes that were tried again. */
  readonly retries: number
}

const MAX_BACKOFF_MS = 30_000

/** Hands records to the target, again where it fails, and counts what came of it. */
export class PushDelivery<K, V> {
  readonly #write: Write<K, V>
  readonly #options: ResolvedPushOptions<K, V>
  /** What writes are told. */
  readonly #signal: AbortSignal
  readonly #stopping: AbortSignal
  #written = 0
  #failed = 0
  #retries = 0

  /**
   * @param signals.ending what writes are told: they need not go on
   * @param signals.stopping from when on nothing is tried again
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

  /** What came of it so far. */
  get result(): PushResult {
    return { written: this.#written, failed: this.#failed, retries: this.#retries }
  }

  /**
   * @param over aborted when nobody would hear of a further try, because the records are handed out
   * again
   * @returns whether the records are dealt with
   * @throws the error of the last try where that ends the push, or what `onError` throws
   */
  async deliver(entries: readonly PushEntry<K, V>[], over: AbortSignal): Promise<boolean> {
    const { retries, retryBackoffMs, clock, onError } = this.#options
    // Another array each time: whoever gets one may have taken records off it.
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
