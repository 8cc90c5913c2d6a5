import { reasonOf } from '../checks.ts'
import { StorageError } from '../errors.ts'
import type { Clock } from '../platform/clock.ts'
import type { FileSystem } from '../platform/file-system.ts'

/** How long an answer of the file system is good for, and for how many bytes of appends. */
const MAX_AGE_MS = 1_000
const MAX_TAKEN_BYTES = 4 * 1024 * 1024

/**
 * What the file system of a broker has left, without asking it for each append. Other programs may
 * fill it meanwhile: who needs the head-room keeps more than they take in a second. Calls may overlap.
 */
export class FreeSpace {
  readonly #fileSystem: FileSystem
  readonly #dir: string
  readonly #clock: Pick<Clock, 'monotonic'>
  #bytes = 0
  #askedMs = -Infinity
  /** Bytes of all appends that were ever granted. */
  #grantedBytes = 0
  /** Those of them that are written, or have failed. */
  #settledBytes = 0
  /** What these were when the file system was asked: it cannot be relied on to count any others. */
  #grantedWhenAsked = 0
  #settledWhenAsked = 0

  constructor(fileSystem: FileSystem, dir: string, clock: Pick<Clock, 'monotonic'>) {
    this.#fileSystem = fileSystem
    this.#dir = dir
    this.#clock = clock
  }

  /**
   * Bytes that are left, as far as that is known.
   *
   * @param neededBytes where it looks as if there were no more than that, the file system is asked.
   * @throws {@link StorageError} when it does not say.
   */
  async atLeast(neededBytes: number): Promise<number> {
    const ageMs = this.#clock.monotonic() - this.#askedMs
    const takenBytes = this.#grantedBytes - this.#grantedWhenAsked
    const isKnown = ageMs < MAX_AGE_MS && takenBytes < MAX_TAKEN_BYTES
    if (isKnown && this.#left >= neededBytes) return this.#left
    const [granted, settled] = [this.#grantedBytes, this.#settledBytes]
    try {
      this.#bytes = await this.#fileSystem.freeBytes(this.#dir)
    } catch (error) {
      const reason = reasonOf(error)
      const message = `it is not known how much room ${this.#dir} has: ${reason}`
      throw new StorageError(message, { path: this.#dir, outcome: 'not-written' }, { cause: error })
    }
    this.#askedMs = this.#clock.monotonic()
    this.#grantedWhenAsked = granted
    this.#settledWhenAsked = settled
    return this.#left
  }

  /** So many bytes are going to be appended. */
  take(sizeBytes: number): void {
    this.#grantedBytes += sizeBytes
  }

  /** So many bytes of those are written, or have failed: the next answer counts what is there of them. */
  settle(sizeBytes: number): void {
    this.#settledBytes += sizeBytes
  }

  get #left(): number {
    return Math.max(0, this.#bytes - (this.#grantedBytes - this.#settledWhenAsked))
  }
}
