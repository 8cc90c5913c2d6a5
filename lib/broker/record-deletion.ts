import { OffsetOutOfRangeError, PolicyViolationError } from '../errors.ts'
import type { Log } from '../storage/log.ts'
import { INTERNAL_TOPICS } from './topic-name.ts'

/** What a {@link RecordDeletion} needs of its partition. */
export interface DeletionOwner {
  readonly log: Log
  highWatermark(): number
  /** Records are gone that somebody may wait behind. */
  onDeleted(): void
}

/** The side of a partition that takes records away from the beginning of its log. Calls may overlap. */
export class RecordDeletion {
  readonly #owner: DeletionOwner

  constructor(owner: DeletionOwner) {
    this.#owner = owner
  }

  /** See `Partition.deleteRecords`. */
  async deleteRecords(beforeOffset: number): Promise<void> {
    const { log } = this.#owner
    if (INTERNAL_TOPICS.has(log.topic) || log.config.cleanupPolicy === 'compact') {
      throw new PolicyViolationError(
        `records of ${log.topic} cannot be deleted: its cleanupPolicy has no 'delete'`,
      )
    }
    const highWatermark = this.#owner.highWatermark()
    const offset = beforeOffset === -1 ? highWatermark : beforeOffset
    if (offset > highWatermark) throw outOfRange(log, offset, highWatermark)
    if (offset <= log.logStartOffset) return
    await log.advanceLogStartOffset(offset)
    this.#owner.onDeleted()
  }
}

function outOfRange(log: Log, offset: number, logEndOffset: number): OffsetOutOfRangeError {
  const { topic, partition, logStartOffset } = log
  return new OffsetOutOfRangeError({ topic, partition, offset, logStartOffset, logEndOffset })
}
