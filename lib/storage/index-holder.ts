import type { IndexOwner } from './index-cache.ts'
import { segmentFilePath } from './log-files.ts'
import { SegmentIndexes } from './segment-indexes.ts'
import type { SegmentOptions } from './segment-options.ts'

/** The segment whose indexes are held. */
export interface IndexedSegment {
  readonly baseOffset: number
  readonly sizeBytes: number
  readonly nextOffset: number
  /** While the file is in use, the indexes may be needed too. */
  readonly file: { readonly isInUse: boolean }
  /** See {@link SegmentTimes.first}. */
  readonly times: { first(): Promise<number> }
  /**
   * Adds its batches from the last index entry on, including those that are appended meanwhile.
   *
   * @param onDone is called synchronously when none is left.
   */
  noteAgain(indexes: SegmentIndexes, onDone?: () => void): Promise<void>
}

type Completions = Record<'offsetIndex' | 'timeIndex', Promise<void> | null>

/**
 * The indexes of one segment, loaded as needed.
 *
 * There are three stages, each loaded once: the ends of both files for appends, all offsets for
 * reads, and all timestamps for searches by time. Files that are missing, or do not match the log
 * file, are rebuilt in memory.
 */
export class IndexHolder implements IndexOwner {
  readonly #segment: IndexedSegment
  readonly #options: SegmentOptions
  readonly #suffix: string
  #indexes: SegmentIndexes | null = null
  #end: Promise<void> | null = null
  #isEndLoaded = false
  /** Completions, of which none is begun twice; replaced when everything is forgotten. */
  #completing: Completions = { offsetIndex: null, timeIndex: null }
  /** Number of loads and writes. */
  #callsInFlight = 0

  /** @param suffix is appended to the names of the files. */
  constructor(segment: IndexedSegment, options: SegmentOptions, suffix: string) {
    this.#segment = segment
    this.#options = options
    this.#suffix = suffix
  }

  /** The indexes; empty while nothing is loaded. */
  get indexes(): SegmentIndexes {
    this.#indexes ??= this.#make()
    return this.#indexes
  }

  /** Whether anything is loaded yet. */
  get isLoaded(): boolean {
    return this.#end !== null
  }

  /** Whether batches can be added without waiting. */
  get canAppend(): boolean {
    return this.#isEndLoaded
  }

  /** Whether offsets can be looked up without waiting. */
  get areOffsetsLoaded(): boolean {
    return this.#isEndLoaded && this.indexes.offsetIndex.isComplete
  }

  /** Bytes of memory in use. */
  get indexBytes(): number {
    return this.#indexes?.memoryBytes ?? 0
  }

  /** Notes that the caller has filled {@link IndexHolder.indexes} completely. */
  setLoaded(): void {
    this.#forgetLoads()
    this.#end = Promise.resolve()
    this.#isEndLoaded = true
  }

  /** Notes that the indexes in memory are incomplete: the next use loads them again. */
  distrust(): void {
    this.#forgetLoads()
  }

  unloadIndexes(): boolean {
    if (this.#callsInFlight > 0 || this.#segment.file.isInUse) return false
    const isOnDisk = this.#options.readOnly || this.#indexes?.isWritten !== false
    if (!isOnDisk) return false
    this.#indexes = null
    this.#forgetLoads()
    return true
  }

  /** Loads what is needed to append after the last batch. */
  load(): Promise<void> {
    this.#end ??= this.#loading(
      () => this.#loadEnd(),
      () => {
        this.#forgetLoads()
      },
    )
    return this.#end
  }

  /** Loads what is needed to look up offsets. */
  loadOffsets(): Promise<void> {
    // A small file has been read as a whole.
    if (this.areOffsetsLoaded) return this.load()
    return this.#complete('offsetIndex', () => this.load())
  }

  /** Loads what is needed to look up timestamps, and the corresponding offsets. */
  loadTimes(): Promise<void> {
    if (this.#isEndLoaded && this.indexes.isComplete) return this.load()
    return this.#complete('timeIndex', () => this.loadOffsets())
  }

  /** @param before loads the stage before. */
  #complete(kind: keyof Completions, before: () => Promise<void>): Promise<void> {
    const completing = this.#completing
    completing[kind] ??= this.#loading(
      async () => {
        await before()
        if (!(await this.indexes[kind].complete())) await this.#rebuild()
      },
      () => {
        // The end stays loaded, since batches appended meanwhile are added to it.
        completing[kind] = null
      },
    )
    return completing[kind]
  }

  /** Makes the files durable if anything is loaded. @returns whether a file is new. */
  async write(): Promise<boolean> {
    if (this.#end === null) return false
    const end = this.#end
    // If empty indexes replaced these meanwhile, the files would be emptied.
    this.#callsInFlight += 1
    try {
      await end
      return await this.indexes.write()
    } finally {
      this.#callsInFlight -= 1
    }
  }

  /** @param onFailure makes the next use load again. */
  async #loading(load: () => Promise<void>, onFailure: () => void): Promise<void> {
    this.#callsInFlight += 1
    try {
      await load()
    } catch (error) {
      onFailure()
      throw error
    } finally {
      this.#callsInFlight -= 1
    }
  }

  async #loadEnd(): Promise<void> {
    const { indexes } = this
    const segment = this.#segment
    const isLoaded = await indexes.loadEnd()
    const fits = isLoaded && indexes.fit(segment.sizeBytes, segment.nextOffset)
    if (!fits || (indexes.lacksTimes && (await segment.times.first()) >= 0)) indexes.clear()
    // A new segment may not have a file yet.
    if (segment.sizeBytes > 0) await segment.noteAgain(indexes)
    else indexes.rewind()
    this.#isEndLoaded = true
  }

  /**
   * From the log file, while batches may be appended. The old end is used until this has finished.
   */
  async #rebuild(): Promise<void> {
    const indexes = this.#make()
    await this.#segment.noteAgain(indexes, () => {
      this.#indexes = indexes
    })
  }

  #forgetLoads(): void {
    this.#end = null
    this.#isEndLoaded = false
    this.#completing = { offsetIndex: null, timeIndex: null }
  }

  #make(): SegmentIndexes {
    const { dir, ...rest } = this.#options
    const { baseOffset } = this.#segment
    const pathOf = (kind: 'index' | 'timeindex'): string =>
      segmentFilePath(dir, baseOffset, kind) + this.#suffix
    return new SegmentIndexes({
      baseOffset,
      offsetIndexPath: pathOf('index'),
      timeIndexPath: pathOf('timeindex'),
      ...rest,
    })
  }
}
