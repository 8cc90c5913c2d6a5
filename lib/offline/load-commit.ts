import type { OffsetAndMetadata, OffsetCommit, Partition } from '../index.ts'
import type { OffsetRange } from './load-task.ts'

/**
 * Up to where a load may have put records of a partition into its sink, in whatever order. It is on record, in
 * the metadata of the load's commits, before any of them is there: where some are cut off the offset alone is
 * taken back, and the sink holds them all the same.
 */
export interface LoadReach {
  readonly loadedTo: number
  /** Leader epoch of the last record before it, as it was when the load began. */
  readonly leaderEpoch: number | null
}

/** A commit that says how far a load may have come, besides how far it has. */
export function loadCommit(
  reached: Omit<OffsetCommit, 'metadata'>,
  { loadedTo, leaderEpoch }: LoadReach,
): OffsetCommit {
  return { ...reached, metadata: JSON.stringify({ loadedTo, leaderEpoch }) }
}

/** What a commit says about it; `null` where the application has committed the offset itself. */
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
