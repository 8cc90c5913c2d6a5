import { crc32 } from 'node:zlib'
import { Broker } from '../../lib/broker.ts'
import type { BenchCase, BenchContext, Measurement } from '../bench-case.ts'
import { measure, rate } from '../measure.ts'
import { ensureEqual } from '../store.ts'
import { bytesOf, TOPIC, Workload } from '../workload.ts'

const VALUE_BYTES = 100
const RECORDS = 1_000_000
const BATCH_RECORDS = 1000

/** How records are sent, and which half of the way is measured. */
interface Way {
  readonly name: string
  readonly log: string
  readonly isKeyed: boolean
  /** Calls of one caller that are in flight, of a thousand records each. */
  readonly window: number
  readonly measured: 'append' | 'poll'
}

const WAYS: readonly Way[] = [
  { name: 'append', log: 'append', isKeyed: true, window: 8, measured: 'append' },
  // Eight calls in flight have eight records for each of a thousand partitions, however long a batch waits.
  { name: 'append-64', log: 'append, 64 in flight', isKeyed: true, window: 64, measured: 'append' },
  { name: 'append-unkeyed', log: 'append, no keys', isKeyed: false, window: 8, measured: 'append' },
  { name: 'poll', log: 'poll', isKeyed: true, window: 8, measured: 'poll' },
]

/** Whether many partitions are as fast in all as one: each is compared with one. */
export const partitionsCases: readonly BenchCase[] = WAYS.flatMap((way) =>
  [1, 1000].map((partitions): BenchCase => ({
    name: `partitions/${way.name}/partitions=${partitions}`,
    workload: 'partitions',
    log: `${way.log}, ${partitions} partitions`,
    valueBytes: VALUE_BYTES,
    unit: '/s',
    floor: partitions === 1 ? null : `partitions/${way.name}/partitions=1`,
    isLong: true,
    run: (context) => run(context, partitions, way),
  })),
)

/** Sends records to all partitions, and polls them from all; measures one of both. */
async function run(context: BenchContext, partitions: number, way: Way): Promise<Measurement> {
  const workload = new Workload(VALUE_BYTES)
  const count = context.count(RECORDS)
  const broker = await Broker.open(context.dir)
  await broker.createTopic(TOPIC, { partitions, flushMessages: Number.MAX_SAFE_INTEGER })
  const append = await measure(() => sendAll(broker, workload, count, way))
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
  return rate(way.measured === 'append' ? append : poll, {
    count,
    bytes: count * (way.isKeyed ? workload.recordBytes : VALUE_BYTES),
  })
}

async function sendAll(
  broker: Broker,
  workload: Workload,
  count: number,
  { isKeyed, window }: Way,
): Promise<void> {
  const producer = broker.producer()
  const inFlight: Promise<unknown>[] = []
  for (let from = 0; from < count; from += BATCH_RECORDS) {
    if (inFlight.length === window) await inFlight.shift()
    const records = workload.sentSlice(from, Math.min(BATCH_RECORDS, count - from))
    const sent = isKeyed ? records : records.map(({ topic, value }) => ({ topic, value }))
    inFlight.push(producer.sendBatch(sent))
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
