import { topicPartitionKey, type TopicPartition } from '../broker/topic-partition.ts'
import type { ConsumerRecord } from './consumer-record.ts'
import type { RecordHolder } from './offset-committer.ts'
import type { PollLoop } from './poll-loop.ts'
import { RecordIterator } from './record-iterator.ts'
import type { SubscriptionState } from './subscription-state.ts'

/** What the iterations of one consumer share. */
export interface IterationParts<K, V> {
  readonly subscription: SubscriptionState
  readonly loop: PollLoop<K, V>
  /** Maximum length of one wait for records. */
  readonly maxWaitMs: number
}

/** Minimum time that an iteration waits before it checks group and commits again. */
const MIN_WAIT_MS = 1

/**
 * The iterations over one consumer, each with the record that its loop is processing. Usually there
 * is only one.
 */
export class Iterations<K, V> implements Iterable<RecordHolder> {
  readonly #running: Set<RecordIterator<K, V>> = new Set()
  #isTaking = false

  /** Starts an iteration at the consumer's current position. */
  start(parts: IterationParts<K, V>): RecordIterator<K, V> {
    const { loop } = parts
    const maxWaitMs = Math.max(MIN_WAIT_MS, parts.maxWaitMs)
    const iterator = new RecordIterator<K, V>({
      isClosed: () => loop.isStopped,
      takeReady: () => this.#takeReady(loop),
      poll: async (signal, hold) => {
        loop.handOver(await loop.run({ maxCount: 1, maxWaitMs, signal }, hold))
      },
      end: (ended) => {
        this.#running.delete(ended)
        // A waiting poll is waiting for records after this one.
        if (rewind(parts.subscription, ended)) loop.notify()
      },
    })
    this.#running.add(iterator)
    return iterator
  }

  /**
   * Called when the partition was moved, given up or emptied: its held records no longer matter.
   */
  readonly release = ({ topic, partition }: TopicPartition): void => {
    for (const iterator of this.#running) {
      const { held } = iterator
      if (held?.topic === topic && held.partition === partition) iterator.release()
    }
  };

  [Symbol.iterator](): IterableIterator<RecordHolder> {
    return this.#running.values()
  }

  /**
   * If a deserializer requests a record, that request waits for the deserializer's own record, and
   * then continues after it.
   */
  #takeReady(loop: PollLoop<K, V>): ConsumerRecord<K, V> | null {
    if (this.#isTaking) return null
    this.#isTaking = true
    try {
      return loop.takeReady()
    } finally {
      this.#isTaking = false
    }
  }
}

/**
 * Makes a record that is not done be delivered again, as if it had not been returned.
 *
 * @returns whether that has moved the partition
 */
function rewind(subscription: SubscriptionState, { held }: RecordHolder): boolean {
  if (held === null) return false
  const state = subscription.assigned.get(topicPartitionKey(held))
  if (state?.position == null || state.position <= held.offset) return false
  // The record's own deserializer may have moved the partition before the record was held.
  if (state.isSought) return false
  state.resume(held.offset, state.epochBefore(held.offset))
  return true
}
