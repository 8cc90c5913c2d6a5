import type { Partition } from '../broker/partition.ts'
import { findByTimestamp, searchEndOf, type TimestampSearch } from '../broker/timestamp-search.ts'

/**
 * Enough to keep a disk busy, and few enough that the work they start fits into the current turn of
 * the event loop.
 */
const SEARCHES_AT_ONCE = 8

/** A timestamp to search for in a log. */
export interface TimestampPlace {
  readonly source: Partition
  readonly timestamp: number
}

/**
 * Searches many partitions by timestamp, a few at a time. Each search checks at its start whether a
 * turn of the event loop is due: if thousands checked together, hundreds would find that it is not,
 * before any of them had worked.
 *
 * @returns the results in the order of the places, for the records that exist at the call
 * @throws the first error; no further search starts after it
 */
export async function findAllByTimestamp(
  places: readonly TimestampPlace[],
): Promise<TimestampSearch[]> {
  // Later appends must not count for any search, including those that start late.
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
