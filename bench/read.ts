import type { Broker } from '../lib/broker.ts'
import type { Partition } from '../lib/broker/partition.ts'
import type { BenchCase, BenchContext, Measurement } from './bench-case.ts'
import { latencies, rate, startWatch } from './measure.ts'
import { ensureEqual, filledStore, openStore } from './store.ts'
import { Checksum, TOPIC, Workload } from './workload.ts'

/** Records that one random read asks for. */
export const RANDOM_READ_RECORDS = 11

/** The offsets that random reads begin at: the same ones in every run, all over the store. */
export function randomOffsets(reads: number, storeCount: number): number[] {
  let state = 12345
  return Array.from({ length: reads }, () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return Math.floor((state / 2 ** 32) * (storeCount - RANDOM_READ_RECORDS))
  })
}

/** How many records a store of such values holds before it is scaled. */
export function storeCount(valueBytes: number): number {
  return valueBytes === 100 ? 500_000 : 100_000
}

interface ReadRecord {
  readonly offset: number
  readonly key: Buffer | null
  readonly value: Buffer | null
}

interface Store {
  readonly broker: Broker
  readonly partition: Partition
}

/** Hands every record of the store to `visit`, in order. */
type Replay = (store: Store, visit: (record: ReadRecord) => void) => Promise<void>

const REPLAYS: Readonly<Record<string, Replay>> = {
  'partition-records': async ({ partition }, visit) => {
    for await (const record of partition.records({ until: 'end' })) visit(record)
  },
  'partition-fetch/max=1MiB': async ({ partition }, visit) => {
    let offset = 0
    while (offset < partition.highWatermark) {
      const records = await partition.fetch(offset, { maxBytes: 1024 * 1024 })
      for (const record of records) visit(record)
      offset = (records.at(-1)?.offset ?? Infinity) + 1
    }
  },
  'consumer-poll/max=500': (store, visit) => poll(store, 500, visit),
  'consumer-poll/max=10000': (store, visit) => poll(store, 10_000, visit),
  'consumer-iterate': async ({ broker, partition }, visit) => {
    const end = partition.highWatermark
    const consumer = broker.consumer()
    consumer.assign([{ topic: TOPIC, partition: 0 }])
    for await (const record of consumer) {
      visit(record)
      if (record.offset + 1 === end) break
    }
  },
}

/** How many records a second are read in order, and how many small reads anywhere. */
export const readCases: readonly BenchCase[] = [...replayCases(), ...randomCases()]

async function poll(
  { broker, partition }: Store,
  maxPollRecords: number,
  visit: (record: ReadRecord) => void,
): Promise<void> {
  const end = partition.highWatermark
  const consumer = broker.consumer({ maxPollRecords })
  consumer.assign([{ topic: TOPIC, partition: 0 }])
  let offset = 0
  while (offset < end) {
    const records = await consumer.poll()
    for (const record of records) visit(record)
    offset = (records.at(-1)?.offset ?? Infinity) + 1
  }
}

function replayCases(): BenchCase[] {
  return Object.entries(REPLAYS).flatMap(([name, replay]) =>
    [100, 1024].map((valueBytes): BenchCase => ({
      name: `read/${name}/value=${valueBytes}`,
      unit: '/s',
      floor: `raw/replay/value=${valueBytes}/mode=views`,
      store: filledStore(valueBytes, { count: storeCount(valueBytes), batchRecords: 1000 }),
      run: (context) => runReplay(context, replay, valueBytes),
    })),
  )
}

function randomCases(): BenchCase[] {
  return [100, 1000].map((batchRecords): BenchCase => ({
    name: `read/random/records=${RANDOM_READ_RECORDS}/value=100/batch=${batchRecords}`,
    unit: '/s',
    floor: `raw/random/records=${RANDOM_READ_RECORDS}/value=100/mode=async`,
    store: filledStore(100, { count: storeCount(100), batchRecords }),
    run: runRandom,
  }))
}

async function runReplay(
  context: BenchContext,
  replay: Replay,
  valueBytes: number,
): Promise<Measurement> {
  const workload = new Workload(valueBytes)
  const count = context.count(storeCount(valueBytes))
  const store = await openStore(context.dir)
  let seen = 0
  let bytes = 0
  const stop = startWatch()
  await replay(store, ({ key, value }) => {
    seen += 1
    bytes += (key?.length ?? 0) + (value?.length ?? 0)
  })
  const lap = stop()
  ensureEqual('count', seen, count)
  ensureEqual('bytes', bytes, count * workload.recordBytes)
  // Once more with a look at every byte, which is not part of what is measured.
  const checksum = new Checksum()
  await replay(store, ({ offset, key, value }) => {
    ensureEqual('offset', offset, checksum.count)
    if (key === null || value === null) throw new Error(`offset ${offset} lost its key or value`)
    checksum.add(key, value)
  })
  await store.broker.close()
  ensureEqual('count', checksum.count, count)
  ensureEqual('checksum', checksum.ordered, workload.checksum(count))
  return rate(lap, { count, bytes })
}

async function runRandom(context: BenchContext): Promise<Measurement> {
  const workload = new Workload(100)
  const offsets = randomOffsets(context.count(5000), context.count(storeCount(100)))
  const { broker, partition } = await openStore(context.dir)
  const measurement = await measureReads(offsets, async (offset) => {
    const records = await readSome(partition, offset)
    return records.length
  })
  // Some of them once more with a look at every byte, which is not part of what is measured.
  for (const offset of offsets.slice(0, 500)) {
    for (const [index, record] of (await readSome(partition, offset)).entries()) {
      ensureEqual('offset', record.offset, offset + index)
      const expected = workload.record(record.offset)
      if (!record.key?.equals(expected.key) || !record.value?.equals(expected.value)) {
        throw new Error(`offset ${record.offset} holds another record`)
      }
    }
  }
  await broker.close()
  return measurement
}

/** Reads at each of `offsets` in turn. @param read returns how many records it got. */
export async function measureReads(
  offsets: readonly number[],
  read: (offset: number) => Promise<number> | number,
): Promise<Measurement> {
  const samplesMs = new Float64Array(offsets.length)
  const stop = startWatch()
  for (const [index, offset] of offsets.entries()) {
    const start = performance.now()
    const result = read(offset)
    // To await a number would make a synchronous read look slower than it is.
    const count = typeof result === 'number' ? result : await result
    samplesMs[index] = performance.now() - start
    ensureEqual('records', count, RANDOM_READ_RECORDS)
  }
  return rate(stop(), { count: offsets.length }, latencies(samplesMs))
}

/** The records from `offset` on; a batch may end before there are enough. */
async function readSome(partition: Partition, offset: number): Promise<readonly ReadRecord[]> {
  const records: ReadRecord[] = []
  while (records.length < RANDOM_READ_RECORDS) {
    const read = await partition.read(offset + records.length, { maxBytes: 4096 })
    records.push(...read.slice(0, RANDOM_READ_RECORDS - records.length))
  }
  return records
}
