import { promptIo } from '../platform/prompt-io.ts'
import type { Partition } from './partition.ts'

/** The end of a search by time: later records are at or after it. */
export interface SearchEnd {
  readonly endOffset: number
  /** Leader epoch of the record before `endOffset` at that time; `null` if it is not known. */
  readonly endEpoch: number | null
}

/** Result of {@link findByTimestamp}. */
export interface TimestampSearch extends SearchEnd {
  /**
   * The first record at least as young as the timestamp; `null` when all below `endOffset` are
   * older.
   */
  readonly found: { readonly offset: number; readonly timestamp: number } | null
}

/** The end of a search that is called now, however late it begins. */
export function searchEndOf(partition: Partition): SearchEnd {
  const endOffset = partition.highWatermark
  return { endOffset, endEpoch: partition.log.reader.epochOf(endOffset - 1) }
}

/** See `Partition.offsetForTimestamp`. If another process appends, the log is refreshed first. */
export async function findByTimestamp(
  partition: Partition,
  timestamp: number,
  endAtCall: SearchEnd = searchEndOf(partition),
): Promise<TimestampSearch> {
  // Even if no record is young enough: a caller that polls in a loop is waiting for someone else.
  const turn = promptIo.turnIfDue()
  if (turn !== null) await turn
  const looking = partition.lookBehind(Infinity)
  if (looking !== null) await looking
  partition.ensureOpen()
  // What the other process had appended by the time of the call is known only after the refresh.
  const end = looking === null ? endAtCall : searchEndOf(partition)
  const found = await partition.log.offsetForTimestamp(timestamp, end.endOffset)
  const { followFailure } = partition
  if (looking !== null && found === null && followFailure !== null) throw followFailure
  return { found, ...end }
}
