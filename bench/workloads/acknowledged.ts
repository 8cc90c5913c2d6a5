import type { BenchContext, Measurement } from '../bench-case.ts'
import { latencies, measure, rate } from '../measure.ts'
import type { Flush } from '../peers/peer.ts'
import { verifyLog } from '../store.ts'
import { Workload } from '../workload.ts'
import { perSize, type Asked, type WorkloadDefinition } from './definition.ts'

/**
 * Durable appends are slow, so a count that takes a second is few of them: of the first thousands most
 * of the time goes into compiling what appends, more for a log the more of it is JavaScript, and into the
 * first syncs of a new file. Who needs durable appends runs for longer than that.
 */
const DURABLE_RECORDS = { oneWriter: 20_000, manyWriters: 1_000_000 }

/** How many records a second are appended when each is acknowledged on its own. */
export const acknowledged: readonly WorkloadDefinition[] = [
  {
    name: 'W2',
    title: 'one promise per record, all in flight',
    text:
      'One caller appends all records without waiting in between, and then waits for the promise ' +
      'of each. Nothing is synced before the log is closed.',
    unit: '/s',
    valueSizes: [100, 1024],
    floor: 'raw-async',
    run: (context, asked) =>
      run(context, asked, { base: perSize(500_000), writers: Infinity, flush: 'relaxed' }),
  },
  {
    name: 'W3a',
    title: 'durable, one writer',
    text: 'One writer awaits each record before it appends the next; a record is acknowledged once it is synced.',
    unit: '/s',
    valueSizes: [100],
    floor: 'raw',
    run: (context, asked) =>
      run(context, asked, { base: () => DURABLE_RECORDS.oneWriter, writers: 1, flush: '1' }),
  },
  {
    name: 'W3b',
    title: 'durable, 256 writers',
    text: '256 writers, each of which awaits its record before it appends the next; a record is acknowledged once it is synced, together with others.',
    unit: '/s',
    valueSizes: [100],
    floor: 'raw-async',
    run: (context, asked) =>
      run(context, asked, { base: () => DURABLE_RECORDS.manyWriters, writers: 256, flush: '1' }),
  },
]

interface Appends {
  readonly base: (valueBytes: number) => number
  /** Infinity has all records in flight at once. */
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

/** Appends from `writers` loops, each of which awaits its own call, and takes the time of each. */
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
