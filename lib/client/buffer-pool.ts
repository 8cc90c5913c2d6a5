import { Fifo } from './fifo.ts'

/** Something that waits for memory. */
export interface PoolWaiter {
  /** Bytes that it may need at most. */
  readonly sizeBytes: number
  /** False once it has given up: it is passed over then. */
  readonly isWaiting: boolean
}

/**
 * Counts the bytes of a producer's records and keeps those in line for which there is no room.
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

  /** Bytes taken and not given back. */
  get usedBytes(): number {
    return this.#usedBytes
  }

  /** Whether anything waits. */
  get hasWaiters(): boolean {
    while (this.#waiters.peek()?.isWaiting === false) this.#waiters.shift()
    return this.#waiters.length > 0
  }

  /** Whether a newcomer may take up to `sizeBytes` now. */
  hasRoomFor(sizeBytes: number): boolean {
    return !this.hasWaiters && this.#fits(sizeBytes)
  }

  /** Counts bytes as used. There was room for them. */
  take(sizeBytes: number): void {
    this.#usedBytes += sizeBytes
  }

  /** Gives bytes back. Who waits for them comes in at the next {@link BufferPool.admit}. */
  release(sizeBytes: number): void {
    this.#usedBytes -= sizeBytes
  }

  /** Puts a waiter behind all others. */
  wait(waiter: W): void {
    this.#waiters.push(waiter)
  }

  /**
   * Lets in who has waited longest, one after the other, while there is room.
   *
   * @param enter takes the memory for the one it is given
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
   * What is asked for is an upper bound, so the largest record that the pool takes at all may ask
   * for a few bytes more than there are. It fits when it is alone.
   */
  #fits(sizeBytes: number): boolean {
    return this.#usedBytes === 0 || this.#usedBytes + sizeBytes <= this.totalBytes
  }
}
