import { batchMemory } from '../record/batch-memory.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import { Fifo } from '../storage/fifo.ts'

/**
 * Memory of a batch besides its bytes: the object, its buffer and its queue entries. For a
 * single-record batch that is more than the bytes.
 */
export const HELD_BATCH_BYTES = 240

/**
 * Limits the memory of the recently appended batches of all partitions. The oldest batches are
 * dropped first, whichever partition they belong to.
 */
export class RecentBatchesBudget {
  readonly #maxBytes: number
  #sizeBytes = 0
  /** All batches in memory, oldest first. */
  readonly #queue = new Fifo<{ owner: RecentBatches; sizeBytes: number }>()

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /** Counts a batch that `owner` keeps from now on, and makes room for it. */
  add(owner: RecentBatches, sizeBytes: number): void {
    this.#queue.push({ owner, sizeBytes })
    this.#sizeBytes += sizeBytes
    while (this.#sizeBytes > this.#maxBytes) {
      const oldest = this.#queue.shift()
      if (oldest === undefined) break
      this.#sizeBytes -= oldest.sizeBytes
      oldest.owner.dropOldest()
    }
  }
}

/**
 * The most recently appended batches of one partition, without a gap, so that reads at the end of
 * the log need no disk.
 */
export class RecentBatches {
  readonly #budget: RecentBatchesBudget
  /** The batches, oldest first, from `#head` on; `null` for those cleared before their turn. */
  #batches: (RecordBatch | null)[] = []
  #head = 0
  #leaderEpoch = -1

  constructor(budget: RecentBatchesBudget) {
    this.#budget = budget
  }

  /**
   * Epoch of all batches. A log with a later one may have been truncated since, and have replaced
   * them.
   */
  get leaderEpoch(): number {
    return this.#leaderEpoch
  }

  /**
   * Adds batches that follow the earlier ones. If they do not follow, or are of another epoch, the
   * log was truncated in between, and the earlier ones are forgotten.
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

  /** Forgets the batches below `offset`: compaction may have removed records from them. */
  forgetBelow(offset: number): void {
    for (let slot = this.#head; slot < this.#batches.length; slot += 1) {
      const batch = this.#batches[slot]
      if (batch != null && batch.lastOffset >= offset) return
      this.#batches[slot] = null
    }
  }

  /** Forgets the oldest batch on behalf of the budget. */
  dropOldest(): void {
    const oldest = this.#batches[this.#head]
    // Readers have copied what they need.
    if (oldest != null) batchMemory.letGo(oldest.buffer)
    this.#batches[this.#head] = null
    this.#head += 1
    if (this.#head > 64 && this.#head * 2 > this.#batches.length) {
      this.#batches = this.#batches.slice(this.#head)
      this.#head = 0
    }
  }

  /** Forgets everything. The budget counts the batches until their turn comes. */
  #clear(): void {
    this.#batches.fill(null, this.#head)
  }

  /**
   * The batch that contains `offset` and those after it.
   *
   * @param limits `mustFit`: the first batch has to keep to `maxBytes` as well.
   * @returns `null` when `offset` is not in memory, or its batch extends beyond the end; no batches
   * when the first does not fit.
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

  /**
   * Slot of the first batch with a last offset at or above `offset`; -1 when that is not certain.
   */
  #slotOf(offset: number): number {
    // A reader that follows the log asks for the last batch.
    const last = this.#batches.at(-1)
    if (last != null && last.baseOffset <= offset) {
      return offset <= last.lastOffset ? this.#batches.length - 1 : -1
    }
    let low = this.#head
    let high = this.#batches.length - 1
    // Slots that a truncation set to null are below those added after it.
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
