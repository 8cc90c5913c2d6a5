import { BufferView } from './buffer-view.ts'

/** Less is not worth the book-keeping. */
const SMALLEST_BYTES = 4 * 1024
/** What small batches are cut from, one behind the other. */
const SLAB_BYTES = 16 * 1024
/** More is seldom asked for. */
export const LARGEST_PIECE_BYTES: number = 128 * 1024
/** So much may lie ready. */
const MAX_SPARE_BYTES = 4 * 1024 * 1024

/**
 * Memory that batches are encoded into, and that others are encoded into once nobody needs those.
 *
 * Memory that is touched for the first time has to be found, cleared and mapped by the system, page
 * by page: that takes several times as long as to fill it, and collecting it is work as well. So a
 * piece is given out again as soon as its last batch is let go of, while it is in the processor's
 * cache. Whoever lets go of a batch must be the last to look at it; a batch that nobody lets go of
 * takes its piece along when it is collected, so to forget one costs no more than that.
 */
export class BatchMemory {
  /** Pieces that nobody needs, by the logarithm of their size. */
  readonly #spares = new Map<number, Buffer[]>()
  #spareBytes = 0
  #slab = new ArrayBuffer(0)
  #slabUsedBytes = 0
  /** What is given out, by the memory that it lies in. */
  readonly #pieces = new WeakMap<ArrayBufferLike, Piece>()

  /** Bytes that lie ready. */
  get spareBytes(): number {
    return this.#spareBytes
  }

  /**
   * Memory for at least so many bytes. Each batch in it is to be noted by {@link BatchMemory.hold}
   * before any of them is let go of.
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
   * Memory that nothing else than batches shares, which come and go in about the same order. The pool that
   * `Buffer` cuts small pieces from is everybody's: each batch in it that is kept for readers may keep 8 KiB
   * of what others have long forgotten.
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

  /** Memory for one batch, which is held. */
  takeHeld(sizeBytes: number): Buffer {
    const bytes = this.take(sizeBytes)
    this.hold(bytes)
    return bytes
  }

  /** There is a batch in memory of which this is a part. */
  hold(part: Buffer): void {
    const piece = this.#pieces.get(part.buffer)
    if (piece !== undefined) piece.heldCount += 1
  }

  /** Nobody looks any more at a batch that was held. Does nothing with memory that is not from here. */
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
  /** Batches that somebody may still look at. */
  heldCount: number
}

/** One for the process: what is let go of by one log is of use to all. */
export const batchMemory: BatchMemory = new BatchMemory()
