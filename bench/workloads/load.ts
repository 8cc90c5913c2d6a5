import { setTimeout as sleep } from 'node:timers/promises'
import { Broker } from '../../lib/broker.ts'
import type { Partition } from '../../lib/broker/partition.ts'
import type { StoredRecord } from '../../lib/record/decode.ts'
import type { BenchCase, BenchContext, Measurement } from '../bench-case.ts'
import { latencies, measure } from '../measure.ts'
import { ensureEqual } from '../store.ts'
import { bytesOf, TOPIC, Workload } from '../workload.ts'

const VALUE_BYTES = 100
/** Appended at full speed, by writers that await each record, to find the rate that is halved. */
const CAPACITY_RECORDS = 100_000
const WRITERS = 256
/** Duration of the appends at half the rate. */
const PACED_SECONDS = 6
/**
 * Samples count after this time. Before it, code is being compiled and the reader is starting. The
 * figure over all samples includes that start.
 */
const WARM_UP_SECONDS = 1

/** The concurrent reader: none, a loop over `Partition.read`, or one over `Consumer.poll`. */
const COMPANIES = ['alone', 'beside a replay', 'beside a consumer'] as const
type Company = (typeof COMPANIES)[number]

/**
 * The latency of an acknowledgement when the log runs at half its capacity. Records are due at
 * equal intervals, and a sample begins when its record is due. A record that is sent late because
 * others took long therefore counts with its whole delay.
 */
export const loadCases: readonly BenchCase[] = COMPANIES.map((what): BenchCase => ({
  name: `load/half the rate, ${what}`,
  workload: 'load',
  log: `half the rate, ${what}`,
  valueBytes: VALUE_BYTES,
  unit: 'ms',
  floor: what === 'alone' ? null : 'load/half the rate, alone',
  isLong: true,
  run: (context) => run(context, what),
}))

async function run(context: BenchContext, company: Company): Promise<Measurement> {
  const workload = new Workload(VALUE_BYTES)
  const broker = await Broker.open(context.dir)
  const topic = await broker.createTopic(TOPIC, { flushMessages: 1, preallocate: true })
  const producer = broker.producer()
  const send = (index: number): Promise<unknown> => producer.send(workload.record(index).sent)
  const filled = context.count(CAPACITY_RECORDS)
  const perSecond = (await capacityOf(filled, send)) / 2
  const paced = context.count(perSecond * PACED_SECONDS)
  const samplesMs = new Float64Array(paced)
  const reader = new Replayer(
    topic.partition(0),
    company === 'beside a consumer' ? pollsOf(broker) : readsOf(topic.partition(0)),
  )
  const lap = await measure(async () => {
    const reading = company === 'alone' ? undefined : reader.run()
    await appendPaced(samplesMs, perSecond, (index) => send(filled + index))
    reader.stop()
    await reading
  })
  ensureEqual('end of the log', topic.partition(0).highWatermark, filled + paced)
  await broker.close()
  const steadyMs = samplesMs.subarray(Math.floor((paced * WARM_UP_SECONDS) / PACED_SECONDS))
  const { p99Ms, ...extra } = latencies(steadyMs)
  const fromStart = { fromStartP99Ms: latencies(samplesMs).p99Ms }
  const replayed = company === 'alone' ? {} : { replayedPerSecond: reader.count / lap.seconds }
  const { cpuMs, maxRssMb } = lap
  const figures = { ...extra, ...fromStart, perSecond: paced / lap.seconds, ...replayed }
  return { value: p99Ms, count: paced, cpuMs, maxRssMb, extra: figures }
}

/** Acknowledged records per second of writers that await each record. */
async function capacityOf(
  count: number,
  send: (index: number) => Promise<unknown>,
): Promise<number> {
  let next = 0
  const writer = async (): Promise<void> => {
    while (next < count) {
      const index = next
      next += 1
      await send(index)
    }
  }
  const { seconds } = await measure(() => Promise.all(Array.from({ length: WRITERS }, writer)))
  return count / seconds
}

/** Appends one record per sample. Acknowledged records are not retained. */
async function appendPaced(
  samplesMs: Float64Array,
  perSecond: number,
  send: (index: number) => Promise<unknown>,
): Promise<void> {
  const startMs = performance.now()
  let acknowledged = 0
  const sendNext = async (index: number): Promise<void> => {
    const dueMs = startMs + (index / perSecond) * 1000
    await send(index)
    samplesMs[index] = performance.now() - dueMs
    acknowledged += 1
  }
  const failed = new AbortController()
  const fail = (error: unknown): void => {
    failed.abort(error)
  }
  let sent = 0
  while (acknowledged < samplesMs.length) {
    failed.signal.throwIfAborted()
    const passedSeconds = (performance.now() - startMs) / 1000
    const due = Math.min(samplesMs.length, Math.ceil(passedSeconds * perSecond))
    for (; sent < due; sent += 1) sendNext(sent).catch(fail)
    await sleep(1)
  }
}

/** Returns the next records; the offset is the first one, or follows the last record returned. */
type ReadOn = (offset: number) => Promise<readonly StoredRecord[]>

const readsOf =
  (partition: Partition): ReadOn =>
  (offset) =>
    partition.read(offset)

function pollsOf(broker: Broker): ReadOn {
  const consumer = broker.consumer()
  const place = { topic: TOPIC, partition: 0 }
  consumer.assign([place])
  return (offset) => {
    if (offset === 0) consumer.seek(place, 0)
    return consumer.poll()
  }
}

/** Reads a partition from beginning to end, repeatedly, and checks the records. */
class Replayer {
  count = 0
  readonly #partition: Partition
  readonly #readOn: ReadOn
  #isStopped = false

  constructor(partition: Partition, readOn: ReadOn) {
    this.#partition = partition
    this.#readOn = readOn
  }

  stop(): void {
    this.#isStopped = true
  }

  async run(): Promise<void> {
    let offset = 0
    while (!this.#isStopped) {
      const records = await this.#readOn(offset)
      for (const [index, { offset: at, value }] of records.entries()) {
        ensureEqual('offset', at, offset + index)
        ensureEqual('bytes of a value', bytesOf(value).length, VALUE_BYTES)
      }
      this.count += records.length
      offset += records.length
      if (offset >= this.#partition.highWatermark) offset = 0
    }
  }
}
