import type { BenchContext, Measurement } from '../bench-case.ts'
import { latencies, measure, rate } from '../measure.ts'
import type { Flush } from '../peers/peer.ts'
import { verifyLog } from '../store.ts'
import { Workload } from '../workload.ts'
import { perSize, type Asked, type WorkloadDefinition } from './definition.ts'

/**
 * Enough records to outlast the start of a process. The first few thousand durable appends mostly
 * measure the compilation of the code, which takes longer the more of a log is JavaScript, and the
 * first syncs of a new file. Applications with durable appends run for longer than that.
 */
const DURABLE_RECORDS = { oneWriter: 20_000, manyWriters: 1_000_000 }

/** Records appended per second if each is acknowledged separately. */
export const acknowledged: readonly WorkloadDefinition[] = [
  {
    name: 'W2',
    title: 'one promise per record, all in flight',
    text:
      'One caller appends all records without waiting in between, and then awaits the promise of ' +
      'each record. Nothing is synced before the log is closed.',
    unit: '/s',
    valueSizes: [100, 1024],
    floor: 'raw-async',
    isRepeated: true,
    run: (context, asked) =>
      run(context, asked, { base: perSize(500_000), writers: Infinity, flush: 'relaxed' }),
  },
  {
    name: 'W3a',
    title: 'durable, one writer',
    text:
      'One writer awaits each record before it appends the next. A record is acknowledged after ' +
      'its sync.',
    unit: '/s',
    valueSizes: [100],
    floor: 'raw',
    run: (context, asked) =>
      run(context, asked, { base: () => DURABLE_RECORDS.oneWriter, writers: 1, flush: '1' }),
  },
  {
    name: 'W3b',
    title: 'durable, 256 writers',
    text:
      'Each of 256 writers awaits its record before it appends the next. A record is ' +
      'acknowledged after its sync, which it shares with other records.',
    unit: '/s',
    valueSizes: [100],
    floor: 'raw-async',
    run: (context, asked) =>
      run(context, asked, { base: () => DURABLE_RECORDS.manyWriters, writers: 256, flush: '1' }),
  },
]

interface Appends {
  readonly base: (valueBytes: number) => number
  /** Number of writers; Infinity keeps all records in flight at once. */
  readonly writers: number
  readonly flush: Flush
}

async function run(
  context: BenchContext,
  { peer, valueBytes, share }: Asked,
  { base, writers, flush }: Appends,
): Promise<Measurement> {
  const workload = new Workload(valueBytes)
  const count = context.count(base(valueBytes) * share)
  const openLog = await peer.load()
  const open = (): ReturnType<typeof openLog> => openLog(context.dir, { flush, valueBytes })
  const log = await open()
  const append = (index: number): Promise<unknown> => log.append(workload.record(index))
  const samplesMs = new Float64Array(writers === Infinity ? 0 : count)
  const lap = await measure(() =>
    writers === Infinity ? appendAll(count, append) : appendInTurn(samplesMs, writers, append),
  )
  await log.close()
  await verifyLog(open, workload, count, writers === 1 ? 'ordered' : 'unordered')
  const extra = writers === Infinity ? {} : latencies(samplesMs)
  return rate(lap, { count, bytes: count * workload.recordBytes }, extra)
}

async function appendAll(
  count: number,
  append: (index: number) => Promise<unknown>,
): Promise<void> {
  const sent: Promise<unknown>[] = []
  for (let index = 0; index < count; index++) sent.push(append(index))
  await Promise.all(sent)
}

/** Appends from `writers` loops, each of which awaits its own calls, and times each call. */
async function appendInTurn(
  samplesMs: Float64Array,
  writers: number,
  append: (index: number) => Promise<unknown>,
): Promise<void> {
  let next = 0
  const writer = async (): Promise<void> => {
    while (next < samplesMs.length) {
      const index = next
      next += 1
      const start = performance.now()
      await append(index)
      samplesMs[index] = performance.now() - start
    }
  }
  await Promise.all(Array.from({ length: writers }, writer))
}
