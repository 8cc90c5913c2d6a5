import { Fifo } from '../storage/fifo.ts'

/** A caller that waits for memory. */
export interface PoolWaiter {
  /** Upper bound of the bytes that it needs. */
  readonly sizeBytes: number
  /** False once it has given up: it is skipped then. */
  readonly isWaiting: boolean
}

/**
 * Counts the bytes of a producer's records, and queues the sends for which there is no room.
 *
 * The memory itself is not pooled: written batches stay with the partition, which serves them to
 * consumers. First come, first served: while anything waits, {@link BufferPool.hasRoomFor} is false
 * for all others. Calls must not overlap, and none of them waits.
 */
export class BufferPool<W extends PoolWaiter> {
  readonly totalBytes: number
  readonly #waiters = new Fifo<W>()
  #usedBytes = 0

  /** @param totalBytes at least 1 */
  constructor(totalBytes: number) {
    this.totalBytes = totalBytes
  }

  /** Bytes taken and not yet released. */
  get usedBytes(): number {
    return this.#usedBytes
  }

  /** Whether anything waits. */
  get hasWaiters(): boolean {
    while (this.#waiters.peek()?.isWaiting === false) this.#waiters.shift()
    return this.#waiters.length > 0
  }

  /** Whether a new caller may take up to `sizeBytes` now. */
  hasRoomFor(sizeBytes: number): boolean {
    return !this.hasWaiters && this.#fits(sizeBytes)
  }

  /** Counts bytes as used. The caller has checked that there is room. */
  take(sizeBytes: number): void {
    this.#usedBytes += sizeBytes
  }

  /** Releases bytes. Waiters enter at the next {@link BufferPool.admit}. */
  release(sizeBytes: number): void {
    this.#usedBytes -= sizeBytes
  }

  /** Queues a waiter after all others. */
  wait(waiter: W): void {
    this.#waiters.push(waiter)
  }

  /**
   * Admits waiters in order while there is room.
   *
   * @param enter takes the memory for the waiter it receives
   */
  admit(enter: (waiter: W) => void): void {
    while (this.hasWaiters) {
      const waiter = this.#waiters.peek()
      if (waiter === undefined || !this.#fits(waiter.sizeBytes)) return
      this.#waiters.shift()
      enter(waiter)
    }
  }

  /**
   * The requested size is an upper bound, so the largest record that the pool accepts may ask for a
   * few bytes more than there are. It fits when it is alone.
   */
  #fits(sizeBytes: number): boolean {
    return this.#usedBytes === 0 || this.#usedBytes + sizeBytes <= this.totalBytes
  }
}
