import type { LocalLog } from './local-log.ts'
import { completeSinceMs } from './log-retention.ts'
import type { LogSegment } from './log-segment.ts'

/** The part of a log that is worth compacting. */
export interface CleaningRange {
  /** Everything below was covered by an earlier pass. */
  readonly firstDirtyOffset: number
  /** End of the part that may be compacted, exclusive. */
  readonly firstUncleanableOffset: number
  /** Dirty bytes that may be compacted, as a share of these and the clean bytes below: [0, 1]. */
  readonly dirtyRatio: number
  /** Whether a dirty record has waited longer than `maxCompactionLagMs`. */
  readonly isOverdue: boolean
}

/**
 * Determines how much of a log is dirty. The active segment is never compacted: all others are
 * durable.
 *
 * @param checkpoint where the last pass ended. If it is below the log start offset or above the log
 * end offset, the log start offset is used instead, as in Kafka.
 */
export async function findCleaningRange(
  log: LocalLog,
  checkpoint: number,
  nowMs: number,
): Promise<CleaningRange> {
  const { logStartOffset, logEndOffset } = log
  const isLegal = checkpoint >= logStartOffset && checkpoint <= logEndOffset
  const firstDirtyOffset = isLegal ? checkpoint : logStartOffset
  const sealed = log.segments.all.slice(0, -1)
  const dirty = sealed.filter(({ nextOffset }) => nextOffset > firstDirtyOffset)
  const ripe = await countRipe(log, dirty, nowMs)
  const cleanable = dirty.slice(0, ripe)
  const cleanBytes = sizeOf(sealed.slice(0, sealed.length - dirty.length))
  const cleanableBytes = sizeOf(cleanable)
  const totalBytes = cleanBytes + cleanableBytes
  return {
    firstDirtyOffset,
    firstUncleanableOffset: cleanable.at(-1)?.nextOffset ?? firstDirtyOffset,
    dirtyRatio: totalBytes === 0 ? 0 : cleanableBytes / totalBytes,
    isOverdue: await isOverdue(log, cleanable, nowMs),
  }
}

/** Whether the active segment has to be rolled so that its records are compacted in time. */
export async function mustRollForLag(log: LocalLog, nowMs: number): Promise<boolean> {
  const { active } = log.segments
  const { cleanupPolicy, maxCompactionLagMs } = log.config
  if (active === undefined || cleanupPolicy === 'delete') return false
  if (maxCompactionLagMs === Number.MAX_SAFE_INTEGER) return false
  const begun = (): Promise<number> => log.activeSince(active, nowMs)
  return isOlder(log, active, { nowMs, limitMs: nowMs - maxCompactionLagMs, begun })
}

/** The number of leading segments without a record younger than `minCompactionLagMs`. */
async function countRipe(
  log: LocalLog,
  segments: readonly LogSegment[],
  nowMs: number,
): Promise<number> {
  const { minCompactionLagMs } = log.config
  if (minCompactionLagMs === 0) return segments.length
  for (const [slot, segment] of segments.entries()) {
    if (segment.sizeBytes === 0) continue
    const youngestMs = await unlessGone(log, segment, completeSinceMs(segment, nowMs))
    if (youngestMs !== null && youngestMs > nowMs - minCompactionLagMs) return slot
  }
  return segments.length
}

async function isOverdue(
  log: LocalLog,
  segments: readonly LogSegment[],
  nowMs: number,
): Promise<boolean> {
  const { maxCompactionLagMs } = log.config
  if (maxCompactionLagMs === Number.MAX_SAFE_INTEGER) return false
  const limitMs = nowMs - maxCompactionLagMs
  for (const segment of segments) {
    const begun = (): Promise<number> => segment.times.begunMs()
    if (await isOlder(log, segment, { nowMs, limitMs, begun })) return true
  }
  return false
}

/**
 * Whether the first batch of a segment is older than `limitMs`, by its timestamp. If that is in the
 * future, the creation time of the segment is used, so as not to wait until then.
 */
async function isOlder(
  log: LocalLog,
  segment: LogSegment,
  { nowMs, limitMs, begun }: { nowMs: number; limitMs: number; begun: () => Promise<number> },
): Promise<boolean> {
  const firstMs = await unlessGone(log, segment, segment.times.first())
  if (firstMs === null || firstMs < 0) return false
  if (firstMs <= nowMs) return firstMs < limitMs
  const begunMs = await unlessGone(log, segment, begun())
  return begunMs !== null && begunMs < limitMs
}

/**
 * The result of a query on a segment; `null` if it was deleted meanwhile, which closes its file.
 */
async function unlessGone<T>(
  log: LocalLog,
  segment: LogSegment,
  asked: Promise<T>,
): Promise<T | null> {
  try {
    const answer = await asked
    await log.segments.touch(segment)
    return answer
  } catch (error) {
    if (log.segments.all.includes(segment)) throw error
    return null
  }
}

function sizeOf(segments: readonly LogSegment[]): number {
  return segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
}
