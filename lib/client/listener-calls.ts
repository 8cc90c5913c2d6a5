import type { TopicPartition } from '../broker/topic-partition.ts'
import type { RebalanceListener } from './rebalance-listener.ts'

/**
 * Calls the application's rebalance listener, each callback to its end. What a callback throws is kept,
 * because the rebalance goes on.
 */
export class ListenerCalls {
  #listener: RebalanceListener = {}
  #runningCount = 0
  #isCalling = false
  readonly #afterwards: (() => void)[] = []
  /** What was thrown first. */
  #failure: { readonly error: unknown } | null = null

  /** Whether a callback is running. */
  get isRunning(): boolean {
    return this.#runningCount > 0
  }

  /** Whether it is a callback that asks: only until its first await that can be told. */
  get isCalling(): boolean {
    return this.#isCalling
  }

  /** Replaces the listener, from the next callback on. */
  setListener(listener: RebalanceListener): void {
    this.#listener = listener
  }

  /** Calls back once no callback of the listener is running, at once where that is so. */
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

  /** Keeps what has failed beside the callbacks, unless something has before. */
  keepFailure(error: unknown): void {
    this.#failure ??= { error }
  }

  /** What has failed since it was asked last. */
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

/** What the listener is handed is its own: it may take off the list what it is done with. */
function copyOf(partitions: readonly TopicPartition[]): TopicPartition[] {
  return partitions.map(({ topic, partition }) => ({ topic, partition }))
}
