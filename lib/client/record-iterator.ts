import type { TopicPartition } from '../broker/topic-partition.ts'
import { errorOf } from '../checks.ts'
import type { ConsumerRecord } from './consumer-record.ts'
import type { RecordHolder } from './offset-committer.ts'

/** What an iteration needs of its consumer. */
export interface RecordFeed<K, V> {
  /** Whether the consumer is closed, which ends the iteration. */
  isClosed(): boolean
  /** A record that can be had at once; `null` when only a poll can tell. */
  takeReady(): ConsumerRecord<K, V> | null
  /**
   * Waits for a record, for a while.
   *
   * @param hold is handed the record in the same step as it is taken, so that nobody can commit it
   * before its holder knows it
   */
  poll(signal: AbortSignal, hold: (record: ConsumerRecord<K, V>) => void): Promise<void>
  /** The iteration is over; the record it holds, if any, is to be delivered again. */
  end(iterator: RecordIterator<K, V>): void
}

/**
 * Goes through a consumer's records one by one. A record is done when the next one is asked for,
 * and not when the loop is left.
 *
 * Calls of `next` may overlap: they are answered one after the other. `return` ends a `next` that
 * waits.
 */
export class RecordIterator<K, V>
  implements AsyncIterableIterator<ConsumerRecord<K, V>>, RecordHolder
{
  readonly #feed: RecordFeed<K, V>
  readonly #returned: AbortController = new AbortController()
  #held: ConsumerRecord<K, V> | null = null
  // Where it is from: what was handed out is the application's, which may change it.
  #topic = ''
  #partition = 0
  #offset = 0
  #isOver = false
  /** The last `next` that waits. */
  #waiting: Promise<IteratorResult<ConsumerRecord<K, V>, undefined>> | null = null

  constructor(feed: RecordFeed<K, V>) {
    this.#feed = feed
  }

  get held(): (TopicPartition & { readonly offset: number }) | null {
    if (this.#held === null) return null
    return { topic: this.#topic, partition: this.#partition, offset: this.#offset }
  }

  /** Somebody has moved the partition, or has committed the record as done. */
  release(): void {
    this.#held = null
  }

  next(): Promise<IteratorResult<ConsumerRecord<K, V>, undefined>> {
    // Of a consumer that is closed nothing is ready.
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
    // A record that is just being taken must be held until it is given back.
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

  /** In a function of its own, whose closures would have every call of `next` make room for what they share. */
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
        if (value !== null && !this.#isReturned()) return { done: false, value }
      }
    } catch (error) {
      // Closing the consumer or leaving the loop is how an iteration ends, not a failure of it.
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

  #isReturned(): boolean {
    return this.#isOver
  }

  #end(): void {
    this.#isOver = true
    this.#feed.end(this)
    this.#held = null
  }
}
