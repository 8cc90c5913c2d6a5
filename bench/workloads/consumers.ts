import { crc32 } from 'node:zlib'
import { Broker } from '../../lib/broker.ts'
import type { Consumer } from '../../lib/client/consumer.ts'
import type { BenchCase, BenchContext, Measurement } from '../bench-case.ts'
import { measure, rate } from '../measure.ts'
import { ensureEqual } from '../store.ts'
import { bytesOf, TOPIC, Workload } from '../workload.ts'

const VALUE_BYTES = 100
const RECORDS = 1_000_000
const PARTITIONS = 8

/** Whether the members of a group together are as fast as a single consumer. */
export const consumersCases: readonly BenchCase[] = [1, 4].map((members): BenchCase => ({
  name: `consumers/group/members=${members}`,
  workload: 'consumers',
  log: members === 1 ? '1 member' : `${members} members`,
  valueBytes: VALUE_BYTES,
  unit: '/s',
  floor: members === 1 ? null : 'consumers/group/members=1',
  isLong: true,
  run: (context) => run(context, members),
}))

async function run(context: BenchContext, members: number): Promise<Measurement> {
  const workload = new Workload(VALUE_BYTES)
  const count = context.count(RECORDS)
  const broker = await Broker.open(context.dir)
  const flushMessages = Number.MAX_SAFE_INTEGER
  await broker.createTopic(TOPIC, { partitions: PARTITIONS, flushMessages })
  const consumers = Array.from({ length: members }, () =>
    broker.consumer({ groupId: 'bench', autoOffsetReset: 'earliest', maxPollRecords: 10_000 }),
  )
  for (const consumer of consumers) consumer.subscribe([TOPIC])
  await joinAll(consumers)
  const producer = broker.producer()
  for (let from = 0; from < count; from += 1000) {
    await producer.sendBatch(workload.sentSlice(from, Math.min(1000, count - from)))
  }
  const values: Buffer[] = []
  const lap = await measure(() =>
    Promise.all(consumers.map((each) => pollAll(each, values, count, consumers))),
  )
  ensureEqual('count', values.length, count)
  let expected = 0
  for (let index = 0; index < count; index++) {
    expected = (expected + crc32(workload.record(index).value)) >>> 0
  }
  const sum = values.reduce((total, value) => (total + crc32(value)) >>> 0, 0)
  ensureEqual('checksum of the values', sum, expected)
  await broker.close()
  return rate(lap, { count, bytes: count * workload.recordBytes })
}

/** Polls the empty topic until every member has its partitions. */
async function joinAll(consumers: readonly Consumer[]): Promise<void> {
  const share = PARTITIONS / consumers.length
  while (consumers.some((consumer) => consumer.assignment().length !== share)) {
    await Promise.all(consumers.map((consumer) => consumer.poll({ maxWaitMs: 10 })))
  }
}

/** Polls until the members together have `count` values; the last one then wakes the others. */
async function pollAll(
  consumer: Consumer,
  values: Buffer[],
  count: number,
  all: readonly Consumer[],
): Promise<void> {
  while (values.length < count) {
    try {
      for (const { value } of await consumer.poll()) values.push(bytesOf(value))
    } catch (error) {
      if (values.length < count) throw error
    }
  }
  for (const other of all) if (other !== consumer) other.wakeup()
}
