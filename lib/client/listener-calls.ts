import type { TopicPartition } from '../broker/topic-partition.ts'
import type { RebalanceListener } from './rebalance-listener.ts'

/**
 * Calls the application's rebalance listener and waits for each callback. Errors of callbacks are
 * kept, because the rebalance continues.
 */
export class ListenerCalls {
  #listener: RebalanceListener = {}
  #runningCount = 0
  #isCalling = false
  readonly #afterwards: (() => void)[] = []
  /** The first error. */
  #failure: { readonly error: unknown } | null = null
  readonly #errors: WeakSet<object> = new WeakSet()

  /** Whether a callback is running. */
  get isRunning(): boolean {
    return this.#runningCount > 0
  }

  /** Whether a callback is the caller. This is known only until the callback's first await. */
  get isCalling(): boolean {
    return this.#isCalling
  }

  /** Replaces the listener from the next callback on. */
  setListener(listener: RebalanceListener): void {
    this.#listener = listener
  }

  /** Calls back once no callback of the listener is running; at once if none is. */
  afterwards(callback: () => void): void {
    if (this.isRunning) this.#afterwards.push(callback)
    else callback()
  }

  tellAssigned(partitions: readonly TopicPartition[]): Promise<void> {
    return this.#tell(() => this.#listener.onPartitionsAssigned?.(copyOf(partitions)))
  }

  tellRevoked(partitions: readonly TopicPartition[]): Promise<void> {
    return this.#tell(() => this.#listener.onPartitionsRevoked?.(copyOf(partitions)))
  }

  tellLost(partitions: readonly TopicPartition[]): Promise<void> {
    if (this.#listener.onPartitionsLost === undefined) return this.tellRevoked(partitions)
    return this.#tell(() => this.#listener.onPartitionsLost?.(copyOf(partitions)))
  }

  /** Keeps an error that occurred outside the callbacks, unless there is an earlier one. */
  keepFailure(error: unknown): void {
    if (typeof error === 'object' && error !== null) this.#errors.add(error)
    this.#failure ??= { error }
  }

  /** Whether this error was kept. */
  hasKept(error: object): boolean {
    return this.#errors.has(error)
  }

  /** Returns the error since the last call, and clears it. */
  takeFailure(): unknown[] {
    const failure = this.#failure
    this.#failure = null
    return failure === null ? [] : [failure.error]
  }

  async #tell(callback: () => void | Promise<void>): Promise<void> {
    this.#runningCount += 1
    try {
      await this.#call(callback)
    } catch (error) {
      this.keepFailure(error)
    } finally {
      this.#runningCount -= 1
      if (this.#runningCount === 0) {
        for (const each of this.#afterwards.splice(0)) each()
      }
    }
  }

  #call(callback: () => void | Promise<void>): void | Promise<void> {
    const wasCalling = this.#isCalling
    this.#isCalling = true
    try {
      return callback()
    } finally {
      this.#isCalling = wasCalling
    }
  }
}

/** The listener owns its list: it may remove entries that it has dealt with. */
function copyOf(partitions: readonly TopicPartition[]): TopicPartition[] {
  return partitions.map(({ topic, partition }) => ({ topic, partition }))
}
