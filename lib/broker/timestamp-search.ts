import { promptIo } from '../platform/prompt-io.ts'
import type { Partition } from './partition.ts'

/** How far a search by time goes: what comes meanwhile lies at it or behind it. */
export interface SearchEnd {
  readonly endOffset: number
  /** Leader epoch of the record before `endOffset`, as it was then; `null` where that is not known. */
  readonly endEpoch: number | null
}

/** What {@link findByTimestamp} has come to. */
export interface TimestampSearch extends SearchEnd {
  /** The first record that is at least as young; `null` when every one below `endOffset` is older. */
  readonly found: { readonly offset: number; readonly timestamp: number } | null
}

/** Where a search goes to that is called for now, however late it begins. */
export function searchEndOf(partition: Partition): SearchEnd {
  const endOffset = partition.highWatermark
  return { endOffset, endEpoch: partition.log.reader.epochOf(endOffset - 1) }
}

/** See `Partition.offsetForTimestamp`. Where another process appends, its log is looked at first. */
export async function findByTimestamp(
  partition: Partition,
  timestamp: number,
  endAtCall: SearchEnd = searchEndOf(partition),
): Promise<TimestampSearch> {
  // Also where none is so young: who asks again and again waits for somebody else.
  const turn = promptIo.turnIfDue()
  if (turn !== null) await turn
  const looking = partition.lookBehind(Infinity)
  if (looking !== null) await looking
  partition.ensureOpen()
  // What the other process had appended by the call is known behind the look alone.
  const end = looking === null ? endAtCall : searchEndOf(partition)
  const found = await partition.log.offsetForTimestamp(timestamp, end.endOffset)
  return { found, ...end }
}
