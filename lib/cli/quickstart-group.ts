import type { Broker } from '../broker.ts'
import type { Consumer } from '../client/consumer.ts'
import { json } from '../client/serde.ts'
import { UNREADABLE, type Job, type JobResult } from './quickstart-job.ts'
import type { SourceRecord } from './quickstart-records.ts'

/** Group whose committed offsets are the progress of the work. */
export const GROUP_ID = 'hashers'

/** Result of one record, with the record's position. */
export interface StoredResult extends JobResult {
  readonly partition: number
  readonly offset: number
}

/** Progress of a run, updated by the members and the sender. */
export interface QuickstartState {
  /** Acknowledged records. */
  sent: number
  done: number
  doneBytes: number
  unreadable: number
  /** Whether everything has been sent. */
  isSent: boolean
  /** Aborted to end before everything is done. */
  readonly stop: AbortController
}

const POLL_MS = 100
const SEND_CHUNK = 1000
/**
 * A day: 200 large files on a slow disk take long. A member put out meanwhile could not commit, and
 * the next run would begin with the same files. One that fails ends the run in any case.
 */
const MAX_POLL_INTERVAL_MS = 24 * 60 * 60 * 1000

/** Sends all records. Each chunk is acknowledged before more records are read. */
export async function sendAll(
  broker: Broker,
  topic: string,
  records: AsyncIterable<SourceRecord>,
  state: QuickstartState,
): Promise<void> {
  // Files are found one by one: lingering lets those found together share a write and a sync.
  const producer = broker.producer({ lingerMs: 20 })
  let chunk: Promise<void>[] = []
  const send = async (record: SourceRecord): Promise<void> => {
    await producer.send({ topic, ...record })
    state.sent += 1
  }
  for await (const record of records) {
    if (state.stop.signal.aborted) break
    const sending = send(record)
    // Awaiting the chunk reports a failure. Until then it must not count as unhandled.
    sending.catch(() => null)
    chunk.push(sending)
    if (chunk.length < SEND_CHUNK) continue
    await Promise.all(chunk)
    chunk = []
  }
  await Promise.all(chunk)
  await producer.close()
  state.isSent = true
}

/**
 * One member of the group: polls records, processes them, stores the results, and commits only once
 * the results are on disk. Work that a crash interrupts in between is done again, and its result
 * replaces the first.
 */
export async function runMember(
  broker: Broker,
  job: Job,
  state: QuickstartState,
  onUnreadable: (result: JobResult) => void,
): Promise<void> {
  const consumer = broker.consumer({
    groupId: GROUP_ID,
    enableAutoCommit: false,
    maxPollRecords: 200,
    maxPollIntervalMs: MAX_POLL_INTERVAL_MS,
  })
  const results = broker.producer({ valueSerializer: json<StoredResult>() })
  consumer.subscribe([job.topic])
  while (!state.stop.signal.aborted) {
    const records = await consumer.poll({ maxWaitMs: POLL_MS })
    if (records.length === 0) {
      if (state.isSent && (await remaining(broker, consumer, job)) === 0) break
      continue
    }
    const done = await Promise.all(
      records.map(async ({ partition, offset, ...record }) => {
        return { partition, offset, ...(await job.work(record)) }
      }),
    )
    await results.sendBatch(
      done.map((value) => ({ topic: job.resultTopic, key: value.name, value })),
    )
    await consumer.commit()
    state.done += done.length
    for (const result of done) {
      state.doneBytes += result.sizeBytes
      if (!result.hash.startsWith(UNREADABLE)) continue
      state.unreadable += 1
      onUnreadable(result)
    }
  }
  await results.close()
  await consumer.close()
}

/** Number of records that the group has not committed yet. */
export async function remaining(
  broker: Broker,
  consumer: Pick<Consumer, 'committed'>,
  job: Job,
): Promise<number> {
  let count = 0
  for (const { topic, index, logStartOffset, highWatermark } of broker.topic(job.topic)
    .partitions) {
    const committed = await consumer.committed({ topic, partition: index })
    count += highWatermark - (committed?.offset ?? logStartOffset)
  }
  return count
}
