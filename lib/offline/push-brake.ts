import type { Consumer, TopicPartition } from '../index.ts'
import { partitionKey } from './push-queue.ts'

/** Pauses what a consumer has while the target takes no more, and resumes nothing that others have paused. */
export class PushBrake<K, V> {
  /** Whether the target takes no more. */
  isOn = false
  readonly #consumer: Consumer<K, V>
  readonly #paused: Map<string, TopicPartition> = new Map()

  constructor(consumer: Consumer<K, V>) {
    this.#consumer = consumer
  }

  /** Called before each poll: what has been assigned since is paused as well. */
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

  /** Resumes what it has paused, as far as the consumer still has it. */
  release(): void {
    if (this.#paused.size === 0) return
    const assigned = this.#consumer.assignment()
    this.#consumer.resume(assigned.filter((each) => this.#paused.has(partitionKey(each))))
    this.#paused.clear()
  }
}
