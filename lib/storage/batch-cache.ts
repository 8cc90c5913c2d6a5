import { BatchMarks } from '../record/batch-marks.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import { RecentlyRead } from './recently-read.ts'

/** Buffers are made in sizes that others can use too. */
const UNIT_BYTES = 4096
/** More buffers than that are not kept for who needs one next. */
const MAX_SPARES = 8
/** What is kept is so small that less room than for a few of it is as good as none. */
const LEAST_BYTES = 4096
/** For so many bytes of what is kept one batch is remembered that was read once: more than are kept. */
const BYTES_PER_REMEMBERED = 512
/** 64 MiB of memory for them. */
const MOST_REMEMBERED_BITS = 24

/** A batch in a {@link BatchCache}. */
interface CachedBatch {
  readonly owner: CachedBatches
  readonly position: number
  readonly marks: BatchMarks
  /** Whether it was asked for since its turn to go came last. */
  isUsed: boolean
  /** Whether its owner has let go of it. */
  isGone: boolean
}

/**
 * How much memory is taken for what small reads have learned of batches, over all segments that
 * share it.
 *
 * A few hundred bytes say how to read a few records of a batch without the rest of it, so a MiB is
 * counted for some 60 MiB of log; its objects take 1.5. The bytes themselves are the page cache's to
 * keep. Whose turn it is to go, the oldest first, stays once more when it was used meanwhile: so who
 * reads everything once does not push out what is read again and again.
 *
 * To make marks takes longer than to check the batch, so where others have to go for them, they are made for
 * a batch that is read a second time: who reads all over a log that is larger than what is kept comes to few
 * of its batches again before their marks are gone.
 */
export class BatchCache {
  readonly #maxBytes: number
  #sizeBytes = 0
  /** Buffers that nobody needs any more; a new one for every read would be most of its cost. */
  readonly #spares: Buffer[] = []
  /** In the order of their turns, from `#head` on; what lies before is `null`, to be in memory no more. */
  #queue: (CachedBatch | null)[] = []
  #head = 0
  /** `null` as long as nothing had to go. */
  #readOnce: RecentlyRead | null = null
  #segmentCount = 0

  /** @param maxBytes 0 keeps nothing. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /** Memory of what is kept, that included whose owner has let go of it. */
  get sizeBytes(): number {
    return this.#sizeBytes
  }

  /** Whether anything is kept at all. */
  get hasRoom(): boolean {
    return this.#maxBytes >= LEAST_BYTES
  }

  /** A number for each segment that shares it. */
  addSegment(): number {
    this.#segmentCount += 1
    return this.#segmentCount
  }

  /** Whether the marks of a batch that is read whole, and has none yet, are worth their making. */
  isWorthKeeping(segment: number, position: number): boolean {
    return this.hasRoom && (this.#readOnce === null || this.#readOnce.note(segment, position))
  }

  /**
   * A buffer to read into: for what is over by the end of the call.
   */
  borrow(sizeBytes: number): Buffer {
    const spare = this.#spares.at(-1)
    if (spare === undefined || spare.length < sizeBytes) {
      return Buffer.allocUnsafeSlow(Math.ceil(sizeBytes / UNIT_BYTES) * UNIT_BYTES)
    }
    this.#spares.pop()
    return spare
  }

  /** Takes back what was borrowed. It may be read by the caller until the end of its call. */
  giveBack(buffer: Buffer): void {
    if (this.#spares.length < MAX_SPARES) this.#spares.push(buffer)
  }

  /** Counts what its owner holds from now on, and makes room for it. */
  add(cached: CachedBatch): void {
    this.#queue.push(cached)
    this.#sizeBytes += cached.marks.memoryBytes
    if (this.#sizeBytes > this.#maxBytes) this.#readOnce ??= new RecentlyRead(this.#rememberedBits)
    while (this.#sizeBytes > this.#maxBytes) this.#letGo()
    if (this.#head > 1024 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head)
      this.#head = 0
    }
  }

  get #rememberedBits(): number {
    const bits = Math.ceil(Math.log2(this.#maxBytes / BYTES_PER_REMEMBERED))
    return Math.min(bits, MOST_REMEMBERED_BITS)
  }

  #letGo(): void {
    const first = this.#queue[this.#head] as CachedBatch
    this.#queue[this.#head] = null
    this.#head += 1
    if (first.isUsed && !first.isGone) {
      first.isUsed = false
      this.#queue.push(first)
      return
    }
    this.#sizeBytes -= first.marks.memoryBytes
    first.owner.forget(first)
  }
}

/** What small reads have learned of the batches of one segment, by their positions. */
export class CachedBatches {
  readonly #cache: BatchCache
  readonly #number: number
  readonly #byPosition = new Map<number, CachedBatch>()

  constructor(cache: BatchCache) {
    this.#cache = cache
    this.#number = cache.addSegment()
  }

  /** The marks of the batch at `position`; `null` when it has to be read as a whole. */
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
   * Makes sure that the batch at `position` can be trusted, and keeps its marks where they are worth it. Both
   * take its checksum, which is computed once.
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

  /** Lets go of one, as the cache demands. */
  forget(cached: CachedBatch): void {
    if (!cached.isGone) this.#byPosition.delete(cached.position)
  }

  /** Lets go of all: what is in the file is not what it was. The cache counts them until their turn. */
  clear(): void {
    for (const cached of this.#byPosition.values()) cached.isGone = true
    this.#byPosition.clear()
  }
}
