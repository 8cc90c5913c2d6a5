import type { Consumer, TopicPartition } from '../index.ts'
import { partitionKey } from './push-queue.ts'

/** Pauses a consumer while the target accepts no more. Never resumes what others have paused. */
export class PushBrake<K, V> {
  /** Whether the target accepts no more records. */
  isOn = false
  readonly #consumer: Consumer<K, V>
  readonly #paused: Map<string, TopicPartition> = new Map()

  constructor(consumer: Consumer<K, V>) {
    this.#consumer = consumer
  }

  /** Called before each poll, so that newly assigned partitions are paused too. */
  set(isOn: boolean): void {
    this.isOn = isOn
    if (!isOn) {
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
