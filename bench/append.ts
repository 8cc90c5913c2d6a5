import type { Broker } from '../lib/broker.ts'
import type { Partition } from '../lib/broker/partition.ts'
import type { BenchCase, BenchContext, Measurement } from './bench-case.ts'
import { rate, startWatch } from './measure.ts'
import { createStore, inWindow, sizeOnDisk, verifyStore, type Flush } from './store.ts'
import { Workload } from './workload.ts'

type Write = (
  store: { broker: Broker; partition: Partition },
  workload: Workload,
  count: number,
) => Promise<void>

interface Style {
  readonly name: string
  readonly floor: 'write' | 'promise'
  /** Records at a value size of 100 bytes. */
  readonly base: number
  readonly write: Write
}

const BATCH_RECORDS = 1000

const STYLES: readonly Style[] = [
  {
    name: `partition/batch=${BATCH_RECORDS}`,
    floor: 'write',
    base: 500_000,
    write: ({ partition }, workload, count) =>
      inWindow(count, BATCH_RECORDS, (from, size) => partition.append(workload.slice(from, size))),
  },
  {
    name: `producer-send-batch/batch=${BATCH_RECORDS}`,
    floor: 'write',
    base: 500_000,
    write: async ({ broker }, workload, count) => {
      const producer = broker.producer()
      await inWindow(count, BATCH_RECORDS, (from, size) =>
        producer.sendBatch(workload.sentSlice(from, size)),
      )
    },
  },
  {
    name: 'producer-callback',
    floor: 'write',
    base: 250_000,
    write: async ({ broker }, workload, count) => {
      const producer = broker.producer()
      let acknowledged = 0
      for (let index = 0; index < count; index++) {
        producer.send(workload.sent(index), (error) => {
          if (error !== null) throw error
          acknowledged += 1
        })
      }
      await producer.flush()
      if (acknowledged !== count) throw new Error(`${acknowledged} of ${count} acknowledged`)
    },
  },
  {
    name: 'producer-promise',
    floor: 'promise',
    base: 250_000,
    write: async ({ broker }, workload, count) => {
      const producer = broker.producer()
      const sent: Promise<unknown>[] = []
      for (let index = 0; index < count; index++) {
        sent.push(producer.send(workload.sent(index)))
      }
      await Promise.all(sent)
    },
  },
]

/** How many records a second one process appends, in bulk and with a promise for each. */
export const appendCases: readonly BenchCase[] = cases()

function cases(): BenchCase[] {
  const flushes: readonly Flush[] = ['relaxed', '1']
  return STYLES.flatMap((style) =>
    [100, 1024].flatMap((valueBytes) =>
      flushes.map((flush): BenchCase => {
        const parameters = `value=${valueBytes}/flush=${flush}`
        return {
          name: `append/${style.name}/${parameters}`,
          unit: '/s',
          floor: `raw/${style.floor}/${parameters}`,
          run: (context) => run(context, style, valueBytes, flush),
        }
      }),
    ),
  )
}

async function run(
  context: BenchContext,
  style: Style,
  valueBytes: number,
  flush: Flush,
): Promise<Measurement> {
  const workload = new Workload(valueBytes)
  // The larger values are fewer, so that both take about as long.
  const count = context.count(valueBytes === 100 ? style.base : style.base / 5)
  const store = await createStore(context.dir, flush)
  const stop = startWatch()
  await style.write(store, workload, count)
  const lap = stop()
  const stopClose = startWatch()
  await store.broker.close()
  const closeMs = stopClose().seconds * 1000
  const bytesPerRecord = sizeOnDisk(context.dir) / count
  await verifyStore(context.dir, workload, count)
  const bytes = count * workload.recordBytes
  return rate(lap, { count, bytes }, { closeMs, bytesPerRecord })
}
