import { compactionComplaints } from './compacted-promises.ts'
import type { Ledger, PartitionLedger, TopicLedger } from './ledger.ts'
import type { Observation, PartitionObservation } from './observation.ts'

/** How the machine stopped: a power loss loses what is not durable. */
export type Loss = 'process' | 'power'

/**
 * Returns every promise of a ledger that the observation breaks, as sentences; empty if all hold.
 *
 * Acknowledged records are present with their bytes. The log holds what was appended, in that
 * order, without gaps and nothing else. Topics are as before or as after a change. A committed
 * offset is one that was requested, not older than the last acknowledged one, and never beyond the
 * end of the log.
 */
export function brokenPromises(ledger: Ledger, observed: Observation, loss: Loss): string[] {
  const broken: string[] = []
  if (observed.damaged > 0) broken.push(`${observed.damaged} partitions are damaged`)
  for (const [name, candidates] of Object.entries(ledger.topics)) {
    const complaints = candidates.map((topic) => topicComplaints(name, topic, observed, loss))
    if (complaints.every((each) => each.length > 0)) broken.push(...(complaints.at(-1) ?? []))
  }
  for (const name of Object.keys(observed.topics)) {
    if (ledger.topics[name] === undefined) broken.push(`topic ${name} was never created`)
  }
  for (const [key, found] of Object.entries(observed.commits)) {
    const candidates = ledger.commits[key] ?? [-1]
    if (!candidates.includes(found)) {
      broken.push(`${key} is committed at ${found}, not at ${candidates.join(' or ')}`)
    }
    const end = endOf(observed, key.split(' ')[1] ?? '')
    if (found > end) broken.push(`${key} is committed at ${found}, and the log ends at ${end}`)
  }
  return broken
}

function endOf(observed: Observation, place: string): number {
  const cut = place.lastIndexOf('-')
  const topic = observed.topics[place.slice(0, cut)]
  return topic?.partitions[Number(place.slice(cut + 1))]?.end ?? -1
}

function topicComplaints(
  name: string,
  topic: TopicLedger | null,
  observed: Observation,
  loss: Loss,
): string[] {
  const found = observed.topics[name]
  if (topic === null) return found === undefined ? [] : [`topic ${name} is there`]
  if (found === undefined) return [`topic ${name} is missing`]
  const complaints: string[] = []
  if (found.segmentBytes !== topic.segmentBytes) {
    complaints.push(`segmentBytes of ${name} is ${found.segmentBytes}, not ${topic.segmentBytes}`)
  }
  if (found.partitions.length !== topic.partitions.length) {
    complaints.push(
      `${name} has ${found.partitions.length} partitions, not ${topic.partitions.length}`,
    )
  }
  topic.partitions.forEach((partition, index) => {
    const seen = found.partitions[index]
    if (seen !== undefined) {
      complaints.push(...partitionComplaints(`${name}-${index}`, partition, seen, loss))
    }
  })
  return complaints
}

function partitionComplaints(
  place: string,
  partition: PartitionLedger,
  observed: PartitionObservation,
  loss: Loss,
): string[] {
  const { history, written, durable, leastStart, greatestStart, compaction } = partition
  const { start, end, records } = observed
  const complaints: string[] = []
  const least = loss === 'process' ? Math.max(written, durable) : durable
  if (end < least) {
    complaints.push(`${place} ends at ${end}, and ${least} was acknowledged`)
  }
  if (end > Math.max(history.length, greatestStart)) {
    complaints.push(`${place} ends at ${end}, and only ${history.length} were sent`)
  }
  if (start < leastStart || start > greatestStart) {
    complaints.push(`${place} starts at ${start}, not in [${leastStart}, ${greatestStart}]`)
  }
  if (compaction !== undefined) {
    return [...complaints, ...compactionComplaints(place, { history, compaction }, observed)]
  }
  const expected = history
    .map((value, offset) => ({ offset, value }))
    .filter(({ offset, value }) => value !== null && offset >= start && offset < end)
  if (JSON.stringify(records) !== JSON.stringify(expected)) {
    const list = (of: readonly { offset: number; value: string | null }[]): string =>
      of.map(({ offset, value }) => `${offset} ${value ?? ''}`).join(', ')
    complaints.push(`${place} holds [${list(records)}], not [${list(expected)}]`)
  }
  return complaints
}
