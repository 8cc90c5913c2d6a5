import type { CorruptRecordError } from '../errors.ts'
import type { Log } from '../storage/log.ts'
import { ChangeListeners } from './change-listeners.ts'
import { INTERNAL_TOPICS } from './topic-name.ts'

/** The high watermark of a partition, and who waits for it or for anything else that a reader may see. */
export class VisibleEnd {
  readonly #log: Log
  readonly #listeners = new ChangeListeners()
  #highWatermark: number
  /** The epoch in which the log has come to the high watermark. */
  #leaderEpoch: number
  /** The damage that those who wait have heard of. */
  #damage: CorruptRecordError | null

  constructor(log: Log) {
    this.#log = log
    this.#damage = log.damage
    this.#leaderEpoch = log.leaderEpoch
    // A group that loses a commit which an open had no room to make durable reads again, no more.
    this.#highWatermark = INTERNAL_TOPICS.has(log.topic) ? log.logEndOffset : log.durableEndOffset
  }

  get offset(): number {
    this.#noteCut()
    // A cut takes away what was shown, and so does a failed sync on a relaxed topic.
    return Math.min(this.#highWatermark, this.#log.logEndOffset)
  }

  /** Whether somebody waits. */
  get isAwaited(): boolean {
    return this.#listeners.size > 0
  }

  /** Everything below `highWatermark` may be seen. */
  publish(highWatermark: number): void {
    this.#noteCut()
    if (highWatermark <= this.#highWatermark) return
    this.#highWatermark = highWatermark
    this.#log.prompt.noteAcknowledged(highWatermark)
    this.#listeners.notify()
  }

  /** What the owner of the log has made may be seen; who waits hears of damage, and of its end, as well. */
  follow(): void {
    const { logEndOffset, damage } = this.#log
    // Where it was cut, what is written there from now on is news again.
    const isCut = logEndOffset < this.#highWatermark
    if (isCut) this.replacedFrom(logEndOffset)
    else this.publish(logEndOffset)
    // A log that ends where it did, or before, has published nothing.
    if (isCut || damage !== this.#damage) this.notify()
    this.#damage = damage
  }

  /** Where the log was cut, what is written at `baseOffset` is in the place of records that had been shown. */
  replacedFrom(baseOffset: number): void {
    this.#highWatermark = Math.min(this.#highWatermark, baseOffset)
  }

  /** Somebody may have cut the log beside its partition, and gone on beyond where it had ended. */
  #noteCut(): void {
    const { leaderEpoch } = this.#log
    // Each read asks, and whether the lock is held is not to be asked with it.
    if (leaderEpoch === this.#leaderEpoch) return
    // What another process has cut is for the next look, which tells who waits.
    if (!this.#log.isWritable) return
    this.replacedFrom(this.#log.reader.endOffsetForEpoch(this.#leaderEpoch) ?? Infinity)
    this.#leaderEpoch = leaderEpoch
  }

  /** @returns a function that ends it. */
  onChange(listener: () => void): () => void {
    return this.#listeners.add(listener)
  }

  /** Wakes who waits. */
  notify(): void {
    this.#listeners.notify()
  }
}
