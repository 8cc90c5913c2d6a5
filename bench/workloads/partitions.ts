import { crc32 } from 'node:zlib'
import { Broker } from '../../lib/broker.ts'
import type { BenchCase, BenchContext, Measurement } from '../bench-case.ts'
import { measure, rate } from '../measure.ts'
import { ensureEqual } from '../store.ts'
import { bytesOf, TOPIC, Workload } from '../workload.ts'

const VALUE_BYTES = 100
const RECORDS = 1_000_000
const BATCH_RECORDS = 1000
/** Batches of one caller that are in flight. */
const WINDOW = 8

/** Whether many partitions are as fast in all as one: each is compared with one. */
export const partitionsCases: readonly BenchCase[] = (['append', 'poll'] as const).flatMap((what) =>
  [1, 1000].map((partitions): BenchCase => ({
    name: `partitions/${what}/partitions=${partitions}`,
    workload: 'partitions',
    log: `${what}, ${partitions} partitions`,
    valueBytes: VALUE_BYTES,
    unit: '/s',
    floor: partitions === 1 ? null : `partitions/${what}/partitions=1`,
    isLong: true,
    run: (context) => run(context, partitions, what),
  })),
)

/** Sends keyed records to all partitions, and polls them from all; measures one of both. */
async function run(
  context: BenchContext,
  partitions: number,
  what: 'append' | 'poll',
): Promise<Measurement> {
  const workload = new Workload(VALUE_BYTES)
  const count = context.count(RECORDS)
  const broker = await Broker.open(context.dir)
  await broker.createTopic(TOPIC, { partitions, flushMessages: Number.MAX_SAFE_INTEGER })
  const append = await measure(() => sendAll(broker, workload, count))
  const consumer = broker.consumer({ maxPollRecords: 10_000 })
  consumer.assign(
    Array.from({ length: partitions }, (_, index) => ({ topic: TOPIC, partition: index })),
  )
  const values: Buffer[] = []
  const poll = await measure(async () => {
    while (values.length < count) {
      for (const { value } of await consumer.poll()) values.push(bytesOf(value))
    }
  })
  ensureEqual('count', values.length, count)
  ensureEqual('checksum of the values', sumOf(values), sumOf(valuesOf(workload, count)))
  await broker.close()
  return rate(what === 'append' ? append : poll, { count, bytes: count * workload.recordBytes })
}

async function sendAll(broker: Broker, workload: Workload, count: number): Promise<void> {
  const producer = broker.producer()
  const inFlight: Promise<unknown>[] = []
  for (let from = 0; from < count; from += BATCH_RECORDS) {
    if (inFlight.length === WINDOW) await inFlight.shift()
    const records = workload.sentSlice(from, Math.min(BATCH_RECORDS, count - from))
    inFlight.push(producer.sendBatch(records))
  }
  await Promise.all(inFlight)
}

function* valuesOf(workload: Workload, count: number): Generator<Buffer> {
  for (let index = 0; index < count; index++) yield workload.record(index).value
}

/** The same in whatever order the values come. */
function sumOf(values: Iterable<Buffer>): number {
  let sum = 0
  for (const value of values) sum = (sum + crc32(value)) >>> 0
  return sum
}
