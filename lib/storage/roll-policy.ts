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
  /** By this clock; `null` while the active segment is one that was found, and its file was not asked. */
  #activeSinceMs: number | null = null
  readonly #openedMs: number
  /** How much earlier than after `segmentMs` the active segment is rolled. */
  #jitterMs: number

  /** @param found the active segment as the log was opened */
  constructor(
    config: Readonly<ResolvedTopicConfig>,
    sources: { clock: Pick<Clock, 'now'>; random: Pick<Random, 'integer'> },
    found: LogSegment | undefined,
  ) {
    this.#clock = sources.clock
    this.#random = sources.random
    this.#config = config
    this.#jitterMs = this.#drawJitter()
    this.#openedMs = this.#clock.now()
    // An empty one has stood for nobody.
    if ((found?.sizeBytes ?? 0) === 0) this.#activeSinceMs = this.#openedMs
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
    await active.loadIndexes()
    const first = firstTimestampOf(active, firstPending) ?? (await active.times.first())
    const isDue = this.#isDue(active, batch, first)
    if (isDue !== null) return isDue
    const nowMs = this.#clock.now()
    return nowMs - (await this.activeSince(active, nowMs)) > this.#limitMs
  }

  /**
   * Since when `active` takes records, by the clock. One that was found counts from its file, so that a
   * log that is opened more often than it rolls comes to roll at all.
   */
  async activeSince(active: LogSegment, nowMs: number): Promise<number> {
    if (this.#activeSinceMs === null) {
      const begunMs = await active.times.begunMs()
      // It may have been rolled meanwhile.
      this.#activeSinceMs ??= Math.min(this.#openedMs, begunMs)
    }
    return this.#knownSince(nowMs) ?? nowMs
  }

  #isDue(active: LogSegment, batch: RecordBatch, firstTimestamp: number): boolean | null {
    if (active.indexes.isFull) return true
    // By the records' own time, as far as there is one that can be right; otherwise by the clock.
    if (firstTimestamp >= 0 && batch.maxTimestamp - firstTimestamp > this.#limitMs) return true
    const nowMs = this.#clock.now()
    if (firstTimestamp >= 0 && firstTimestamp <= nowMs) return false
    const sinceMs = this.#knownSince(nowMs)
    return sinceMs === null ? null : nowMs - sinceMs > this.#limitMs
  }

  #knownSince(nowMs: number): number | null {
    // Where the clock has been set back, from the first look at it on.
    if (this.#activeSinceMs !== null && this.#activeSinceMs > nowMs) this.#activeSinceMs = nowMs
    return this.#activeSinceMs
  }

  get #limitMs(): number {
    return this.#longestMs - this.#jitterMs
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
