import { RecordBatch, totalSizeBytes } from '../record/record-batch.ts'
import { copyFromAll } from '../record/record-copies.ts'
import { sharedCopy } from '../record/shared-memory.ts'
import type { FewRecords } from '../storage/few-records.ts'
import type { BatchLimits } from '../storage/log-reader.ts'
import type { Log } from '../storage/log.ts'
import { NONE_FITS } from '../storage/prompt-read.ts'
import type { LockLoss } from './lock-loss.ts'
import type { RecentBatches } from './recent-batches.ts'

/** {@link BatchLimits} with every field filled in. */
type Limits = Required<BatchLimits>

/**
 * Reads the batches of a partition: the most recently appended ones from memory, all others from
 * its log.
 *
 * Returned batches are copies, because records are views of them: a caller that writes to one must
 * not change what others read.
 */
export class PartitionBatches {
  readonly #log: Log
  readonly #recent: RecentBatches
  readonly #visibleEnd: () => number
  readonly #lockLoss: Pick<LockLoss, 'error'>

  /**
   * @param partition `visibleEnd` is the exclusive end of what may be read; -1 once the partition
   * is closed.
   */
  constructor(
    log: Log,
    recent: RecentBatches,
    partition: {
      readonly visibleEnd: () => number
      readonly lockLoss: Pick<LockLoss, 'error'>
    },
  ) {
    this.#log = log
    this.#recent = recent
    this.#visibleEnd = partition.visibleEnd
    this.#lockLoss = partition.lockLoss
  }

  /**
   * See `Partition.readBatches`.
   * @throws {@link LockLostError} at the end of the log, once another owner appends to it.
   */
  async read(
    offset: number,
    maxBytes: number,
    wantedEnd?: number,
  ): Promise<readonly RecordBatch[]> {
    const limits = this.#limits(maxBytes, wantedEnd)
    const { error } = this.#lockLoss
    if (error !== null && this.#hasNothingYet(offset, limits.endOffset)) throw error
    const recent = this.#recentNow(offset, limits)
    return recent === null ? this.#log.reader.readBatches(offset, limits) : copiesOf(recent)
  }

  /** See `Partition.readBatchesNow`. */
  readNow(offset: number, maxBytes: number, wantedEnd?: number): readonly RecordBatch[] | null {
    const limits = this.#limits(maxBytes, wantedEnd)
    const recent = this.#recentNow(offset, limits)
    if (recent !== null) return copiesOf(recent)
    const batches = this.#log.reader.readBatchesNow(offset, limits)
    return batches.length > 0 || this.#mayWait(offset, limits.endOffset) ? batches : null
  }

  /**
   * Synchronously reads the batches that follow earlier ones of the same read, all of them within
   * `maxBytes`. A batch that turned out too large would otherwise be read twice.
   *
   * @returns no batches if none fits, or nothing follows yet; `null` as
   * {@link PartitionBatches.readNow}.
   */
  readBehindNow(
    offset: number,
    maxBytes: number,
    wantedEnd?: number,
  ): readonly RecordBatch[] | null {
    const limits = { mustFit: true, ...this.#limits(maxBytes, wantedEnd) }
    const recent = this.#recentNow(offset, limits)
    if (recent !== null) return copiesOf(recent)
    const batches = this.#log.reader.readBatchesNow(offset, limits)
    const isCertain = batches.length > 0 || batches === NONE_FITS
    return isCertain || this.#mayWait(offset, limits.endOffset) ? batches : null
  }

  /**
   * Synchronously reads copies of the records from `offset` on: as many as wanted, or as can be
   * read that way.
   *
   * @returns `null` if there are none.
   */
  readFewNow(offset: number, maxRecords: number, maxBytes: number): FewRecords | null {
    const limits = this.#limits(maxBytes, offset + maxRecords)
    const recent = this.#recentNow(offset, limits)
    if (recent === null)
      return this.#log.reader.readFewNow(offset, {
        maxRecords,
        maxBytes,
        endOffset: limits.endOffset,
      })
    const records = copyFromAll(recent, this.#log, { fromOffset: offset, maxRecords })
    if (records === null || records.length === 0) return null
    const nextOffset = recent.at(-1)?.nextOffset ?? offset
    return { records, nextOffset, restBytes: maxBytes - totalSizeBytes(recent) }
  }

  /** Drops the batches in memory below `offset`: compaction may have removed records from them. */
  forgetBelow(offset: number): void {
    this.#recent.forgetBelow(offset)
  }

  #limits(maxBytes: number, wantedEnd = Infinity): Limits {
    return { maxBytes, endOffset: this.#visibleEnd(), wantedEnd }
  }

  #recentNow(
    offset: number,
    limits: Limits & { readonly mustFit?: boolean },
  ): readonly RecordBatch[] | null {
    if (offset < this.#log.logStartOffset || offset >= limits.endOffset) return null
    if (this.#recent.leaderEpoch !== this.#log.leaderEpoch) return null
    const recent = this.#recent.read(offset, limits)
    // After a failure of the log, memory may hold what its disk has lost.
    return recent !== null && this.#log.isWritable ? recent : null
  }

  /** Whether there is certainly nothing to read at `offset` yet, but may be later. */
  #mayWait(offset: number, endOffset: number): boolean {
    return this.#hasNothingYet(offset, endOffset) && this.#lockLoss.error === null
  }

  /** Whether there is certainly nothing to read at `offset` yet, and no error either. */
  #hasNothingYet(offset: number, endOffset: number): boolean {
    const { logStartOffset, logEndOffset, reader } = this.#log
    const isAtEnd = endOffset >= 0 && offset >= endOffset && offset <= logEndOffset
    return isAtEnd && offset >= logStartOffset && reader.isSound
  }
}

/** Neither with `map` nor by a growing array if there is one: see `batchesOf`. */
function copiesOf(batches: readonly RecordBatch[]): RecordBatch[] {
  if (batches.length === 1) return [copyOf(batches[0] as RecordBatch)]
  const copies: RecordBatch[] = []
  for (const batch of batches) copies.push(copyOf(batch))
  return copies
}

function copyOf({ buffer }: RecordBatch): RecordBatch {
  return new RecordBatch(sharedCopy(buffer))
}
