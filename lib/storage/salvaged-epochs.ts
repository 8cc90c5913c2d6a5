import type { FileSystem } from '../platform/file-system.ts'
import { writeFully } from '../platform/file-io.ts'
import { LEADER_EPOCH_POSITION } from '../record/batch-layout.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import { BatchReader } from './batch-reader.ts'
import { loadEpochs } from './epoch-refill.ts'
import { epochsBy, LeaderEpochCache } from './leader-epoch-cache.ts'

const READ_BYTES = 1024 * 1024

/**
 * The leader epochs of a log that is salvaged. No checksum of a batch covers its own: where one
 * contradicts the checkpoint of epochs, it is put right in the copy; unless the checksum on record of
 * its file proves that it is right, so that the checkpoint has rotted, which is left out then.
 */
export class SalvagedEpochs {
  readonly #fileSystem: FileSystem
  readonly #source: LeaderEpochCache
  #epochOf = epochsBy([])
  /** Copies with batches that contradict the checkpoint. */
  readonly #disputed: string[] = []
  #isCheckpointWrong = false

  constructor(fileSystem: FileSystem, dir: string) {
    this.#fileSystem = fileSystem
    this.#source = new LeaderEpochCache(fileSystem, dir)
  }

  /** Reads the checkpoint, which may be missing or damaged: then nothing is known. */
  async load(): Promise<void> {
    await loadEpochs(this.#source)
    this.#epochOf = epochsBy(this.#source.entries)
  }

  /** Whether the checkpoint names another epoch. Batches are to be asked for in offset order. */
  isContradictedBy({ baseOffset, partitionLeaderEpoch }: RecordBatch): boolean {
    return (this.#epochOf(baseOffset) ?? partitionLeaderEpoch) !== partitionLeaderEpoch
  }

  /** Notes a copy that holds such batches. */
  dispute(path: string, areBatchesProven: boolean): void {
    this.#isCheckpointWrong ||= areBatchesProven
    this.#disputed.push(path)
  }

  /** Puts the copies right. @returns whether the checkpoint is to be copied with them */
  async settle(): Promise<boolean> {
    if (this.#isCheckpointWrong) return false
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
