import { CorruptRecordError, StorageError } from '../errors.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import type { AppendRecord } from '../storage/append-record.ts'
import { isReadFailure, readFailureReason } from '../storage/read-failure.ts'
import type { OffsetsPartition } from './offset-replay.ts'
import type { Partition } from './partition.ts'

/**
 * A partition of the committed offsets, for a reader that needs all of them: anything that cannot
 * be read counts as damage, because the groups' positions are unknown then, too.
 */
export class ReadableOffsets implements OffsetsPartition {
  readonly #partition: Partition

  constructor(partition: Partition) {
    this.#partition = partition
  }

  get topic(): string {
    return this.#partition.topic
  }

  get index(): number {
    return this.#partition.index
  }

  get logStartOffset(): number {
    return this.#partition.logStartOffset
  }

  get highWatermark(): number {
    return this.#partition.highWatermark
  }

  get log(): Partition['log'] {
    return this.#partition.log
  }

  appendInternal(records: readonly AppendRecord[]): Promise<unknown> {
    return this.#partition.appendInternal(records)
  }

  /** @throws {@link CorruptRecordError} also if the batches cannot be read. */
  async readBatches(offset: number, maxBytes: number): Promise<readonly RecordBatch[]> {
    try {
      return await this.#partition.readBatches(offset, maxBytes)
    } catch (error) {
      const cause = error instanceof StorageError ? error.cause : null
      if (!isReadFailure(cause)) throw error
      const { log } = this.#partition
      const segment = log.segments.findLast(({ baseOffset }) => baseOffset <= offset)
      throw new CorruptRecordError(
        readFailureReason(cause),
        { path: cause.path ?? segment?.path ?? log.dir, position: 0, firstOffset: offset },
        { cause },
      )
    }
  }
}
