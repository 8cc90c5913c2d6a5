import { batchMemory } from '../record/batch-memory.ts'
import type { RecordBatch } from '../record/record-batch.ts'

/**
 * What a batch takes besides its bytes: itself, its buffer and its places in the queues. Of a record in
 * a batch of its own that is more than the bytes are.
 */
export const HELD_BATCH_BYTES = 240

/**
 * How much memory the recently appended batches of all partitions may take together. The oldest go
 * first, whichever partition they belong to.
 */
export class RecentBatchesBudget {
  readonly #maxBytes: number
  #sizeBytes = 0
  /** Every batch that is held, oldest first, from `#head` on. */
  #queue: { owner: RecentBatches; sizeBytes: number }[] = []
  #head = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /** Counts a batch that `owner` holds from now on, and makes room for it. */
  add(owner: RecentBatches, sizeBytes: number): void {
    this.#queue.push({ owner, sizeBytes })
    this.#sizeBytes += sizeBytes
    while (this.#sizeBytes > this.#maxBytes && this.#head < this.#queue.length) {
      const oldest = this.#queue[this.#head]
      this.#head += 1
      if (oldest === undefined) break
      this.#sizeBytes -= oldest.sizeBytes
      oldest.owner.dropOldest()
    }
    if (this.#head > 1024 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head)
      this.#head = 0
    }
  }
}

/**
 * The batches that were appended to one partition most recently, without a gap, so that whoever
 * reads at the end of the log needs no disk.
 */
export class RecentBatches {
  readonly #budget: RecentBatchesBudget
  /** Held batches, oldest first, from `#head` on; `null` for those cleared away before their turn. */
  #batches: (RecordBatch | null)[] = []
  #head = 0
  #leaderEpoch = -1

  constructor(budget: RecentBatchesBudget) {
    this.#budget = budget
  }

  /** Of all that is held. A log with a later one may have been cut since, and have others in their place. */
  get leaderEpoch(): number {
    return this.#leaderEpoch
  }

  /**
   * Holds batches that follow those held before. Where they do not, or are of another epoch, the log was
   * cut in between, and what was held before is forgotten.
   */
  add(batches: readonly RecordBatch[]): void {
    for (const batch of batches) {
      const last = this.#batches.at(-1)
      const { partitionLeaderEpoch } = batch
      const isNext = last?.nextOffset === batch.baseOffset
      if (!isNext || partitionLeaderEpoch !== this.#leaderEpoch) this.#clear()
      this.#leaderEpoch = partitionLeaderEpoch
      this.#batches.push(batch)
      this.#budget.add(this, batch.sizeBytes + HELD_BATCH_BYTES)
    }
  }

  /** Forgets what lies below `offset`: compaction may have removed records of it. */
  forgetBelow(offset: number): void {
    for (let slot = this.#head; slot < this.#batches.length; slot += 1) {
      const batch = this.#batches[slot]
      if (batch != null && batch.lastOffset >= offset) return
      this.#batches[slot] = null
    }
  }

  /** Forgets the oldest batch, as the budget demands. */
  dropOldest(): void {
    const oldest = this.#batches[this.#head]
    // Whoever was handed it has copied what he needs.
    if (oldest != null) batchMemory.letGo(oldest.buffer)
    this.#batches[this.#head] = null
    this.#head += 1
    if (this.#head > 64 && this.#head * 2 > this.#batches.length) {
      this.#batches = this.#batches.slice(this.#head)
      this.#head = 0
    }
  }

  /** Forgets everything. The budget still counts it until its turn comes. */
  #clear(): void {
    this.#batches.fill(null, this.#head)
  }

  /**
   * The batch that holds `offset` and those that follow.
   *
   * @param limits `mustFit`: the first batch has to keep to `maxBytes` as well.
   * @returns `null` when `offset` is not among what is held, or what is held reaches over the end; no
   * batches when the first does not fit.
   */
  read(
    offset: number,
    limits: { maxBytes: number; endOffset: number; wantedEnd?: number; mustFit?: boolean },
  ): readonly RecordBatch[] | null {
    let slot = this.#slotOf(offset)
    if (slot < 0) return null
    const found: RecordBatch[] = []
    let sizeBytes = 0
    for (; slot < this.#batches.length; slot += 1) {
      const batch = this.#batches[slot]
      if (batch == null || batch.nextOffset > limits.endOffset) break
      if (found.length > 0 && batch.baseOffset >= (limits.wantedEnd ?? Infinity)) break
      sizeBytes += batch.sizeBytes
      if (sizeBytes > limits.maxBytes && (found.length > 0 || limits.mustFit === true)) return found
      found.push(batch)
    }
    return found.length > 0 ? found : null
  }

  /** Slot of the first batch with a last offset at or above `offset`; -1 when that is not certain. */
  #slotOf(offset: number): number {
    // Who follows the log asks for what was appended last.
    const last = this.#batches.at(-1)
    if (last != null && last.baseOffset <= offset) {
      return offset <= last.lastOffset ? this.#batches.length - 1 : -1
    }
    let low = this.#head
    let high = this.#batches.length - 1
    // What a cut left as null lies below what came after it.
    while (low < high) {
      const middle = (low + high) >>> 1
      const batch = this.#batches[middle]
      if (batch == null || batch.lastOffset < offset) low = middle + 1
      else high = middle
    }
    const batch = this.#batches[low]
    if (batch == null || batch.lastOffset < offset) return -1
    const before = low > this.#head ? this.#batches[low - 1] : null
    return batch.baseOffset <= offset || before != null ? low : -1
  }
}
