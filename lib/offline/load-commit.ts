import type { OffsetAndMetadata, OffsetCommit } from '../index.ts'
import type { LoadTask, OffsetRange } from './load-task.ts'

/**
 * The commit that says that a load has come to the end of a task. The end is in the metadata as well: where
 * records of it are cut off the offset is taken back, and the sink holds them all the same.
 *
 * @param reached how much of it the log still has, and the leader epoch of its last record when it was loaded.
 */
export function loadCommit(
  { topic, partition, endOffset }: LoadTask,
  reached: { readonly offset: number; readonly leaderEpoch: number | null },
): OffsetCommit {
  return { topic, partition, ...reached, metadata: JSON.stringify({ loadedTo: endOffset }) }
}

/** The offsets whose records a load has taken and the log has lost since; `null` for none. */
export function cutOffOf({ offset, metadata }: OffsetAndMetadata): OffsetRange | null {
  const loadedTo = loadedToOf(metadata)
  return loadedTo > offset ? { startOffset: offset, endOffset: loadedTo } : null
}

function loadedToOf(metadata: string): number {
  try {
    const loadedTo = (JSON.parse(metadata) as { loadedTo?: unknown } | null)?.loadedTo
    return typeof loadedTo === 'number' ? loadedTo : -1
  } catch {
    // Where the application has committed the offset itself, it is where the load is to go on.
    return -1
  }
}
