import type { Partition } from '../broker/partition.ts'
import { findByTimestamp, searchEndOf, type TimestampSearch } from '../broker/timestamp-search.ts'

/** Enough to keep a disk busy, and few enough for what they have begun to fit into the turn that they began in. */
const SEARCHES_AT_ONCE = 8

/** What is to be found in which log. */
export interface TimestampPlace {
  readonly source: Partition
  readonly timestamp: number
}

/**
 * Searches many partitions by time, a few at once. Each search asks whether the event loop is to turn as it
 * begins: of thousands that ask together, hundreds would hear that it is not, before any of them had worked.
 *
 * @returns what was found, in the order of the places, in what there is at the call
 * @throws what the first of them fails with; none begins behind that
 */
export async function findAllByTimestamp(
  places: readonly TimestampPlace[],
): Promise<TimestampSearch[]> {
  // What is appended behind the call is for none of them, also for those that begin late.
  const ends = places.map(({ source }) => searchEndOf(source))
  const found: TimestampSearch[] = []
  let next = 0
  const searchRest = async (): Promise<void> => {
    for (;;) {
      const slot = next
      const place = places[slot]
      if (place === undefined) return
      next += 1
      try {
        found[slot] = await findByTimestamp(place.source, place.timestamp, ends[slot])
      } catch (error) {
        next = places.length
        throw error
      }
    }
  }
  const count = Math.min(SEARCHES_AT_ONCE, places.length)
  await Promise.all(Array.from({ length: count }, searchRest))
  return found
}
