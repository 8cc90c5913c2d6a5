/** The array is compacted once this many items were taken and they make up half of it. */
const COMPACT_AT = 64

/** A queue that stays fast when it is long: `shift` of a large array moves all remaining items. */
export class Fifo<T> {
  readonly #items: (T | undefined)[] = []
  #head = 0

  /** Items in the queue. */
  get length(): number {
    return this.#items.length - this.#head
  }

  /** Adds an item at the end. */
  push(item: T): void {
    this.#items.push(item)
  }

  /** Returns the first item without removing it; `undefined` if the queue is empty. */
  peek(): T | undefined {
    return this.#items[this.#head]
  }

  /** Removes and returns the first item; `undefined` if the queue is empty. */
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
