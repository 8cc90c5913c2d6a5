import { reasonOf } from '../checks.ts'
import { StorageError } from '../errors.ts'
import type { Clock } from '../platform/clock.ts'
import type { FileSystem } from '../platform/file-system.ts'

/** How long an answer of the file system is valid, and for how many bytes of appends. */
const MAX_AGE_MS = 1_000
const MAX_TAKEN_BYTES = 4 * 1024 * 1024

/**
 * Free bytes of a broker's file system, without asking it for each append. Other programs may fill
 * it meanwhile: set a limit above what they write in a second. Calls may overlap.
 */
export class FreeSpace {
  readonly #fileSystem: FileSystem
  readonly #dir: string
  readonly #clock: Pick<Clock, 'monotonic'>
  #bytes = 0
  #askedMs = -Infinity
  /** The question that all partitions share which look at the same time. */
  #looking: Promise<unknown> | null = null
  /** When it last did not answer. */
  #failedMs = -Infinity
  /** Bytes of all appends that were ever granted. */
  #grantedBytes = 0
  /** Granted bytes whose append is written or has failed. */
  #settledBytes = 0
  /**
   * Both counts when the file system was last asked: its answer may not include any later bytes.
   */
  #grantedWhenAsked = 0
  #settledWhenAsked = 0

  constructor(fileSystem: FileSystem, dir: string, clock: Pick<Clock, 'monotonic'>) {
    this.#fileSystem = fileSystem
    this.#dir = dir
    this.#clock = clock
  }

  /**
   * The free bytes, as far as they are known.
   *
   * @param neededBytes the file system is asked if fewer bytes than this seem to be free.
   * @throws {@link StorageError} when the file system does not answer.
   */
  async atLeast(neededBytes: number): Promise<number> {
    if (this.#isKnown && this.#left >= neededBytes) return this.#left
    return this.#ask()
  }

  /** The free bytes; `Infinity` while they are not known. */
  get known(): number {
    return this.#isKnown ? this.#left : Infinity
  }

  /**
   * Asks the file system if the free bytes are not known, and it was not asked in vain just now.
   *
   * @returns `null` if there is nothing to wait for; the promise never rejects
   */
  look(): Promise<unknown> | null {
    if (this.#isKnown || this.#clock.monotonic() - this.#failedMs < MAX_AGE_MS) return null
    this.#looking ??= this.#ask()
      .catch(() => undefined)
      .finally(() => {
        this.#looking = null
      })
    return this.#looking
  }

  get #isKnown(): boolean {
    const ageMs = this.#clock.monotonic() - this.#askedMs
    const takenBytes = this.#grantedBytes - this.#grantedWhenAsked
    return ageMs < MAX_AGE_MS && takenBytes < MAX_TAKEN_BYTES
  }

  async #ask(): Promise<number> {
    const [granted, settled] = [this.#grantedBytes, this.#settledBytes]
    try {
      this.#bytes = await this.#fileSystem.freeBytes(this.#dir)
    } catch (error) {
      this.#failedMs = this.#clock.monotonic()
      const reason = reasonOf(error)
      const message = `the free space of ${this.#dir} could not be determined: ${reason}`
      throw new StorageError(message, { path: this.#dir, outcome: 'not-written' }, { cause: error })
    }
    this.#askedMs = this.#clock.monotonic()
    this.#grantedWhenAsked = granted
    this.#settledWhenAsked = settled
    return this.#left
  }

  /** Grants bytes for an append. */
  take(sizeBytes: number): void {
    this.#grantedBytes += sizeBytes
  }

  /**
   * Reports granted bytes as written or failed: the next answer includes what is on disk of them.
   */
  settle(sizeBytes: number): void {
    this.#settledBytes += sizeBytes
  }

  get #left(): number {
    return Math.max(0, this.#bytes - (this.#grantedBytes - this.#settledWhenAsked))
  }
}
