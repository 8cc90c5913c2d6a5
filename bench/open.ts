import { Broker } from '../lib/broker.ts'
import type { BenchCase, BenchContext, Measurement } from './bench-case.ts'
import { median, startWatch } from './measure.ts'
import { ensureEqual, filledStore, verifyStore } from './store.ts'
import { TOPIC, Workload } from './workload.ts'

const RECORDS = 1_000_000

/** How long it takes until a store that was closed cleanly knows its next offset. */
export const openCases: readonly BenchCase[] = [
  {
    name: `open/broker/records=${RECORDS}/value=100/batch=1000`,
    unit: 'ms',
    floor: 'raw/open',
    store: filledStore(100, { count: RECORDS, batchRecords: 1000 }),
    run,
  },
]

/** Opens again, in the same process, once its code is warm. */
export const REOPENS = 10

async function run(context: BenchContext): Promise<Measurement> {
  const count = context.count(RECORDS)
  const stop = startWatch()
  const broker = await Broker.open(context.dir)
  const { highWatermark } = broker.topic(TOPIC).partition(0)
  const { seconds, cpuMs, maxRssMb } = stop()
  ensureEqual('next offset', highWatermark, count)
  if (!broker.recovery.cleanShutdown) throw new Error('the store was not closed cleanly')
  await broker.close()
  const againMs: number[] = []
  for (let round = 0; round < REOPENS; round++) {
    const stopAgain = startWatch()
    const again = await Broker.open(context.dir)
    againMs.push(stopAgain().seconds * 1000)
    await again.close()
  }
  await verifyStore(context.dir, new Workload(100), count)
  const extra = { againMs: median(againMs) }
  return { value: seconds * 1000, count: 1, cpuMs, maxRssMb, extra }
}
