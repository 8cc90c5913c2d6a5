import { rmSync } from 'node:fs'
import { Broker } from '../../lib/broker.ts'
import { ndjsonSink, parquetSink, planLoad, runTask, type Sink } from '../../lib/offline/index.ts'
import type { BenchCase, BenchContext, BenchStore, Measurement } from '../bench-case.ts'
import { measure, rate } from '../measure.ts'
import { ensureEqual } from '../store.ts'
import { TOPIC, Workload } from '../workload.ts'

const VALUE_BYTES = 100
const RECORDS = 1_000_000
const PARTITIONS = 4
const FLOOR = 'offline/read'

/** A log of four partitions, from which all cases load. */
const store: BenchStore = {
  name: `offline/partitions=${PARTITIONS}`,
  fill: async (context) => {
    const workload = new Workload(VALUE_BYTES)
    const count = recordsPerPartition(context)
    const broker = await Broker.open(context.dir)
    const flushMessages = Number.MAX_SAFE_INTEGER
    const topic = await broker.createTopic(TOPIC, { partitions: PARTITIONS, flushMessages })
    for (const partition of topic.partitions) {
      for (let from = 0; from < count; from += 1000) {
        await partition.append(workload.appendedSlice(from, Math.min(1000, count - from)))
      }
    }
    await broker.close()
  },
}

const SINKS: readonly (readonly [string, (dir: string) => Sink])[] = [
  ['ndjson', (dir) => ndjsonSink(dir)],
  ['ndjson.gz', (dir) => ndjsonSink(dir, { gzip: true })],
  ['parquet', (dir) => parquetSink(dir)],
]

/** Loading a log into files, compared with only reading it; four partitions at a time. */
export const offlineCases: readonly BenchCase[] = [
  benchCase('read', null, read),
  ...SINKS.map(([name, sinkOn]) => benchCase(name, FLOOR, (context) => load(context, sinkOn))),
]

function benchCase(
  log: string,
  floor: string | null,
  run: (context: BenchContext) => Promise<Measurement>,
): BenchCase {
  const name = `offline/${log}`
  return {
    name,
    workload: 'offline',
    log,
    valueBytes: VALUE_BYTES,
    unit: '/s',
    floor,
    store,
    isLong: true,
    run,
  }
}

async function read(context: BenchContext): Promise<Measurement> {
  const broker = await Broker.open(context.dir, { readOnly: true })
  let count = 0
  const lap = await measure(() =>
    Promise.all(
      broker.topic(TOPIC).partitions.map(async (partition) => {
        let at = 0
        while (at < partition.highWatermark) {
          const records = await partition.read(at)
          count += records.length
          at = (records.at(-1)?.offset ?? Infinity) + 1
        }
      }),
    ),
  )
  await broker.close()
  return result(context, lap, count)
}

async function load(context: BenchContext, sinkOn: (dir: string) => Sink): Promise<Measurement> {
  const broker = await Broker.open(context.dir, { readOnly: true })
  const out = `${context.dir}-out`
  const sink = sinkOn(out)
  const plan = await planLoad(broker, { topics: [TOPIC], from: 'earliest' })
  let count = 0
  try {
    const lap = await measure(async () => {
      const results = await Promise.all(plan.tasks.map((task) => runTask(broker, task, sink)))
      count = results.reduce((sum, { records }) => sum + records, 0)
    })
    return result(context, lap, count)
  } finally {
    await broker.close()
    rmSync(out, { recursive: true, force: true })
  }
}

function result(
  context: BenchContext,
  lap: Parameters<typeof rate>[0],
  count: number,
): Measurement {
  ensureEqual('count', count, PARTITIONS * recordsPerPartition(context))
  return rate(lap, { count, bytes: count * new Workload(VALUE_BYTES).recordBytes })
}

function recordsPerPartition(context: BenchContext): number {
  return Math.ceil(context.count(RECORDS) / PARTITIONS)
}
