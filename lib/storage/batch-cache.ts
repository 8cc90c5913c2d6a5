import { RecordBatch } from '../record/record-batch.ts'

/** Buffers are made in sizes that others can use too. */
const UNIT_BYTES = 4096
const TWO_POW_32 = 0x1_0000_0000
/** Spreads positions, which are mostly multiples of something, over all slots. */
const HASH_FACTOR = 0x9e3779b1
/** So many batches are remembered as asked for once. */
const WANTED_SLOTS = 4096
/** More buffers than that are not kept for who needs one next. */
const MAX_SPARES = 8

/** A batch in a {@link BatchCache}. */
interface CachedBatch {
  readonly owner: CachedBatches
  readonly position: number
  readonly batch: RecordBatch
  /** What it keeps in memory. */
  readonly bytes: Buffer
  /** Whether it was asked for since its turn to go came last. */
  isUsed: boolean
  /** Whether its owner has let go of it. */
  isGone: boolean
}

/**
 * How much memory the batches that small reads have read and checked may take together, over all
 * segments that share it.
 *
 * A batch is kept when it is asked for a second time: to keep each that is read anywhere in a large
 * log would cost more, by memory that no processor cache holds, than it saves. Whose turn it is to
 * go, the oldest first, stays once more when it was used meanwhile: so who reads
 * everything once does not push out what is read again and again.
 */
export class BatchCache {
  readonly #maxBytes: number
  #ownerCount = 0
  #sizeBytes = 0
  /** Batches that were asked for and not kept, each where its hash says, until another takes its place. */
  readonly #wanted = new Float64Array(WANTED_SLOTS)
  /** Buffers that nobody needs any more; a new one for every read would be most of its cost. */
  readonly #spares: Buffer[] = []
  /** In the order of their turns, from `#head` on. */
  #queue: CachedBatch[] = []
  #head = 0

  /** @param maxBytes 0 keeps nothing. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /** A number of its own for each who keeps batches here. */
  nextOwnerId(): number {
    this.#ownerCount += 1
    return this.#ownerCount
  }

  /** Bytes of the batches that are kept, those included whose owner has let go of them. */
  get sizeBytes(): number {
    return this.#sizeBytes
  }

  /** Whether a batch of this size is worth a place: a few of that size have to fit. */
  takes(sizeBytes: number): boolean {
    return sizeBytes * 8 <= this.#maxBytes
  }

  /** Whether a batch was asked for not long ago. Then it may be asked for again. */
  noteWanted(ownerId: number, position: number): boolean {
    const key = ownerId * TWO_POW_32 + position
    const slot = (Math.imul(position ^ (ownerId << 16), HASH_FACTOR) >>> 16) % WANTED_SLOTS
    if (this.#wanted[slot] === key) return true
    this.#wanted[slot] = key
    return false
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

  /** Counts a batch that its owner holds from now on, and makes room for it. */
  add(cached: CachedBatch): void {
    this.#queue.push(cached)
    this.#sizeBytes += cached.bytes.length
    while (this.#sizeBytes > this.#maxBytes) this.#letGo()
    if (this.#head > 1024 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head)
      this.#head = 0
    }
  }

  #letGo(): void {
    const first = this.#queue[this.#head] as CachedBatch
    this.#head += 1
    if (first.isUsed && !first.isGone) {
      first.isUsed = false
      this.#queue.push(first)
      return
    }
    this.#sizeBytes -= first.bytes.length
    first.owner.forget(first)
    this.giveBack(first.bytes)
  }
}

/**
 * Batches of one segment, by their positions, as they were read and checked.
 *
 * Their bytes are the cache's own: whoever hands a record out copies it first.
 */
export class CachedBatches {
  readonly #cache: BatchCache
  readonly #byPosition = new Map<number, CachedBatch>()
  readonly #id: number

  constructor(cache: BatchCache) {
    this.#cache = cache
    this.#id = cache.nextOwnerId()
  }

  /** The batch at `position`; `null` when it has to be read. */
  get(position: number): RecordBatch | null {
    const cached = this.#byPosition.get(position)
    if (cached === undefined) return null
    cached.isUsed = true
    return cached.batch
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
   * Keeps a copy of a batch that is not kept yet, if it was asked for before and there is room for
   * its like. Another may have to go, whose bytes are as they were until the next call.
   */
  add(position: number, batch: RecordBatch): void {
    const { sizeBytes } = batch
    if (!this.#cache.takes(sizeBytes) || this.#byPosition.has(position)) return
    if (!this.#cache.noteWanted(this.#id, position)) return
    const bytes = this.#cache.borrow(sizeBytes)
    batch.buffer.copy(bytes)
    const copy = new RecordBatch(bytes.subarray(0, sizeBytes))
    const cached = { owner: this, position, batch: copy, bytes, isUsed: false, isGone: false }
    this.#byPosition.set(position, cached)
    this.#cache.add(cached)
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
