import { checkWholeNumber, errorOf } from '../checks.ts'
import { OffsetOutOfRangeError, PolicyViolationError, ReadOnlyError } from '../errors.ts'
import type { FreedSpace } from '../storage/log-retention.ts'
import type { Log } from '../storage/log.ts'
import type { PartitionContext } from './partition-context.ts'
import { INTERNAL_TOPICS } from './topic-name.ts'

/** Result of {@link Partition.deleteRecords}. */
export interface DeletedRecords extends FreedSpace {
  /** Lowest offset that can be read after the deletion. */
  readonly logStartOffset: number
}

/** What a {@link RecordDeletion} needs from its partition. */
export interface DeletionOwner {
  readonly log: Log
  readonly context: Pick<PartitionContext, 'clock' | 'readOnly' | 'consumedBelow'>
  highWatermark(): number
  /** Called after a deletion: readers may be waiting after deleted records. */
  onDeleted(): void
}

/** The part of a partition that deletes records from the start of its log. Calls may overlap. */
export class RecordDeletion {
  readonly #owner: DeletionOwner
  #failure: Error | null = null

  constructor(owner: DeletionOwner) {
    this.#owner = owner
  }

  /** Why the last check of the limits failed; `null` if it did not fail. */
  get failure(): Error | null {
    return this.#failure
  }

  /** See `Partition.deleteRecords`. */
  async deleteRecords(beforeOffset: number): Promise<DeletedRecords> {
    checkWholeNumber('beforeOffset', beforeOffset, -1, Number.MAX_SAFE_INTEGER)
    const { log } = this.#owner
    if (INTERNAL_TOPICS.has(log.topic) || log.config.cleanupPolicy === 'compact') {
      throw new PolicyViolationError(
        `records of ${log.topic} cannot be deleted: its cleanupPolicy does not include 'delete'`,
      )
    }
    const highWatermark = this.#owner.highWatermark()
    const offset = beforeOffset === -1 ? highWatermark : beforeOffset
    if (offset > highWatermark) throw outOfRange(log, offset, highWatermark)
    const freed = await this.#deleting(() => log.advanceLogStartOffset(offset))
    return { ...freed, logStartOffset: log.logStartOffset }
  }

  /** See `Partition.enforceRetention`. */
  async enforceRetention(): Promise<FreedSpace> {
    try {
      const freed = await this.#enforce(Infinity)
      this.#failure = null
      return freed
    } catch (error) {
      this.#failure = errorOf(error)
      throw error
    }
  }

  /**
   * Deletes what the groups have consumed, even if an unfinished import holds it back: an import
   * that is never resumed must not keep a full topic full.
   */
  deleteConsumed(): Promise<FreedSpace> {
    return this.#enforce(Infinity, { isFull: true })
  }

  /**
   * Whether {@link RecordDeletion.enforceRetention} may delete anything, judged from memory alone.
   */
  mayEnforce(): boolean {
    return this.#mayDelete(false)
  }

  /**
   * Whether {@link RecordDeletion.deleteConsumed} may delete anything that the limits still keep.
   */
  mayDeleteConsumed(): boolean {
    return this.#isByConsumption && this.#mayDelete(true)
  }

  /** Whether the groups have consumed a whole segment that {@link RecordDeletion.deleteConsumed} would free. */
  hasConsumedSegment(): boolean {
    const { log } = this.#owner
    const { endOfOldest } = log.reader.outlook
    return endOfOldest > log.logStartOffset && this.#consumedBelow(true) >= endOfOldest
  }

  /** Deletes the oldest segment, unless it holds records that were never visible. */
  dropOldest(): Promise<FreedSpace> {
    return this.#enforce(this.#owner.log.size - 1)
  }

  #mayDelete(isFull: boolean): boolean {
    const { log, context } = this.#owner
    return log.reader.outlook.mayDelete({
      highWatermark: this.#owner.highWatermark(),
      startOffset: this.#consumedBelow(isFull),
      nowMs: context.clock.now(),
    })
  }

  async #enforce(maxSizeBytes: number, { isFull = false } = {}): Promise<FreedSpace> {
    const { log, context } = this.#owner
    if (context.readOnly) throw new ReadOnlyError('the broker is open for reading only')
    // Evaluated when its turn comes: meanwhile groups may commit, and the topic may be altered.
    return this.#deleting(() =>
      log.enforceRetention(() => ({
        highWatermark: this.#owner.highWatermark(),
        startOffset: this.#consumedBelow(isFull),
        maxSizeBytes,
        nowMs: context.clock.now(),
      })),
    )
  }

  get #isByConsumption(): boolean {
    const { retention, cleanupPolicy } = this.#owner.log.config
    return retention === 'consumed' && cleanupPolicy !== 'compact'
  }

  #consumedBelow(isFull: boolean): number {
    if (!this.#isByConsumption) return 0
    const { log, context } = this.#owner
    const { topic, partition } = log
    return context.consumedBelow({ topic, partition }, { isFull })
  }

  async #deleting(deletion: () => Promise<FreedSpace>): Promise<FreedSpace> {
    const { log } = this.#owner
    const before = log.logStartOffset
    let freedSegments = 0
    try {
      const freed = await deletion()
      freedSegments = freed.segments
      return freed
    } finally {
      // A failed deletion may have deleted something: the new start counts before files are
      // removed.
      if (freedSegments > 0 || log.logStartOffset !== before) this.#owner.onDeleted()
    }
  }
}

/** The error for an offset outside the log. */
export function outOfRange(log: Log, offset: number, logEndOffset: number): OffsetOutOfRangeError {
  const { topic, partition, logStartOffset } = log
  return new OffsetOutOfRangeError({ topic, partition, offset, logStartOffset, logEndOffset })
}
