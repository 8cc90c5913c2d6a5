import {
  CorruptRecordError,
  SerializationError,
  type Consumer,
  type TopicPartition,
} from '../index.ts'
import { partitionKey } from './push-queue.ts'

/** Pauses a consumer while the target accepts no more. Never resumes what others have paused. */
export class PushBrake<K, V> {
  /** The error of a poll before which all that was taken is to be written; `null` for none. */
  #unreadable: unknown = null
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
      error instanceof CorruptRecordError ||
      (error instanceof SerializationError && error.offset !== null)
    this.#unreadable = isUnreadable && inFlight > 0 ? error : null
    return this.#unreadable !== null
  }

  /**
   * Notes what a poll has returned. Any record means that the unreadable one is not in the way.
   *
   * @throws a CorruptRecordError that this poll has not repeated: it was that of a listener.
   */
  took(count: number): void {
    if (count > 0) this.#unreadable = null
    else if (!this.#isOn && this.#unreadable instanceof CorruptRecordError) throw this.#unreadable
  }

  get #limit(): number {
    return this.#unreadable === null ? this.#maxInFlight : 1
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
