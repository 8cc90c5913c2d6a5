import { Broker } from '../../lib/broker.ts'
import type { Partition } from '../../lib/broker/partition.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

/** The one topic of every scenario; it has one partition. */
export const TOPIC = 'work'

const DIR = '/work'
const KEY_BYTES = 16
const VALUE_BYTES = 100

/** A record of a scenario, as partitions accept it. */
export interface WorkRecord {
  readonly key: Buffer
  readonly value: Buffer
}

/** The records of every scenario, created before the counting; record 1000 is record 0 again. */
export const thousandRecords: readonly WorkRecord[] = Array.from({ length: 1000 }, (_, index) => ({
  key: Buffer.from(String(index).padStart(KEY_BYTES, '0')),
  value: Buffer.alloc(VALUE_BYTES, index),
}))

/** The same records, as producers accept them. */
export const thousandSends: readonly (WorkRecord & { readonly topic: string })[] =
  thousandRecords.map((each) => ({ topic: TOPIC, ...each }))

/** Entry `index` of a list that starts over at its end. */
export function repeated<T>(list: readonly T[], index: number): T {
  const found = list[index % list.length]
  if (found === undefined) throw new RangeError(`no entry ${index}`)
  return found
}

/** When records reach the disk: before their acknowledgement, or when the system decides. */
export type Flush = 'each' | 'relaxed'

/** What a scenario works on. Time stands still and chance is seeded, so all runs are equal. */
export interface Store {
  readonly fileSystem: SimulatedFileSystem
  readonly broker: Broker
  readonly partition: Partition
}

/** The content of a directory before a scenario begins. */
export interface Filling {
  /** A multiple of `batchRecords`. */
  readonly records: number
  /** A divisor of 1000. */
  readonly batchRecords: number
  readonly segmentBytes: number
  /** The resulting number of segments. */
  readonly segments: number
}

const filled = new Map<Filling, Promise<SimulatedFileSystem>>()

/** Opens a broker on `fileSystem`. */
export function openBroker(fileSystem: SimulatedFileSystem): Promise<Broker> {
  return Broker.open(DIR, { fileSystem, clock: new ManualClock(), random: new SeededRandom(1) })
}

/** A broker with a topic that already has a record, so that the costs of the first one are over. */
export async function begunStore(flush: Flush): Promise<Store> {
  const fileSystem = new SimulatedFileSystem()
  const broker = await openBroker(fileSystem)
  const flushMessages = flush === 'each' ? 1 : Number.MAX_SAFE_INTEGER
  const topic = await broker.createTopic(TOPIC, { flushMessages })
  const partition = topic.partition(0)
  await partition.append({ value: 'first' })
  return { fileSystem, broker, partition }
}

/** A broker that was opened on a copy of such a directory. */
export async function filledStore(filling: Filling): Promise<Store> {
  const fileSystem = await closedDirectory(filling)
  const broker = await openBroker(fileSystem)
  return { fileSystem, broker, partition: broker.topic(TOPIC).partition(0) }
}

/** A copy of such a directory, after a clean close. The original is filled once. */
export async function closedDirectory(filling: Filling): Promise<SimulatedFileSystem> {
  const made = filled.get(filling) ?? fill(filling)
  filled.set(filling, made)
  return (await made).fork()
}

/** A directory of `count` partitions, each with one record, after a clean close. */
export async function closedPartitions(count: number): Promise<SimulatedFileSystem> {
  const fileSystem = new SimulatedFileSystem()
  const broker = await openBroker(fileSystem)
  const { partitions } = await broker.createTopic(TOPIC, { partitions: count })
  for (const partition of partitions) await partition.append({ value: 'first' })
  await broker.close()
  return fileSystem
}

async function fill(filling: Filling): Promise<SimulatedFileSystem> {
  const { records, batchRecords, segmentBytes, segments: expectedSegments } = filling
  const fileSystem = new SimulatedFileSystem()
  const broker = await openBroker(fileSystem)
  const topic = await broker.createTopic(TOPIC, {
    segmentBytes,
    flushMessages: Number.MAX_SAFE_INTEGER,
  })
  for (let from = 0; from < records; from += batchRecords) {
    const start = from % thousandRecords.length
    await topic.partition(0).append(thousandRecords.slice(start, start + batchRecords))
  }
  await broker.close()
  const files = [...fileSystem.snapshot().keys()].filter((path) => path.endsWith('.log'))
  const segments = files.filter((path) => path.includes(`/${TOPIC}-0/`)).length
  if (segments !== expectedSegments) {
    throw new Error(`the log has ${segments} segments, expected ${expectedSegments}`)
  }
  return fileSystem
}
