import type { TopicPartition } from '../broker/topic-partition.ts'
import { errorOf } from '../checks.ts'
import type { ConsumerRecord } from './consumer-record.ts'
import type { RecordHolder } from './offset-committer.ts'

/** What an iteration needs from its consumer. */
export interface RecordFeed<K, V> {
  /** Whether the consumer is closed, which ends the iteration. */
  isClosed(): boolean
  /** A record that is available at once; `null` if only a poll can tell. */
  takeReady(): ConsumerRecord<K, V> | null
  /**
   * Waits for a record for a limited time.
   *
   * @param hold receives the record in the same step in which it is taken, so that it cannot be
   * committed before its holder knows it
   */
  poll(signal: AbortSignal, hold: (record: ConsumerRecord<K, V>) => void): Promise<void>
  /** Ends the iteration. The record it holds, if any, is to be delivered again. */
  end(iterator: RecordIterator<K, V>): void
}

/**
 * Iterates over a consumer's records. A record is done when the next one is requested, but not when
 * the loop is left.
 *
 * Calls of `next` may overlap: they are answered in order. `return` ends a waiting `next`.
 */
export class RecordIterator<K, V>
  implements AsyncIterableIterator<ConsumerRecord<K, V>>, RecordHolder
{
  readonly #feed: RecordFeed<K, V>
  readonly #returned: AbortController = new AbortController()
  #held: ConsumerRecord<K, V> | null = null
  // The record's place. It is kept separately because the application may change the record it
  // received.
  #topic = ''
  #partition = 0
  #offset = 0
  #isOver = false
  /** The last waiting `next`. */
  #waiting: Promise<IteratorResult<ConsumerRecord<K, V>, undefined>> | null = null

  constructor(feed: RecordFeed<K, V>) {
    this.#feed = feed
  }

  get held(): (TopicPartition & { readonly offset: number }) | null {
    if (this.#held === null) return null
    return { topic: this.#topic, partition: this.#partition, offset: this.#offset }
  }

  /** Called when the partition was moved, or the record was committed as done. */
  release(): void {
    this.#held = null
  }

  next(): Promise<IteratorResult<ConsumerRecord<K, V>, undefined>> {
    // A closed consumer has nothing ready.
    if (this.#waiting === null && !this.#isOver) {
      this.#held = null
      const ready = this.#takeReady()
      if (ready !== null) return ready
    }
    return this.#nextInTurn()
  }

  async return(): Promise<IteratorResult<ConsumerRecord<K, V>, undefined>> {
    this.#isOver = true
    this.#returned.abort()
    // A record that is being taken must be held until it is given back.
    await this.#waiting?.catch(() => undefined)
    this.#end()
    return { done: true, value: undefined }
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return()
  }

  /**
   * A separate function, because its closures would make every call of `next` allocate a context
   * for them.
   */
  #nextInTurn(): Promise<IteratorResult<ConsumerRecord<K, V>, undefined>> {
    const before = this.#waiting
    const advance = (): Promise<IteratorResult<ConsumerRecord<K, V>, undefined>> => this.#advance()
    const waiting = before === null ? advance() : before.then(advance, advance)
    this.#waiting = waiting
    const settled = (): void => {
      if (this.#waiting === waiting) this.#waiting = null
    }
    waiting.then(settled, settled)
    return waiting
  }

  #takeReady(): Promise<IteratorResult<ConsumerRecord<K, V>, undefined>> | null {
    try {
      const value = this.#feed.takeReady()
      if (value === null) return null
      this.#hold(value)
      return Promise.resolve({ done: false, value })
    } catch (error) {
      this.#end()
      return Promise.reject(errorOf(error))
    }
  }

  get #inHand(): ConsumerRecord<K, V> | null {
    return this.#held
  }

  #hold(record: ConsumerRecord<K, V>): void {
    this.#held = record
    this.#topic = record.topic
    this.#partition = record.partition
    this.#offset = record.offset
  }

  async #advance(): Promise<IteratorResult<ConsumerRecord<K, V>, undefined>> {
    this.#held = null
    try {
      while (!this.#isEnded()) {
        await this.#feed.poll(this.#returned.signal, (record) => {
          this.#hold(record)
        })
        const value = this.#inHand
        if (value !== null && !this.#isOver) return { done: false, value }
      }
    } catch (error) {
      // Closing the consumer or leaving the loop ends an iteration and is not a failure.
      if (!this.#isEnded()) {
        this.#end()
        throw error
      }
    }
    this.#end()
    return { done: true, value: undefined }
  }

  #isEnded(): boolean {
    return this.#isOver || this.#feed.isClosed()
  }

  #end(): void {
    this.#isOver = true
    this.#feed.end(this)
    this.#held = null
  }
}
