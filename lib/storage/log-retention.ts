import type { ResolvedTopicConfig } from '../config.ts'
import type { LocalLog } from './local-log.ts'
import type { LogSegment } from './log-segment.ts'

/** What a deletion has given back to the file system. */
export interface FreedSpace {
  /** Segments whose files are gone. */
  readonly segments: number
  /** Size of their log files. Their indexes, which are gone too, come on top. */
  readonly bytes: number
}

/** Nothing was deleted. */
export const NOTHING_FREED: FreedSpace = Object.freeze({ segments: 0, bytes: 0 })

/** Adds up what several deletions have given back. */
export function totalFreed(freed: Iterable<FreedSpace>): FreedSpace {
  let [segments, bytes] = [0, 0]
  for (const each of freed) {
    segments += each.segments
    bytes += each.bytes
  }
  return { segments, bytes }
}

/** What may be deleted of a log. */
export interface RetentionRequest {
  /** Nothing at or above it is deleted: nobody has been able to see it. */
  readonly highWatermark: number
  /** Everything below it is deleted, whatever the limits say. */
  readonly startOffset: number
  /** Oldest segments are deleted until the log takes no more bytes; `Infinity`: see the limits only. */
  readonly maxSizeBytes: number
  /** The wall clock, milliseconds since the epoch. */
  readonly nowMs: number
}

/** How far a log is to be deleted. */
export interface RetentionTarget {
  /** What is to be the new start of the log, at least the present one. */
  readonly offset: number
  /** Whether some of it goes because the log keeps enough bytes without it. */
  readonly isBySize: boolean
}

/**
 * Finds how far a log is to be deleted.
 *
 * Kafka's rules: whole segments, from the oldest on, and the first that stays ends it, so that the
 * log has no hole; a segment goes only when all of it is below the high watermark; the log keeps at
 * least `retentionBytes`. The active segment may be among those that go.
 */
export async function retentionTarget(
  log: LocalLog,
  request: RetentionRequest,
): Promise<RetentionTarget> {
  const { config, segments, logStartOffset, logEndOffset } = log
  const end = Math.min(request.highWatermark, logEndOffset)
  let target = Math.max(logStartOffset, Math.min(request.startOffset, end))
  const { all } = segments
  let restBytes = segments.sizeBytes
  let isBySize = false
  for (const [slot, segment] of all.entries()) {
    const endOffset = all[slot + 1]?.baseOffset ?? logEndOffset
    // What is not visible stays, and so does the empty segment that carries the end of the log.
    if (endOffset > end || endOffset === segment.baseOffset) break
    const { sizeBytes } = segment
    if (endOffset > target && restBytes <= request.maxSizeBytes) {
      const isBeyond = isBeyondSize(config, restBytes - sizeBytes)
      if (!isBeyond && !(await isBeyondAge(log, segment, request.nowMs))) break
      isBySize ||= isBeyond
    }
    target = Math.max(target, endOffset)
    restBytes -= sizeBytes
  }
  return { offset: target, isBySize }
}

/** What can be told of a log without a look at its files, once somebody has looked at them. */
export class RetentionOutlook {
  readonly #log: LocalLog

  constructor(log: LocalLog) {
    this.#log = log
  }

  /**
   * Whether a deletion might change anything: false where {@link retentionTarget} would find that the oldest
   * segment stays. One of which nobody knows how old it is may go.
   */
  mayDelete({
    highWatermark,
    startOffset,
    nowMs,
  }: Omit<RetentionRequest, 'maxSizeBytes'>): boolean {
    const { config, segments, logStartOffset, logEndOffset } = this.#log
    // What is left of an earlier deletion goes too.
    if (segments.dead.length > 0 || segments.hasBelow(logStartOffset)) return true
    const end = Math.min(highWatermark, logEndOffset)
    if (Math.min(startOffset, end) > logStartOffset) return true
    const [oldest, next] = segments.all
    const endOffset = next?.baseOffset ?? logEndOffset
    if (oldest === undefined || endOffset > end || endOffset === oldest.baseOffset) return false
    if (endOffset <= logStartOffset) return true
    if (isBeyondSize(config, segments.sizeBytes - oldest.sizeBytes)) return true
    if (!deletes(config) || config.retentionMs < 0) return false
    const sinceMs = knownSinceMs(oldest, nowMs)
    return sinceMs === null || nowMs - sinceMs > config.retentionMs
  }

  /**
   * When the oldest segment got the last of what it holds; `Infinity` when the log is empty.
   *
   * @returns a promise only where its file has to be looked at.
   */
  oldestSinceMs(nowMs: number): number | Promise<number> {
    const [oldest] = this.#log.segments.all
    if (oldest === undefined || oldest.sizeBytes === 0) return Infinity
    return knownSinceMs(oldest, nowMs) ?? completeSinceMs(oldest, nowMs)
  }
}

/** Whether the log would keep enough without a segment. */
function isBeyondSize(config: Readonly<ResolvedTopicConfig>, restBytes: number): boolean {
  const { retentionBytes } = config
  return deletes(config) && retentionBytes >= 0 && restBytes >= retentionBytes
}

async function isBeyondAge(log: LocalLog, segment: LogSegment, nowMs: number): Promise<boolean> {
  const { config, segments } = log
  if (!deletes(config) || config.retentionMs < 0) return false
  const knownMs = knownSinceMs(segment, nowMs)
  if (knownMs !== null) return nowMs - knownMs > config.retentionMs
  const sinceMs = await completeSinceMs(segment, nowMs)
  await segments.touch(segment)
  return nowMs - sinceMs > config.retentionMs
}

/**
 * When a segment got the last of what it holds: the largest timestamp of its records.
 *
 * The file's last modification takes its place where no record has a timestamp, as in Kafka, and
 * where the largest is in the future: there one wrong timestamp pins a Kafka log for ever, with all
 * that comes behind it. A file may have been copied, or its machine may have had no clock when it
 * was written, so a timestamp that can be right is believed rather than the file. Where damage may
 * hide a younger one, whichever of the two is later counts.
 */
export async function completeSinceMs(segment: LogSegment, nowMs: number): Promise<number> {
  const { max, isProven } = segment.times.known ?? (await segment.times.largest())
  const { timestamp } = max
  if (isProven && timestamp >= 0 && timestamp <= nowMs) return timestamp
  const { modifiedMs } = await segment.file.use((file) => file.stat())
  return timestamp > nowMs ? modifiedMs : Math.max(timestamp, modifiedMs)
}

/** {@link completeSinceMs}, where that can be told without the file; `null` where it has to be looked at. */
function knownSinceMs({ times }: LogSegment, nowMs: number): number | null {
  const { known } = times
  if (known?.isProven !== true) return null
  const { timestamp } = known.max
  return timestamp >= 0 && timestamp <= nowMs ? timestamp : null
}

function deletes({ cleanupPolicy }: Readonly<ResolvedTopicConfig>): boolean {
  return cleanupPolicy !== 'compact'
}
