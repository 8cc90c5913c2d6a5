import { BufferView } from './buffer-view.ts'

/** Smaller requests are not worth the bookkeeping. */
const SMALLEST_BYTES = 4 * 1024
/** Size of a slab, from which small batches are cut. */
const SLAB_BYTES = 16 * 1024
/** Larger requests are rare. */
export const LARGEST_PIECE_BYTES: number = 128 * 1024
/** Most bytes kept for reuse. */
const MAX_SPARE_BYTES = 4 * 1024 * 1024

/**
 * Memory for encoding batches, reused once nobody needs its batches.
 *
 * The system has to find, clear and map memory that is touched for the first time, page by page.
 * That takes several times as long as filling it, and collecting it costs time as well. So a piece
 * is reused as soon as its last batch is released, while it is in the processor's cache. Whoever
 * releases a batch must be the last to use it. A batch that is never released takes its piece along
 * when it is collected, so forgetting one has no other cost.
 */
export class BatchMemory {
  /** Unused pieces, by the logarithm of their size. */
  readonly #spares = new Map<number, Buffer[]>()
  #spareBytes = 0
  #slab = new ArrayBuffer(0)
  #slabUsedBytes = 0
  /** All pieces, by their memory. */
  readonly #pieces = new WeakMap<ArrayBufferLike, Piece>()

  /** Bytes available for reuse. */
  get spareBytes(): number {
    return this.#spareBytes
  }

  /**
   * Memory for at least `sizeBytes` bytes. Each batch in it must be registered by
   * {@link BatchMemory.hold} before any of them is released.
   */
  take(sizeBytes: number): Buffer {
    if (sizeBytes < SMALLEST_BYTES) return this.#cutFromSlab(sizeBytes)
    if (sizeBytes > LARGEST_PIECE_BYTES) return Buffer.allocUnsafe(sizeBytes)
    const exponent = 32 - Math.clz32(sizeBytes - 1)
    const spare = this.#spares.get(exponent)?.pop()
    if (spare !== undefined) {
      this.#spareBytes -= spare.length
      return spare
    }
    const bytes = Buffer.allocUnsafeSlow(2 ** exponent)
    this.#pieces.set(bytes.buffer, { bytes, exponent, heldCount: 0 })
    return bytes
  }

  /**
   * Cuts from a slab that only batches share, which are created and collected in about the same
   * order. The pool that `Buffer` cuts small pieces from is used by everybody: each batch in it
   * that is kept for readers may keep 8 KiB that others no longer need.
   */
  #cutFromSlab(sizeBytes: number): Buffer {
    if (this.#slabUsedBytes + sizeBytes > this.#slab.byteLength) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES).buffer
      this.#slabUsedBytes = 0
    }
    const cut = new BufferView(this.#slab, this.#slabUsedBytes, sizeBytes)
    this.#slabUsedBytes += sizeBytes
    return cut
  }

  /** Memory for one batch, which is registered. */
  takeHeld(sizeBytes: number): Buffer {
    const bytes = this.take(sizeBytes)
    this.hold(bytes)
    return bytes
  }

  /** Registers a batch in the memory that `part` belongs to. */
  hold(part: Buffer): void {
    const piece = this.#pieces.get(part.buffer)
    if (piece !== undefined) piece.heldCount += 1
  }

  /** Releases a registered batch. Does nothing with memory from elsewhere. */
  letGo(batch: Buffer): void {
    const piece = this.#pieces.get(batch.buffer)
    if (piece === undefined) return
    piece.heldCount -= 1
    const { bytes, exponent, heldCount } = piece
    if (heldCount > 0 || this.#spareBytes + bytes.length > MAX_SPARE_BYTES) return
    this.#spareBytes += bytes.length
    const spares = this.#spares.get(exponent)
    if (spares === undefined) this.#spares.set(exponent, [bytes])
    else spares.push(bytes)
  }
}

interface Piece {
  readonly bytes: Buffer
  readonly exponent: number
  /** Batches that somebody may still use. */
  heldCount: number
}

/** One for the process: memory that one log releases is useful to all. */
export const batchMemory: BatchMemory = new BatchMemory()
