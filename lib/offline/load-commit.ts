import type { OffsetAndMetadata, OffsetCommit, Partition } from '../index.ts'
import type { OffsetRange } from './load-task.ts'

/**
 * The offset up to which a load may have put records of a partition into its sink, in any order. It
 * is committed, in the metadata of the load's commits, before any of these records is in the sink.
 * A truncation of the log moves back only the committed offset, while the sink keeps the records.
 */
export interface LoadReach {
  readonly loadedTo: number
  /** Leader epoch of the last record before it, as of the beginning of the load. */
  readonly leaderEpoch: number | null
}

/** A commit that contains how far a load may have come, in addition to its offset. */
export function loadCommit(
  reached: Omit<OffsetCommit, 'metadata'>,
  { loadedTo, leaderEpoch }: LoadReach,
): OffsetCommit {
  return { ...reached, metadata: JSON.stringify({ loadedTo, leaderEpoch }) }
}

/** The reach in a commit; `null` if the application has committed the offset itself. */
export function reachOf({ metadata }: OffsetAndMetadata): LoadReach | null {
  try {
    const { loadedTo, leaderEpoch } = (JSON.parse(metadata) ?? {}) as Partial<LoadReach>
    if (typeof loadedTo !== 'number') return null
    return { loadedTo, leaderEpoch: typeof leaderEpoch === 'number' ? leaderEpoch : null }
  } catch {
    return null
  }
}

/** The offsets within a reach whose records the log has lost since; `null` for none. */
export function cutOffOf(
  { loadedTo, leaderEpoch }: LoadReach,
  { log }: Pick<Partition, 'log'>,
): OffsetRange | null {
  const end = log.reader.endOffsetForEpoch(leaderEpoch)
  return end === null || end >= loadedTo ? null : { startOffset: end, endOffset: loadedTo }
}
