import type { LocalLog } from './local-log.ts'
import type { LogSegment } from './log-segment.ts'

/** Which part of a log is worth compacting. */
export interface CleaningRange {
  /** Everything below was covered by an earlier pass. */
  readonly firstDirtyOffset: number
  /** Where what may be compacted ends, exclusive. */
  readonly firstUncleanableOffset: number
  /** Bytes of segments below the dirty ones. */
  readonly cleanBytes: number
  /** Bytes of segments that are dirty and may be compacted. */
  readonly cleanableBytes: number
  /** Share of the cleanable bytes, [0, 1]. */
  readonly dirtyRatio: number
  /** Whether a dirty record has waited for longer than `maxCompactionLagMs`. */
  readonly isOverdue: boolean
}

/**
 * Looks how much of a log is dirty. The active segment is never compacted: all others are durable.
 *
 * @param checkpoint where the last pass ended. Below the start of the log or beyond its end it counts
 * as the start, as in Kafka.
 */
export async function findCleaningRange(
  log: LocalLog,
  checkpoint: number,
  nowMs: number,
): Promise<CleaningRange> {
  const { logStartOffset, logEndOffset, config } = log
  const isLegal = checkpoint >= logStartOffset && checkpoint <= logEndOffset
  const firstDirtyOffset = isLegal ? checkpoint : logStartOffset
  const sealed = log.segments.all.slice(0, -1)
  const dirty = sealed.filter(({ nextOffset }) => nextOffset > firstDirtyOffset)
  const ripe = await countRipe(log, dirty, nowMs - config.minCompactionLagMs)
  const cleanable = dirty.slice(0, ripe)
  const cleanBytes = sizeOf(sealed.slice(0, sealed.length - dirty.length))
  const cleanableBytes = sizeOf(cleanable)
  const totalBytes = cleanBytes + cleanableBytes
  return {
    firstDirtyOffset,
    firstUncleanableOffset: cleanable.at(-1)?.nextOffset ?? firstDirtyOffset,
    cleanBytes,
    cleanableBytes,
    dirtyRatio: totalBytes === 0 ? 0 : cleanableBytes / totalBytes,
    isOverdue: await isOverdue(log, cleanable, nowMs - config.maxCompactionLagMs),
  }
}

/** Whether the active segment has to be rolled so that its records can be compacted in time. */
export async function mustRollForLag(log: LocalLog, nowMs: number): Promise<boolean> {
  const { active } = log.segments
  const { cleanupPolicy, maxCompactionLagMs } = log.config
  if (active === undefined || cleanupPolicy === 'delete') return false
  if (maxCompactionLagMs === Number.MAX_SAFE_INTEGER) return false
  const firstMs = await unlessGone(log, active, active.times.first())
  return firstMs !== null && firstMs >= 0 && firstMs < nowMs - maxCompactionLagMs
}

/** How many of the segments hold no record that is younger than `limitMs`. */
async function countRipe(
  log: LocalLog,
  segments: readonly LogSegment[],
  limitMs: number,
): Promise<number> {
  if (log.config.minCompactionLagMs === 0) return segments.length
  for (const [slot, segment] of segments.entries()) {
    const youngestMs = await unlessGone(log, segment, youngestOf(segment))
    if (youngestMs !== null && youngestMs > limitMs) return slot
  }
  return segments.length
}

/** Largest timestamp of a segment's records; where none has one, when its file was changed last, as in Kafka. */
async function youngestOf(segment: LogSegment): Promise<number> {
  const { timestamp } = await segment.times.max()
  if (timestamp >= 0 || segment.sizeBytes === 0) return timestamp
  return (await segment.file.use((file) => file.stat())).modifiedMs
}

async function isOverdue(
  log: LocalLog,
  segments: readonly LogSegment[],
  limitMs: number,
): Promise<boolean> {
  if (log.config.maxCompactionLagMs === Number.MAX_SAFE_INTEGER) return false
  for (const segment of segments) {
    const firstMs = await unlessGone(log, segment, segment.times.first())
    if (firstMs !== null && firstMs >= 0 && firstMs < limitMs) return true
  }
  return false
}

/** What a segment has been asked for; `null` where it was deleted meanwhile, which closes its file. */
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
