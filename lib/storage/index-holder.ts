import type { IndexOwner } from './index-cache.ts'
import { segmentFilePath } from './log-files.ts'
import { SegmentIndexes } from './segment-indexes.ts'
import type { SegmentOptions } from './segment-options.ts'

/** The segment whose indexes are held. */
export interface IndexedSegment {
  readonly baseOffset: number
  readonly sizeBytes: number
  readonly nextOffset: number
  /** Who uses it may need the indexes too. */
  readonly file: { readonly isInUse: boolean }
  /**
   * Notes its batches from the last index entry on, those included that are appended meanwhile.
   *
   * @param onDone called at the very moment when there is none left.
   */
  noteAgain(indexes: SegmentIndexes, onDone?: () => void): Promise<void>
}

/**
 * The indexes of one segment, as far as somebody has needed them.
 *
 * There are three degrees, each loaded once: what appends need, which is the end of both files; all
 * offsets, for reads; all timestamps, for searches by time. Files that are missing, or turn out not
 * to belong to the log file, are built anew in memory.
 */
export class IndexHolder implements IndexOwner {
  readonly #segment: IndexedSegment
  readonly #options: SegmentOptions
  readonly #suffix: string
  #indexes: SegmentIndexes | null = null
  #end: Promise<void> | null = null
  #isEndLoaded = false
  #offsets: Promise<void> | null = null
  #times: Promise<void> | null = null
  /** Loads and writes. */
  #callsInFlight = 0

  /** @param suffix stands behind the names of the files. */
  constructor(segment: IndexedSegment, options: SegmentOptions, suffix: string) {
    this.#segment = segment
    this.#options = options
    this.#suffix = suffix
  }

  /** The indexes; empty ones while nothing is loaded. */
  get indexes(): SegmentIndexes {
    this.#indexes ??= this.#make()
    return this.#indexes
  }

  /** Whether they say anything yet. */
  get isLoaded(): boolean {
    return this.#end !== null
  }

  /** Whether batches can be noted at once. */
  get canAppend(): boolean {
    return this.#isEndLoaded
  }

  /** Whether offsets can be found at once. */
  get areOffsetsLoaded(): boolean {
    return this.#isEndLoaded && this.indexes.offsetIndex.isComplete
  }

  /** Bytes that they take in memory. */
  get indexBytes(): number {
    return this.#indexes?.memoryBytes ?? 0
  }

  /** What the caller has put into {@link IndexHolder.indexes} is all that there is to be loaded. */
  setLoaded(): void {
    this.#forgetLoads()
    this.#end = Promise.resolve()
    this.#isEndLoaded = true
  }

  /** What is in memory is not complete: whoever needs them next loads them anew. */
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

  /** Loads what it takes to go on behind the last batch. */
  load(): Promise<void> {
    this.#end ??= this.#loading(
      () => this.#loadEnd(),
      () => {
        this.#forgetLoads()
      },
    )
    return this.#end
  }

  /** Loads what it takes to find offsets. */
  loadOffsets(): Promise<void> {
    // A small file has been read as a whole.
    if (this.areOffsetsLoaded) return this.load()
    if (this.#offsets !== null) return this.#offsets
    const loading: Promise<void> = this.#loading(
      async () => {
        await this.load()
        if (!(await this.indexes.offsetIndex.complete())) await this.#rebuild()
      },
      () => {
        // The end stays: what is appended meanwhile is noted in it.
        if (this.#offsets === loading) this.#offsets = null
      },
    )
    this.#offsets = loading
    return loading
  }

  /** Loads what it takes to find timestamps, and the offsets that go with them. */
  loadTimes(): Promise<void> {
    if (this.#isEndLoaded && this.indexes.isComplete) return this.load()
    if (this.#times !== null) return this.#times
    const loading: Promise<void> = this.#loading(
      async () => {
        await this.loadOffsets()
        if (!(await this.indexes.timeIndex.complete())) await this.#rebuild()
      },
      () => {
        if (this.#times === loading) this.#times = null
      },
    )
    this.#times = loading
    return loading
  }

  /** Makes the files durable as far as anything is in memory. @returns whether a name is new. */
  async write(): Promise<boolean> {
    if (this.#end === null) return false
    const end = this.#end
    // Empty ones that take their place meanwhile would empty the files.
    this.#callsInFlight += 1
    try {
      await end
      return await this.indexes.write()
    } finally {
      this.#callsInFlight -= 1
    }
  }

  /** @param onFailure sees to it that the next who needs it loads it anew. */
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
    if (!isLoaded || !indexes.fit(segment.sizeBytes, segment.nextOffset)) indexes.clear()
    // A new segment may not have a file yet.
    if (segment.sizeBytes > 0) await segment.noteAgain(indexes)
    else indexes.rewind()
    this.#isEndLoaded = true
  }

  /** From the log file, while batches may be appended: until it is done the end that is there is used. */
  async #rebuild(): Promise<void> {
    const indexes = this.#make()
    await this.#segment.noteAgain(indexes, () => {
      this.#indexes = indexes
    })
  }

  #forgetLoads(): void {
    this.#end = null
    this.#isEndLoaded = false
    this.#offsets = null
    this.#times = null
  }

  #make(): SegmentIndexes {
    const { dir, ...rest } = this.#options
    const { baseOffset } = this.#segment
    const pathOf = (kind: 'index' | 'timeindex'): string =>
      segmentFilePath(dir, baseOffset, kind) + this.#suffix
    return new SegmentIndexes({
      ...rest,
      baseOffset,
      offsetIndexPath: pathOf('index'),
      timeIndexPath: pathOf('timeindex'),
    })
  }
}
