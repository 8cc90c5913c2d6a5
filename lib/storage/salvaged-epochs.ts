import type { FileSystem } from '../platform/file-system.ts'
import { writeFully } from '../platform/file-io.ts'
import { LEADER_EPOCH_POSITION } from '../record/batch-layout.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import { BatchReader } from './batch-reader.ts'
import { loadEpochs } from './epoch-refill.ts'
import { LeaderEpochCache } from './leader-epoch-cache.ts'
import { isBadMedium } from './read-failure.ts'

const READ_BYTES = 1024 * 1024

/**
 * The leader epochs of a log that is salvaged. Neither the epoch of a batch nor the epoch
 * checkpoint has a checksum. Epochs rise from batch to batch. An epoch that contradicts the
 * checkpoint and does not fit its neighbours is corrected in the copy. If it fits them, or the
 * recorded checksum of its file proves it, the checkpoint is wrong or behind, and is left out.
 */
export class SalvagedEpochs {
  readonly #fileSystem: FileSystem
  readonly #source: LeaderEpochCache
  /** Copied files with batches that contradict the checkpoint. */
  readonly #disputed: string[] = []
  #isCheckpointWrong = false
  /** Epoch of the last batch that does not contradict the checkpoint. */
  #known = -1
  /** Epoch of the previous batch, if it contradicts the checkpoint without being too low. */
  #inLine: number | null = null

  constructor(fileSystem: FileSystem, dir: string) {
    this.#fileSystem = fileSystem
    this.#source = new LeaderEpochCache(fileSystem, dir)
  }

  /** Reads the checkpoint. If it is missing, damaged or unreadable, no epoch is known. */
  async load(): Promise<void> {
    try {
      await loadEpochs(this.#source)
    } catch (error) {
      if (!isBadMedium(error)) throw error
    }
  }

  /** Notes a batch, in offset order. @returns whether the checkpoint names another epoch */
  note({ baseOffset, partitionLeaderEpoch: epoch }: RecordBatch): boolean {
    if (this.#inLine !== null && this.#inLine <= epoch) this.#isCheckpointWrong = true
    this.#inLine = null
    const expected = this.#source.epochOf(baseOffset)
    const isDisputed = expected >= 0 && expected !== epoch
    if (!isDisputed) this.#known = epoch
    else if (epoch >= this.#known) this.#inLine = epoch
    return isDisputed
  }

  /** Notes a copied file with batches that contradict the checkpoint. */
  dispute(path: string, areBatchesProven: boolean): void {
    this.#isCheckpointWrong ||= areBatchesProven
    this.#disputed.push(path)
  }

  /** Corrects the copies. @returns whether the checkpoint is to be copied as well */
  async settle(): Promise<boolean> {
    if (this.#isCheckpointWrong || this.#inLine !== null) return false
    for (const path of this.#disputed) await this.#putRight(path)
    return this.#source.entries.length > 0
  }

  async #putRight(path: string): Promise<void> {
    const file = await this.#fileSystem.open(path, 'update')
    try {
      const reader = new BatchReader(file, 0, (await file.stat()).sizeBytes)
      while (!reader.isAtEnd()) {
        const { baseOffset } = await reader.header(READ_BYTES)
        const { partitionLeaderEpoch } = await reader.batch()
        const epoch = this.#source.epochOf(baseOffset)
        if (epoch >= 0 && epoch !== partitionLeaderEpoch) {
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
