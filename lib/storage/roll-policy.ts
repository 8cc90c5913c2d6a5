import type { ResolvedTopicConfig } from '../config.ts'
import type { Clock } from '../platform/clock.ts'
import type { Random } from '../platform/random.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import type { LogSegment } from './log-segment.ts'

/** Decides when to start a new segment: by size, by age, or if an offset or index is full. */
export class RollPolicy {
  readonly #clock: Pick<Clock, 'now'>
  readonly #random: Pick<Random, 'integer'>
  #config: Readonly<ResolvedTopicConfig>
  /** By this clock; `null` if the active segment was found at open and its file was not queried. */
  #activeSinceMs: number | null = null
  readonly #openedMs: number
  /** How much sooner than its age limit the active segment is rolled. */
  #jitterMs: number

  /** @param found the active segment when the log was opened */
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
    // An empty segment has no age yet.
    if ((found?.sizeBytes ?? 0) === 0) this.#activeSinceMs = this.#openedMs
  }

  get config(): Readonly<ResolvedTopicConfig> {
    return this.#config
  }

  set config(config: Readonly<ResolvedTopicConfig>) {
    this.#config = config
    // The old jitter may be longer than the new `segmentMs`.
    this.#jitterMs = this.#drawJitter()
  }

  /** Notes that a new segment is active. */
  rolled(): void {
    this.#activeSinceMs = this.#clock.now()
    this.#jitterMs = this.#drawJitter()
  }

  /**
   * Whether `batch` belongs in a new segment, once `pendingBytes` have been added to `active`.
   * Returns a promise only if the segment has to be read.
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

  /** Like {@link RollPolicy.mustRoll}, but reads nothing: `null` if the segment has to be read. */
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
   * When `active` began to take records, by the clock. For a segment found at open, its file times
   * count: a log that is opened more often than it rolls would never roll otherwise.
   */
  async activeSince(active: LogSegment, nowMs: number): Promise<number> {
    if (this.#activeSinceMs === null) {
      const begunMs = await active.times.begunMs()
      // It may have been rolled in the meantime.
      this.#activeSinceMs ??= Math.min(this.#openedMs, begunMs)
    }
    return this.#knownSince(nowMs) ?? nowMs
  }

  #isDue(active: LogSegment, batch: RecordBatch, firstTimestamp: number): boolean | null {
    if (active.indexes.isFull) return true
    // By the records' timestamps if they are plausible; otherwise by the clock.
    if (firstTimestamp >= 0 && batch.maxTimestamp - firstTimestamp > this.#limitMs) return true
    const nowMs = this.#clock.now()
    if (firstTimestamp >= 0 && firstTimestamp <= nowMs) return false
    const sinceMs = this.#knownSince(nowMs)
    return sinceMs === null ? null : nowMs - sinceMs > this.#limitMs
  }

  #knownSince(nowMs: number): number | null {
    // If the clock was set back, the age counts from now on.
    if (this.#activeSinceMs !== null && this.#activeSinceMs > nowMs) this.#activeSinceMs = nowMs
    return this.#activeSinceMs
  }

  get #limitMs(): number {
    return this.#longestMs - this.#jitterMs
  }

  /** Only rolled segments are compacted, so both limits apply to a compacted log. */
  get #longestMs(): number {
    const { segmentMs, maxCompactionLagMs, cleanupPolicy } = this.#config
    return cleanupPolicy === 'delete' ? segmentMs : Math.min(segmentMs, maxCompactionLagMs)
  }

  #drawJitter(): number {
    const bound = Math.min(this.#config.segmentJitterMs, this.#longestMs)
    return bound === 0 ? 0 : this.#random.integer(bound)
  }
}

/** Largest timestamp of the first batch, present or pending; none if nobody has read it. */
function firstTimestampOf(
  active: LogSegment,
  firstPending: RecordBatch | undefined,
): number | null | undefined {
  return active.sizeBytes === 0 ? firstPending?.maxTimestamp : active.times.ofFirstBatch
}
