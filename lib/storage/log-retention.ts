import type { ResolvedTopicConfig } from '../config.ts'
import type { LocalLog } from './local-log.ts'
import type { LogSegment } from './log-segment.ts'

/** Space that a deletion has returned to the file system. */
export interface FreedSpace {
  /** Number of segments whose files were removed. */
  readonly segments: number
  /** Total size of their log files. The removed index files are not included. */
  readonly bytes: number
}

/** The result if nothing was deleted. */
export const NOTHING_FREED: FreedSpace = Object.freeze({ segments: 0, bytes: 0 })

/** Sums up the results of several deletions. */
export function totalFreed(freed: Iterable<FreedSpace>): FreedSpace {
  let [segments, bytes] = [0, 0]
  for (const each of freed) {
    segments += each.segments
    bytes += each.bytes
  }
  return { segments, bytes }
}

/** Which parts of a log may be deleted. */
export interface RetentionRequest {
  /** Records at or above this offset are kept: no reader has been able to see them. */
  readonly highWatermark: number
  /** Records below this offset are deleted regardless of the limits. */
  readonly startOffset: number
  /**
   * The oldest segments are deleted until the log has at most this size; `Infinity` for no limit
   * beyond those of the log.
   */
  readonly maxSizeBytes: number
  /** The wall clock, milliseconds since the epoch. */
  readonly nowMs: number
}

/** How much of a log is to be deleted. */
export interface RetentionTarget {
  /** The new log start offset, at least the current one. */
  readonly offset: number
  /** Whether some of it is deleted because the log keeps enough bytes without it. */
  readonly isBySize: boolean
}

/**
 * Determines how much of a log is to be deleted.
 *
 * By Kafka's rules, whole segments are deleted from the oldest on. The first segment that is kept
 * ends the deletion, so that the log has no hole. A segment is deleted only if all of it is below
 * the high watermark. Deletion by size leaves at least `retentionBytes`. The active segment may be
 * deleted too.
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
  let agedSlots = 0
  for (const [slot, segment] of all.entries()) {
    const endOffset = all[slot + 1]?.baseOffset ?? logEndOffset
    // Invisible records are kept, and so is the empty segment that marks the end of the log.
    if (endOffset > end || endOffset === segment.baseOffset) break
    const { sizeBytes } = segment
    if (endOffset > target && restBytes <= request.maxSizeBytes) {
      const isBeyond = isBeyondSize(config, restBytes - sizeBytes)
      if (!isBeyond && slot >= agedSlots) agedSlots = await countAged(log, slot, request.nowMs)
      if (!isBeyond && slot >= agedSlots) break
      isBySize ||= isBeyond
    }
    target = Math.max(target, endOffset)
    restBytes -= sizeBytes
  }
  return { offset: target, isBySize }
}

/** What is known about retention without accessing the files, once they have been read. */
export class RetentionOutlook {
  readonly #log: LocalLog

  constructor(log: LocalLog) {
    this.#log = log
  }

  /**
   * Whether a deletion might change anything: false if {@link retentionTarget} would keep the
   * oldest segment. A segment of unknown age may have to be deleted.
   */
  mayDelete({
    highWatermark,
    startOffset,
    nowMs,
  }: Omit<RetentionRequest, 'maxSizeBytes'>): boolean {
    const { config, segments, logStartOffset, logEndOffset } = this.#log
    // Remains of an earlier deletion are removed too.
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

  /** Where the oldest segment ends, exclusive. */
  get endOfOldest(): number {
    const { segments, logEndOffset } = this.#log
    return segments.all[1]?.baseOffset ?? logEndOffset
  }

  /**
   * When the last record was added to the oldest segment that has one; `Infinity` if the log is
   * empty.
   *
   * @returns a promise only if the file has to be accessed.
   */
  oldestSinceMs(nowMs: number): number | Promise<number> {
    // A truncation may have emptied the first one.
    const oldest = this.#log.segments.all.find(({ sizeBytes }) => sizeBytes > 0)
    if (oldest === undefined) return Infinity
    return knownSinceMs(oldest, nowMs) ?? addedBy(this.#log, oldest, nowMs).then(({ ms }) => ms)
  }
}

/** Whether the log would keep enough bytes without a segment. */
function isBeyondSize(config: Readonly<ResolvedTopicConfig>, restBytes: number): boolean {
  const { retentionBytes } = config
  return deletes(config) && retentionBytes >= 0 && restBytes >= retentionBytes
}

/**
 * The number of leading segments that are older than the limit, if all before `slot` are. It may be
 * less than there are, but more than `slot` if that segment is one of them.
 */
async function countAged(log: LocalLog, slot: number, nowMs: number): Promise<number> {
  const { config, segments } = log
  const segment = segments.all[slot]
  if (segment === undefined || !deletes(config) || config.retentionMs < 0) return slot
  const knownMs = knownSinceMs(segment, nowMs)
  const { ms, judged } =
    knownMs === null ? await addedBy(log, segment, nowMs) : { ms: knownMs, judged: segment }
  return nowMs - ms > config.retentionMs ? segments.all.indexOf(judged) + 1 : slot
}

/**
 * {@link completeSinceMs}, unless that is in the future: the clock was wrong when the file was
 * written. What follows in the log was added later, so the first later segment is judged instead
 * whose timestamps and modification time are not in the future.
 */
async function addedBy(
  log: LocalLog,
  segment: LogSegment,
  nowMs: number,
): Promise<{ readonly ms: number; readonly judged: LogSegment }> {
  const { segments } = log
  const ms = await completeSinceMs(segment, nowMs)
  await segments.touch(segment)
  if (ms <= nowMs) return { ms, judged: segment }
  const { all } = segments
  for (const later of all.slice(all.indexOf(segment) + 1)) {
    if (later.sizeBytes === 0) continue
    const { modifiedMs } = await later.file.use((file) => file.stat())
    const laterMs = Math.max(modifiedMs, await completeSinceMs(later, nowMs))
    await segments.touch(later)
    // If the clock is wrong now, the files of that time are in the future too, and nothing is judged.
    if (laterMs <= nowMs) return { ms: laterMs, judged: later }
  }
  return { ms, judged: segment }
}

/**
 * When the last record was added to a segment: the largest timestamp of its records.
 *
 * The modification time of the file is used instead if no record has a timestamp, as in Kafka, or
 * if the largest timestamp is in the future. In Kafka, one such wrong timestamp keeps the segment
 * and all later ones for ever. A plausible timestamp is preferred to the modification time: the
 * file may have been copied, or written while the clock was unset. If damage may hide a later
 * timestamp, the later of the two is used.
 */
export async function completeSinceMs(segment: LogSegment, nowMs: number): Promise<number> {
  const { max, isProven } = segment.times.known ?? (await segment.times.largest())
  const { timestamp } = max
  if (isProven && timestamp >= 0 && timestamp <= nowMs) return timestamp
  const { modifiedMs } = await segment.file.use((file) => file.stat())
  return timestamp > nowMs ? modifiedMs : Math.max(timestamp, modifiedMs)
}

/** {@link completeSinceMs} if it is known without accessing the file; `null` otherwise. */
function knownSinceMs({ times }: LogSegment, nowMs: number): number | null {
  const { known } = times
  if (known?.isProven !== true) return null
  const { timestamp } = known.max
  return timestamp >= 0 && timestamp <= nowMs ? timestamp : null
}

function deletes({ cleanupPolicy }: Readonly<ResolvedTopicConfig>): boolean {
  return cleanupPolicy !== 'compact'
}
