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
  /** How long one wait for records may take. */
  readonly maxWaitMs: number
}

/** How long an iteration waits at least before it looks at group and commits again. */
const MIN_WAIT_MS = 1

/**
 * The iterations over one consumer, each with the record that its loop is busy with. There is one
 * of them, as a rule.
 */
export class Iterations<K, V> implements Iterable<RecordHolder> {
  readonly #running: Set<RecordIterator<K, V>> = new Set()
  #isTaking = false

  /** A new iteration, which goes on where the consumer stands. */
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
        // A poll that waits meanwhile waits behind the record.
        if (rewind(parts.subscription, ended)) loop.notify()
      },
    })
    this.#running.add(iterator)
    return iterator
  }

  /**
   * The partition has been moved, given up or emptied: the records of it that are held are nobody's
   * concern any more.
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

  /** A deserializer that asks for a record waits behind its own, which is passed over once it is there. */
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
 * Has a record that is not done delivered again, as if it had not been handed out.
 *
 * @returns whether that has moved the partition
 */
function rewind(subscription: SubscriptionState, { held }: RecordHolder): boolean {
  if (held === null) return false
  const state = subscription.assigned.get(topicPartitionKey(held))
  if (state?.position == null || state.position <= held.offset) return false
  // Its own deserializer may have moved the partition, before anybody held it.
  if (state.isSought) return false
  state.resume(held.offset, state.epochBefore(held.offset))
  return true
}
