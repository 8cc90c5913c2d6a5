import { CorruptRecordError, StorageError } from '../errors.ts'
import { isSystemError } from '../platform/system-error.ts'
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
  /** Why its latest batches are not known; `null` if they are. */
  #damage: CorruptRecordError | null = null

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

  /**
   * Looks for what the directory's owner has appended.
   *
   * @param isOnly whether the caller gets only this look, so that missing files are a failure
   * @throws what is no damage
   */
  async refresh({ isOnly }: { readonly isOnly: boolean }): Promise<void> {
    try {
      await this.#partition.refresh()
    } catch (error) {
      // The owner may be in the middle of a change. The next refresh sees the result.
      const isMissing = error instanceof StorageError && isSystemError(error.cause, 'ENOENT')
      if (isMissing && !isOnly) return
      this.#damage = this.#damageOf(error, this.highWatermark)
    }
  }

  /** @throws {@link CorruptRecordError} also if the batches, or the latest ones, cannot be read. */
  async readBatches(offset: number, maxBytes: number): Promise<readonly RecordBatch[]> {
    if (this.#damage !== null) throw this.#damage
    try {
      return await this.#partition.readBatches(offset, maxBytes)
    } catch (error) {
      throw this.#damageOf(error, offset)
    }
  }

  /** @throws the error, unless it says that something cannot be read. */
  #damageOf(error: unknown, offset: number): CorruptRecordError {
    const cause = error instanceof StorageError ? error.cause : null
    if (!isReadFailure(cause)) throw error
    const { log } = this.#partition
    const segment = log.segments.findLast(({ baseOffset }) => baseOffset <= offset)
    return new CorruptRecordError(
      readFailureReason(cause),
      { path: cause.path ?? segment?.path ?? log.dir, position: 0, firstOffset: offset },
      { cause },
    )
  }
}
