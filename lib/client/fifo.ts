/** Taken items are dropped from the array once there are this many and they are half of it. */
const COMPACT_AT = 64

/**
 * A queue that stays quick when it is long: an array's own `shift` moves everything behind the
 * first item once the array is large.
 */
export class Fifo<T> {
  readonly #items: (T | undefined)[] = []
  #head = 0

  /** Items in the queue. */
  get length(): number {
    return this.#items.length - this.#head
  }

  /** Adds an item behind all others. */
  push(item: T): void {
    this.#items.push(item)
  }

  /** The first item without taking it, `undefined` when the queue is empty. */
  peek(): T | undefined {
    return this.#items[this.#head]
  }

  /** Takes the first item, `undefined` when the queue is empty. */
  shift(): T | undefined {
    if (this.length === 0) return undefined
    const item = this.#items[this.#head]
    this.#items[this.#head] = undefined
    this.#head += 1
    if (this.#head === this.#items.length) {
      this.#items.length = 0
      this.#head = 0
    } else if (this.#head >= COMPACT_AT && this.#head * 2 >= this.#items.length) {
      this.#items.splice(0, this.#head)
      this.#head = 0
    }
    return item
  }
}
