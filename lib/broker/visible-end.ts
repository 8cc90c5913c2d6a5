import type { CorruptRecordError } from '../errors.ts'
import type { Log } from '../storage/log.ts'
import { ChangeListeners } from './change-listeners.ts'
import { INTERNAL_TOPICS } from './topic-name.ts'

/**
 * The high watermark of a partition, and the listeners for it and for other changes that a reader
 * may see.
 */
export class VisibleEnd {
  readonly #log: Log
  readonly #listeners = new ChangeListeners()
  #highWatermark: number
  /** The leader epoch in which the log has reached the high watermark. */
  #leaderEpoch: number
  /** The damage that waiting readers were notified of. */
  #damage: CorruptRecordError | null

  constructor(log: Log) {
    this.#log = log
    this.#damage = log.damage
    this.#leaderEpoch = log.leaderEpoch
    // If an open had no room to make a commit durable, losing it only makes its group read again.
    this.#highWatermark = INTERNAL_TOPICS.has(log.topic) ? log.logEndOffset : log.durableEndOffset
  }

  get offset(): number {
    this.#noteCut()
    // A truncation takes back visible records, and so does a failed sync on a relaxed topic.
    return Math.min(this.#highWatermark, this.#log.logEndOffset)
  }

  /** Whether anyone waits. */
  get isAwaited(): boolean {
    return this.#listeners.size > 0
  }

  /** Makes everything below `highWatermark` visible. */
  publish(highWatermark: number): void {
    this.#noteCut()
    if (highWatermark <= this.#highWatermark) return
    this.#highWatermark = highWatermark
    this.#log.prompt.noteAcknowledged(highWatermark)
    this.#listeners.notify()
  }

  /**
   * Makes visible what the log's owner has written. Waiting readers are also notified of damage and
   * truncation.
   */
  follow(): void {
    const { logEndOffset, damage } = this.#log
    // After a truncation, records written from there on are new again.
    const isCut = logEndOffset < this.#highWatermark
    if (isCut) this.replacedFrom(logEndOffset)
    else this.publish(logEndOffset)
    // A log that ends where it did, or before, publishes nothing.
    if (isCut || damage !== this.#damage) this.notify()
    this.#damage = damage
  }

  /** After a truncation, records written from `baseOffset` on replace records that were visible. */
  replacedFrom(baseOffset: number): void {
    this.#highWatermark = Math.min(this.#highWatermark, baseOffset)
  }

  /** Another caller may have truncated the log directly, and appended beyond its former end. */
  #noteCut(): void {
    const { leaderEpoch } = this.#log
    // Every read runs this, so the lock is not checked each time.
    if (leaderEpoch === this.#leaderEpoch) return
    // A truncation by another process is left to the next look, which notifies waiting readers.
    if (!this.#log.isWritable) return
    this.replacedFrom(this.#log.reader.endOffsetForEpoch(this.#leaderEpoch) ?? Infinity)
    this.#leaderEpoch = leaderEpoch
  }

  /** @returns a function that removes the listener. */
  onChange(listener: () => void): () => void {
    return this.#listeners.add(listener)
  }

  /** Wakes all waiters. */
  notify(): void {
    this.#listeners.notify()
  }
}
