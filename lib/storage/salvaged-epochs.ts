import type { FileSystem } from '../platform/file-system.ts'
import { writeFully } from '../platform/file-io.ts'
import { LEADER_EPOCH_POSITION } from '../record/batch-layout.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import { BatchReader } from './batch-reader.ts'
import { loadEpochs } from './epoch-refill.ts'
import { epochsBy, LeaderEpochCache } from './leader-epoch-cache.ts'
import { isBadMedium } from './read-failure.ts'

const READ_BYTES = 1024 * 1024

/**
 * The leader epochs of a log that is salvaged. No checksum of a batch covers its own, and the checkpoint
 * of epochs has none. Epochs rise from batch to batch: where one contradicts the checkpoint and stands
 * out among its neighbours, it is put right in the copy. Where one stands in line, or the checksum on
 * record of its file proves it, it is the checkpoint that is wrong or behind, and is left out.
 */
export class SalvagedEpochs {
  readonly #fileSystem: FileSystem
  readonly #source: LeaderEpochCache
  #epochOf = epochsBy([])
  /** Copies with batches that contradict the checkpoint. */
  readonly #disputed: string[] = []
  #isCheckpointWrong = false
  /** Epoch of the last batch that does not contradict the checkpoint. */
  #known = -1
  /** That of the batch before, where it contradicts the checkpoint and is not below the ones in front of it. */
  #inLine: number | null = null

  constructor(fileSystem: FileSystem, dir: string) {
    this.#fileSystem = fileSystem
    this.#source = new LeaderEpochCache(fileSystem, dir)
  }

  /** Reads the checkpoint, which may be missing, damaged, or out of reach: then nothing is known. */
  async load(): Promise<void> {
    try {
      await loadEpochs(this.#source)
    } catch (error) {
      if (!isBadMedium(error)) throw error
    }
    this.#epochOf = epochsBy(this.#source.entries)
  }

  /** Takes note of a batch; all of them in offset order. @returns whether the checkpoint names another epoch */
  note({ baseOffset, partitionLeaderEpoch: epoch }: RecordBatch): boolean {
    if (this.#inLine !== null && this.#inLine <= epoch) this.#isCheckpointWrong = true
    this.#inLine = null
    const isDisputed = (this.#epochOf(baseOffset) ?? epoch) !== epoch
    if (!isDisputed) this.#known = epoch
    else if (epoch >= this.#known) this.#inLine = epoch
    return isDisputed
  }

  /** Notes a copy that holds such batches. */
  dispute(path: string, areBatchesProven: boolean): void {
    this.#isCheckpointWrong ||= areBatchesProven
    this.#disputed.push(path)
  }

  /** Puts the copies right. @returns whether the checkpoint is to be copied with them */
  async settle(): Promise<boolean> {
    if (this.#isCheckpointWrong || this.#inLine !== null) return false
    for (const path of this.#disputed) await this.#putRight(path)
    return this.#source.entries.length > 0
  }

  async #putRight(path: string): Promise<void> {
    const epochOf = epochsBy(this.#source.entries)
    const file = await this.#fileSystem.open(path, 'update')
    try {
      const reader = new BatchReader(file, 0, (await file.stat()).sizeBytes)
      while (!reader.isAtEnd()) {
        const { baseOffset } = await reader.header(READ_BYTES)
        const { partitionLeaderEpoch } = await reader.batch()
        const epoch = epochOf(baseOffset)
        if (epoch !== null && epoch !== partitionLeaderEpoch) {
          const bytes = Buffer.alloc(4)
          bytes.writeInt32BE(epoch)
          await writeFully(file, [bytes], reader.position + LEADER_EPOCH_POSITION)
        }
        reader.skip()
      }
    } finally {
      await file.close()
    }
  }
}
