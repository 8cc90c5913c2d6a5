import type { BenchCase, BenchContext, Measurement } from './bench-case.ts'
import { latencies, rate, startWatch } from './measure.ts'
import { createStore, verifyStore } from './store.ts'
import { Workload } from './workload.ts'

const VALUE_BYTES = 100

/** How many records a second are durable when each writer waits for its own, and how long it waits. */
export const durableCases: readonly BenchCase[] = [1, 256].flatMap((writers) =>
  (['producer', 'partition'] as const).map((entry): BenchCase => {
    const parameters = `writers=${writers}/value=${VALUE_BYTES}/flush=1`
    return {
      name: `durable/${entry}/${parameters}`,
      unit: '/s',
      floor: `raw/durable/${parameters}/mode=async`,
      run: (context) => run(context, entry, writers),
    }
  }),
)

/** Calls `write` for records 0 to `count` from `writers` loops, each of which awaits its own call. */
export async function writeConcurrently(
  { count, writers }: { count: number; writers: number },
  write: (index: number) => Promise<unknown>,
): Promise<Float64Array> {
  const samplesMs = new Float64Array(count)
  let next = 0
  const writer = async (): Promise<void> => {
    while (next < count) {
      const index = next
      next += 1
      const start = performance.now()
      await write(index)
      samplesMs[index] = performance.now() - start
    }
  }
  await Promise.all(Array.from({ length: writers }, writer))
  return samplesMs
}

/** How many records such a case writes before it is scaled. */
export function durableCount(writers: number): number {
  return writers === 1 ? 1500 : 50_000
}

async function run(
  context: BenchContext,
  entry: 'producer' | 'partition',
  writers: number,
): Promise<Measurement> {
  const workload = new Workload(VALUE_BYTES)
  const count = context.count(durableCount(writers))
  const { broker, partition } = await createStore(context.dir, '1')
  const producer = broker.producer()
  const write =
    entry === 'producer'
      ? (index: number) => producer.send(workload.sent(index))
      : (index: number) => partition.append(workload.record(index))
  const stop = startWatch()
  const samplesMs = await writeConcurrently({ count, writers }, write)
  const lap = stop()
  await broker.close()
  await verifyStore(context.dir, workload, count, writers === 1 ? 'ordered' : 'unordered')
  return rate(lap, { count, bytes: count * workload.recordBytes }, latencies(samplesMs))
}
