import { setTimeout as sleep } from 'node:timers/promises'
import type { Broker } from '../lib/broker.ts'
import type { Partition } from '../lib/broker/partition.ts'
import type { BenchCase, BenchContext, Measurement } from './bench-case.ts'
import { latencies, startWatch } from './measure.ts'
import { createStore, ensureEqual, verifyStore, type Flush } from './store.ts'
import { TOPIC, Workload } from './workload.ts'

const VALUE_BYTES = 100

interface Store {
  readonly broker: Broker
  readonly partition: Partition
}

/** Calls `deliver` with the offset of every record as it comes, and returns after `count` of them. */
type Follow = (store: Store, count: number, deliver: (offset: number) => void) => Promise<void>

const FOLLOWERS: Readonly<Record<string, Follow>> = {
  'consumer-poll': async ({ broker }, count, deliver) => {
    const consumer = broker.consumer()
    consumer.assign([{ topic: TOPIC, partition: 0 }])
    let next = 0
    while (next < count) {
      for (const { offset } of await consumer.poll()) {
        deliver(offset)
        next = offset + 1
      }
    }
  },
  'consumer-iterate': async ({ broker }, count, deliver) => {
    const consumer = broker.consumer()
    consumer.assign([{ topic: TOPIC, partition: 0 }])
    for await (const { offset } of consumer) {
      deliver(offset)
      if (offset + 1 === count) break
    }
  },
  'partition-fetch': async ({ partition }, count, deliver) => {
    let next = 0
    while (next < count) {
      for (const { offset } of await partition.fetch(next)) {
        deliver(offset)
        next = offset + 1
      }
    }
  },
}

/** How long after a send a waiting reader of the same process has the record. */
export const tailCases: readonly BenchCase[] = Object.entries(FOLLOWERS).flatMap(([name, follow]) =>
  (['relaxed', '1'] as const).map((flush): BenchCase => ({
    name: `tail/${name}/value=${VALUE_BYTES}/flush=${flush}`,
    unit: 'ms',
    floor: `raw/tail/value=${VALUE_BYTES}/flush=${flush}`,
    run: (context) => run(context, follow, flush),
  })),
)

/**
 * Sends a record about every millisecond and takes the time until each is delivered.
 *
 * @param send starts to send; `follow` gets to know of it on its own.
 */
export async function measureTail(
  count: number,
  send: (index: number) => Promise<unknown>,
  follow: (deliver: (offset: number) => void) => Promise<void>,
): Promise<Measurement> {
  const sentMs = new Float64Array(count)
  const samplesMs = new Float64Array(count)
  let delivered = 0
  const stop = startWatch()
  const following = follow((offset) => {
    ensureEqual('offset', offset, delivered)
    samplesMs[offset] = performance.now() - (sentMs[offset] ?? NaN)
    delivered += 1
  })
  const sends: Promise<unknown>[] = []
  for (let index = 0; index < count; index++) {
    await sleep(1)
    sentMs[index] = performance.now()
    sends.push(send(index))
  }
  await Promise.all([following, ...sends])
  const { cpuMs, maxRssMb } = stop()
  const { p50Ms, ...extra } = latencies(samplesMs)
  return { value: p50Ms, count, cpuMs, maxRssMb, extra }
}

/** How many records such a case sends before it is scaled. */
export const TAIL_SAMPLES = 400

async function run(context: BenchContext, follow: Follow, flush: Flush): Promise<Measurement> {
  const workload = new Workload(VALUE_BYTES)
  const count = context.count(TAIL_SAMPLES)
  const store = await createStore(context.dir, flush)
  const producer = store.broker.producer()
  const measurement = await measureTail(
    count,
    (index) => producer.send(workload.sent(index)),
    (deliver) => follow(store, count, deliver),
  )
  await store.broker.close()
  await verifyStore(context.dir, workload, count)
  return measurement
}
