import type { ResolvedTopicConfig } from '../config.ts'
import type { Clock } from '../platform/clock.ts'
import type { Random } from '../platform/random.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import type { LogSegment } from './log-segment.ts'

/** Decides when a log begins a new segment: by size, by age, or where an offset or index is full. */
export class RollPolicy {
  readonly #clock: Pick<Clock, 'now'>
  readonly #random: Pick<Random, 'integer'>
  #config: Readonly<ResolvedTopicConfig>
  #activeSinceMs: number
  /** How much earlier than after `segmentMs` the active segment is rolled. */
  #jitterMs: number

  constructor(
    config: Readonly<ResolvedTopicConfig>,
    sources: { clock: Pick<Clock, 'now'>; random: Pick<Random, 'integer'> },
  ) {
    this.#clock = sources.clock
    this.#random = sources.random
    this.#config = config
    this.#jitterMs = this.#drawJitter()
    this.#activeSinceMs = this.#clock.now()
  }

  get config(): Readonly<ResolvedTopicConfig> {
    return this.#config
  }

  set config(config: Readonly<ResolvedTopicConfig>) {
    this.#config = config
    // One that was drawn before may be longer than the new `segmentMs`.
    this.#jitterMs = this.#drawJitter()
  }

  /** A segment has become the active one. */
  rolled(): void {
    this.#activeSinceMs = this.#clock.now()
    this.#jitterMs = this.#drawJitter()
  }

  /**
   * Whether `batch` belongs into a new segment, when `pendingBytes` go into `active` before it. A
   * promise only where the segment has to be read for that.
   */
  mustRoll(
    active: LogSegment | undefined,
    batch: RecordBatch,
    firstPending: RecordBatch | undefined,
    pendingBytes: number,
  ): boolean | Promise<boolean> {
    if (active === undefined) return false
    const isDue = this.mustRollNow(active, batch, firstPending, pendingBytes)
    return isDue ?? this.#readAndDecide(active, batch, firstPending)
  }

  /** The same, and `null` where the segment has to be read for that: nothing is read. */
  mustRollNow(
    active: LogSegment,
    batch: RecordBatch,
    firstPending: RecordBatch | undefined,
    pendingBytes: number,
  ): boolean | null {
    if (!active.fits(batch.lastOffset)) return true
    const sizeBytes = active.sizeBytes + pendingBytes
    if (sizeBytes === 0) return false
    if (sizeBytes > this.#config.segmentBytes - batch.sizeBytes) return true
    const first = firstTimestampOf(active, firstPending)
    return first == null || !active.held.canAppend ? null : this.#isDue(active, batch, first)
  }

  async #readAndDecide(
    active: LogSegment,
    batch: RecordBatch,
    firstPending: RecordBatch | undefined,
  ): Promise<boolean> {
    const first = firstTimestampOf(active, firstPending)
    await active.loadIndexes()
    return this.#isDue(active, batch, first ?? (await active.times.first()))
  }

  #isDue(active: LogSegment, batch: RecordBatch, firstTimestamp: number): boolean {
    if (active.indexes.isFull) return true
    // By the records' own time; only where they have none, by the clock.
    const waitedMs =
      firstTimestamp >= 0
        ? batch.maxTimestamp - firstTimestamp
        : this.#clock.now() - this.#activeSinceMs
    return waitedMs > this.#longestMs - this.#jitterMs
  }

  /** What is not rolled is not compacted, so a compacted log has both limits. */
  get #longestMs(): number {
    const { segmentMs, maxCompactionLagMs, cleanupPolicy } = this.#config
    return cleanupPolicy === 'delete' ? segmentMs : Math.min(segmentMs, maxCompactionLagMs)
  }

  #drawJitter(): number {
    const bound = Math.min(this.#config.segmentJitterMs, this.#longestMs)
    return bound === 0 ? 0 : this.#random.integer(bound)
  }
}

/** Of the first batch in the segment, or the one that is to become it; nothing while nobody has read it. */
function firstTimestampOf(
  active: LogSegment,
  firstPending: RecordBatch | undefined,
): number | null | undefined {
  return active.sizeBytes === 0 ? firstPending?.maxTimestamp : active.times.ofFirstBatch
}
