import { crc32 } from 'node:zlib'
import { Broker } from '../../lib/broker.ts'
import type { BenchCase, BenchContext, Measurement } from '../bench-case.ts'
import { measure, rate } from '../measure.ts'
import { ensureEqual } from '../store.ts'
import { BATCH_RECORDS, bytesOf, inWindow, TOPIC, Workload } from '../workload.ts'

const VALUE_BYTES = 100
const RECORDS = 1_000_000

/** How records are sent, and which part is measured. */
interface Way {
  readonly name: string
  readonly log: string
  /** Records in total. */
  readonly records: number
  readonly isKeyed: boolean
  /** Target: a producer, which distributes the records, or each partition in turn, one per call. */
  readonly to: 'producer' | 'partitions'
  /** Calls in flight, of one caller, of a thousand records each. */
  readonly window: number
  readonly measured: 'append' | 'poll'
}

const KEYED = {
  records: RECORDS,
  isKeyed: true,
  to: 'producer',
  window: 8,
  measured: 'append',
} as const

const WAYS: readonly Way[] = [
  // Batches are as large for a thousand partitions as for one. Each of a thousand gets four calls,
  // so that the first write, which opens the partition's file, does not dominate the measurement.
  { ...KEYED, name: 'append-whole', log: 'whole calls', records: 4 * RECORDS, to: 'partitions' },
  { ...KEYED, name: 'append', log: 'append' },
  // With eight calls in flight, each of a thousand partitions has eight records, however long a
  // batch waits.
  { ...KEYED, name: 'append-64', log: 'append, 64 in flight', window: 64 },
  {
    ...KEYED,
    name: 'append-unkeyed',
    log: 'append, no keys',
    records: 4 * RECORDS,
    isKeyed: false,
  },
  { ...KEYED, name: 'poll-whole', log: 'poll of whole calls', to: 'partitions', measured: 'poll' },
  { ...KEYED, name: 'poll', log: 'poll', measured: 'poll' },
]

/** One call: records [`from`, `from + size`) of the workload. */
type Take = (from: number, size: number) => Promise<unknown>

/** Whether many partitions together are as fast as one; each case is compared with one. */
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

/** Sends records to all partitions, and polls them from all; measures one of the two. */
async function run(context: BenchContext, partitions: number, way: Way): Promise<Measurement> {
  const workload = new Workload(VALUE_BYTES)
  const count = context.count(way.records)
  const broker = await Broker.open(context.dir)
  const config = { partitions, flushMessages: Number.MAX_SAFE_INTEGER }
  const topic = await broker.createTopic(TOPIC, config)
  const producer = broker.producer()
  const take: Take =
    way.to === 'partitions'
      ? (from, size) =>
          topic
            .partition((from / BATCH_RECORDS) % partitions)
            .append(workload.appendedSlice(from, size))
      : (from, size) => producer.sendBatch(sentSlice(workload, way, from, size))
  const append = await measure(() => inWindow(count, way.window, take))
  const consumer = broker.consumer({ maxPollRecords: 10_000 })
  consumer.assign(
    Array.from({ length: partitions }, (_, index) => ({ topic: TOPIC, partition: index })),
  )
  const values: Buffer[] = []
  let polled = 0
  let sum = 0
  // If the poll is measured, the sum is computed afterwards. If not, there may be too many to keep.
  const keep =
    way.measured === 'poll'
      ? (value: Buffer) => values.push(value)
      : (value: Buffer) => (sum = added(sum, value))
  const poll = await measure(async () => {
    while (polled < count) {
      const records = await consumer.poll()
      for (const { value } of records) keep(bytesOf(value))
      polled += records.length
    }
  })
  ensureEqual('count', polled, count)
  ensureEqual('checksum of the values', values.reduce(added, sum), sumOfAll(workload, count))
  await broker.close()
  return rate(way.measured === 'append' ? append : poll, {
    count,
    bytes: count * (way.isKeyed ? workload.recordBytes : VALUE_BYTES),
  })
}

function sentSlice(
  workload: Workload,
  { isKeyed }: Way,
  from: number,
  size: number,
): readonly { readonly topic: string; readonly key?: Buffer; readonly value: Buffer }[] {
  const records = workload.sentSlice(from, size)
  return isKeyed ? records : records.map(({ topic, value }) => ({ topic, value }))
}

function sumOfAll(workload: Workload, count: number): number {
  let sum = 0
  for (let index = 0; index < count; index++) sum = added(sum, workload.record(index).value)
  return sum
}

/** The sum with one more value; it does not depend on the order of the values. */
function added(sum: number, value: Buffer): number {
  return (sum + crc32(value)) >>> 0
}
