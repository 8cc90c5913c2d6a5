import { BatchMarks } from '../record/batch-marks.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import { Fifo } from './fifo.ts'
import { RecentlyRead } from './recently-read.ts'

/** Buffer sizes are rounded up to this, so that buffers can be reused. */
const UNIT_BYTES = 4096
/** Maximum number of unused buffers to keep. */
const MAX_SPARES = 8
/** With a smaller limit nothing is cached: there would be room for only a few entries. */
const LEAST_BYTES = 4096
/**
 * Per this many bytes of the limit, one batch that was read once is remembered: more batches than
 * the cache has room for.
 */
const BYTES_PER_REMEMBERED = 512
/** 2^24 entries of 4 bytes, 64 MiB. */
const MOST_REMEMBERED_BITS = 24

/** A batch in a {@link BatchCache}. */
interface CachedBatch {
  readonly owner: CachedBatches
  readonly position: number
  readonly marks: BatchMarks
  /** Whether it was used since its last turn to be evicted. */
  isUsed: boolean
  /** Whether its owner has dropped it. */
  isGone: boolean
}

/**
 * Limits the memory for what small reads have learned about batches, over all segments that share
 * the cache.
 *
 * A few hundred bytes describe how to read a few records of a batch without reading all of it. One
 * MiB of the limit covers about 60 MiB of log; the objects themselves take 1.5 MiB. The batches are
 * left to the page cache. Eviction is in insertion order, but an entry that was used since its last
 * turn stays for another round. So a sequential scan does not evict entries that are used
 * repeatedly.
 *
 * Building marks takes longer than checking the batch. Once entries have to be evicted, marks are
 * only built for a batch that is read a second time: random reads of a log larger than the cache
 * return to few batches before their marks are evicted.
 */
export class BatchCache {
  readonly #maxBytes: number
  #sizeBytes = 0
  /** Unused buffers. Allocating one for each read would be most of the read's cost. */
  readonly #spares: Buffer[] = []
  /** In eviction order. */
  readonly #queue = new Fifo<CachedBatch>()
  /** `null` until the first eviction. */
  #readOnce: RecentlyRead | null = null
  #segmentCount = 0

  /** @param maxBytes 0 disables the cache. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /** Bytes of all entries, including those dropped by their owners but not evicted yet. */
  get sizeBytes(): number {
    return this.#sizeBytes
  }

  /** Whether anything is cached at all. */
  get hasRoom(): boolean {
    return this.#maxBytes >= LEAST_BYTES
  }

  /** Returns a number for a segment that shares the cache. */
  addSegment(): number {
    this.#segmentCount += 1
    return this.#segmentCount
  }

  /** Whether it is worth building marks for a batch that is read as a whole and has none. */
  isWorthKeeping(segment: number, position: number): boolean {
    return this.hasRoom && (this.#readOnce === null || this.#readOnce.note(segment, position))
  }

  /** Returns a buffer to read into. It may only be used until the end of the call. */
  borrow(sizeBytes: number): Buffer {
    const spare = this.#spares.at(-1)
    if (spare === undefined || spare.length < sizeBytes) {
      return Buffer.allocUnsafeSlow(Math.ceil(sizeBytes / UNIT_BYTES) * UNIT_BYTES)
    }
    this.#spares.pop()
    return spare
  }

  /** Returns a borrowed buffer. The caller may read it until the end of its call. */
  giveBack(buffer: Buffer): void {
    if (this.#spares.length < MAX_SPARES) this.#spares.push(buffer)
  }

  /** Adds an entry that its owner holds, and evicts others to make room. */
  add(cached: CachedBatch): void {
    this.#queue.push(cached)
    this.#sizeBytes += cached.marks.memoryBytes
    if (this.#sizeBytes > this.#maxBytes) this.#readOnce ??= new RecentlyRead(this.#rememberedBits)
    while (this.#sizeBytes > this.#maxBytes) this.#letGo()
  }

  get #rememberedBits(): number {
    const bits = Math.ceil(Math.log2(this.#maxBytes / BYTES_PER_REMEMBERED))
    return Math.min(bits, MOST_REMEMBERED_BITS)
  }

  #letGo(): void {
    const first = this.#queue.shift() as CachedBatch
    if (first.isUsed && !first.isGone) {
      first.isUsed = false
      this.#queue.push(first)
      return
    }
    this.#sizeBytes -= first.marks.memoryBytes
    first.owner.forget(first)
  }
}

/** What small reads have learned about the batches of one segment, by their positions. */
export class CachedBatches {
  readonly #cache: BatchCache
  readonly #number: number
  readonly #byPosition = new Map<number, CachedBatch>()

  constructor(cache: BatchCache) {
    this.#cache = cache
    this.#number = cache.addSegment()
  }

  /** The marks of the batch at `position`; `null` if it has to be read as a whole. */
  get(position: number): BatchMarks | null {
    const cached = this.#byPosition.get(position)
    if (cached === undefined) return null
    cached.isUsed = true
    return cached.marks
  }

  /** See {@link BatchCache.borrow}. */
  borrow(sizeBytes: number): Buffer {
    return this.#cache.borrow(sizeBytes)
  }

  /** See {@link BatchCache.giveBack}. */
  giveBack(buffer: Buffer): void {
    this.#cache.giveBack(buffer)
  }

  /**
   * Validates the batch at `position`, and caches its marks if that is worthwhile. Both need its
   * checksum, which is computed once.
   */
  checkAt(position: number): (batch: RecordBatch) => void {
    return (batch) => {
      const isWanted =
        !this.#byPosition.has(position) && this.#cache.isWorthKeeping(this.#number, position)
      const marks = isWanted ? BatchMarks.of(batch) : null
      batch.ensureValid(marks?.crc)
      if (marks === null) return
      const cached = { owner: this, position, marks, isUsed: false, isGone: false }
      this.#byPosition.set(position, cached)
      this.#cache.add(cached)
    }
  }

  /** Drops an entry that the cache evicts. */
  forget(cached: CachedBatch): void {
    if (!cached.isGone) this.#byPosition.delete(cached.position)
  }

  /**
   * Drops all entries, since the content of the file has changed. The cache counts them until their
   * eviction.
   */
  clear(): void {
    for (const cached of this.#byPosition.values()) cached.isGone = true
    this.#byPosition.clear()
  }
}
