import { createHash } from 'node:crypto'
import type { Broker } from '../broker.ts'
import type { StoredResult } from './quickstart-group.ts'
import type { Job } from './quickstart-job.ts'

/** One digest of all results, and the results by their records. */
export interface Digest {
  readonly hex: string
  /** By `partition:offset`. */
  readonly results: ReadonlyMap<string, StoredResult>
}

/** The digest of the results in the log. */
export async function digestOfResults(broker: Broker, job: Job): Promise<Digest> {
  const results = new Map<string, StoredResult>()
  for await (const record of broker.topic(job.resultTopic).partition(0).records({ until: 'end' })) {
    const result = JSON.parse(record.value?.toString('utf8') ?? '') as StoredResult
    results.set(`${result.partition}:${result.offset}`, result)
  }
  return digestOf(results)
}

/** The digest of processing everything again, from offset 0, without the group. */
export async function digestOfReplay(
  broker: Broker,
  job: Job,
  onRecord: (result: StoredResult) => void,
): Promise<Digest> {
  const results = new Map<string, StoredResult>()
  for (const partition of broker.topic(job.topic).partitions) {
    for await (const record of partition.records({ from: 'earliest', until: 'end' })) {
      const result = {
        partition: record.partition,
        offset: record.offset,
        ...(await job.work(record)),
      }
      results.set(`${result.partition}:${result.offset}`, result)
      onRecord(result)
    }
  }
  return digestOf(results)
}

function digestOf(results: ReadonlyMap<string, StoredResult>): Digest {
  const hash = createHash('sha256')
  const sorted = [...results.values()].sort(
    (left, right) => left.partition - right.partition || left.offset - right.offset,
  )
  for (const result of sorted) {
    hash.update(`${result.partition} ${result.offset} ${result.name} ${result.hash}\n`)
  }
  return { hex: hash.digest('hex'), results }
}
