import type { Broker } from '../../lib/broker.ts'
import type { StoredRecord } from '../../lib/record/decode.ts'
import type { Log } from '../../lib/storage/log.ts'
import { readAll } from '../storage/log-fixtures.ts'

/** What a reader sees of a partition. */
export interface PartitionObservation {
  readonly start: number
  readonly end: number
  /** In the order in which they are read. */
  readonly records: readonly { readonly offset: number; readonly value: string }[]
}

/** Everything visible of a data directory, or of a single log, after it was opened. */
export interface Observation {
  readonly topics: Record<
    string,
    { readonly segmentBytes: number; readonly partitions: readonly PartitionObservation[] }
  >
  /** By `group topic-partition`; -1 means none. */
  readonly commits: Record<string, number>
  /** How many partitions were not opened because their files are damaged. */
  readonly damaged: number
  /** The files that the open had to truncate or rebuild. */
  readonly repairs: { readonly cut: readonly string[]; readonly rebuilt: readonly string[] }
}

/** @param groups `group topic-partition` of every possible commit */
export async function observeBroker(
  broker: Broker,
  groups: readonly string[],
): Promise<Observation> {
  const topics: Observation['topics'] = {}
  for (const topic of broker.topics()) {
    const partitions: PartitionObservation[] = []
    for (const partition of topic.partitions) {
      const records: StoredRecord[] = []
      for await (const record of partition.records({ until: 'end' })) records.push(record)
      partitions.push(observed(partition.logStartOffset, partition.logEndOffset, records))
    }
    topics[topic.name] = { segmentBytes: topic.config.segmentBytes, partitions }
  }
  const commits: Observation['commits'] = {}
  for (const key of groups) {
    const [groupId = '', place = ''] = key.split(' ')
    const cut = place.lastIndexOf('-')
    const consumer = broker.consumer({ groupId })
    const at = { topic: place.slice(0, cut), partition: Number(place.slice(cut + 1)) }
    const isThere = topics[at.topic]?.partitions[at.partition] !== undefined
    commits[key] = isThere ? ((await consumer.committed(at))?.offset ?? -1) : -1
  }
  const { truncations, rebuiltIndexes, damaged } = broker.recovery
  return {
    topics,
    commits,
    damaged: damaged.length,
    repairs: { cut: truncations.map(({ path }) => path), rebuilt: rebuiltIndexes },
  }
}

/** Presents the log as a topic of one partition. */
export async function observeLog(log: Log): Promise<Observation> {
  const partition = observed(log.logStartOffset, log.logEndOffset, await readAll(log))
  const { truncations, rebuiltIndexes, damage } = log.recovery
  return {
    topics: {
      orders: { segmentBytes: log.config.segmentBytes, partitions: [partition] },
    },
    commits: {},
    damaged: damage === null ? 0 : 1,
    repairs: { cut: truncations.map(({ path }) => path), rebuilt: rebuiltIndexes },
  }
}

function observed(
  start: number,
  end: number,
  records: readonly StoredRecord[],
): PartitionObservation {
  return {
    start,
    end,
    records: records.map(({ offset, value }) => ({ offset, value: String(value) })),
  }
}
