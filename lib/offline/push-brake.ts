import {
  CorruptRecordError,
  SerializationError,
  type Consumer,
  type TopicPartition,
} from '../index.ts'
import { partitionKey } from './push-queue.ts'

/** Pauses a consumer while the target accepts no more. Never resumes what others have paused. */
export class PushBrake<K, V> {
  /** Whether nothing more may be taken before all that was taken is written. */
  #isEmptying = false
  #isOn = false
  readonly #consumer: Consumer<K, V>
  readonly #maxInFlight: number
  readonly #paused: Map<string, TopicPartition> = new Map()

  constructor(consumer: Consumer<K, V>, maxInFlight: number) {
    this.#consumer = consumer
    this.#maxInFlight = maxInFlight
  }

  /** Whether this many records in flight end a pause. */
  isDone(inFlight: number): boolean {
    return this.#isOn && inFlight < this.#limit
  }

  /**
   * Whether all that was taken is written before the push ends with this error of a poll. Otherwise
   * a `seek` past a record that cannot be read would leave out unwritten records before it.
   */
  emptiesBefore(error: unknown, inFlight: number): boolean {
    const isUnreadable =
      // No poll repeats the error of a listener.
      (error instanceof CorruptRecordError && !this.#consumer.controls.isOfListener(error)) ||
      (error instanceof SerializationError && error.offset !== null)
    this.#isEmptying = isUnreadable && inFlight > 0
    return this.#isEmptying
  }

  /** Notes what a poll has returned. Any record means that the unreadable one is not in the way. */
  took(count: number): void {
    if (count > 0) this.#isEmptying = false
  }

  get #limit(): number {
    return this.#isEmptying ? 1 : this.#maxInFlight
  }

  /** Called before each poll, so that newly assigned partitions are paused too. */
  set(inFlight: number): void {
    this.#isOn = inFlight >= this.#limit
    if (!this.#isOn) {
      this.release()
      return
    }
    const before = new Set(this.#consumer.paused().map(partitionKey))
    const running = this.#consumer.assignment().filter((each) => !before.has(partitionKey(each)))
    this.#consumer.pause(running)
    for (const each of running) this.#paused.set(partitionKey(each), each)
  }

  /** Resumes the partitions that it has paused, if the consumer still has them. */
  release(): void {
    if (this.#paused.size === 0) return
    const assigned = this.#consumer.assignment()
    this.#consumer.resume(assigned.filter((each) => this.#paused.has(partitionKey(each))))
    this.#paused.clear()
  }
}
