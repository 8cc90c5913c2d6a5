import type { TopicPartition } from '../broker/topic-partition.ts'
import { checkOptions, checkWholeNumber, describeValue, type Checks } from '../checks.ts'
import { checkedLater, checkTopicPartition, checkTopicPartitions } from './consumer-arguments.ts'
import type { PositionResolver } from './position-resolver.ts'
import { findAllByTimestamp } from './timestamp-searches.ts'

/** What {@link Consumer.offsetsForTimes} looks for in one partition. */
export interface TimestampQuery extends TopicPartition {
  /** Milliseconds since the epoch, at least 0. */
  readonly timestamp: number
}

/** The first record of a partition whose timestamp is at least the one asked for. */
export interface OffsetAndTimestamp extends TopicPartition {
  /** `null` if every visible record is older. */
  readonly offset: number | null
  /** Timestamp of that record; `null` if there is none. */
  readonly timestamp: number | null
}

/** The start or end offset of a partition. */
export interface PartitionOffset extends TopicPartition {
  readonly offset: number
}

const QUERY: Checks<TimestampQuery> = {
  topic: checkedLater,
  partition: checkedLater,
  timestamp: checkedLater,
}

/** See `Consumer.offsetsForTimes`. */
export async function offsetsForTimes(
  positions: PositionResolver,
  queries: unknown,
): Promise<OffsetAndTimestamp[]> {
  const checked = checkQueries(queries)
  const places = checked.map((each) => {
    return { source: positions.ensureExists(each), timestamp: each.timestamp }
  })
  const searches = await findAllByTimestamp(places)
  return checked.map(({ topic, partition }, slot) => {
    const found = searches[slot]?.found
    return {
      topic,
      partition,
      offset: found?.offset ?? null,
      timestamp: found?.timestamp ?? null,
    }
  })
}

/** See `Consumer.beginningOffsets` and `Consumer.endOffsets`. */
export function endsOf(
  positions: PositionResolver,
  partitions: unknown,
  end: 'logStartOffset' | 'highWatermark',
): PartitionOffset[] {
  const checked = checkTopicPartitions(partitions)
  return checked.map((each) => ({ ...each, offset: positions.ensureExists(each)[end] }))
}

function checkQueries(value: unknown): TimestampQuery[] {
  if (!Array.isArray(value)) {
    throw new TypeError(
      `queries must be an array of { topic, partition, timestamp }, got ${describeValue(value)}`,
    )
  }
  return Array.from(value as unknown[], (each) => {
    const query = checkOptions('a query', each as TimestampQuery, QUERY)
    const { timestamp } = query
    checkWholeNumber('timestamp', timestamp, 0, Number.MAX_SAFE_INTEGER)
    const { topic, partition } = checkTopicPartition(query)
    return { topic, partition, timestamp }
  })
}
