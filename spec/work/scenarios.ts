import type { Consumer } from '../../lib/client/consumer.ts'
import type { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import {
  closedDirectory,
  closedPartitions,
  begunStore,
  filledStore,
  openBroker,
  repeated,
  thousandRecords,
  thousandSends,
  TOPIC,
  type Filling,
  type Flush,
  type Store,
} from './scenario-store.ts'

/** One run of a scenario, with everything done that is not counted. */
export interface PreparedRun {
  /** The disks on which the work is done. */
  readonly fileSystems: readonly SimulatedFileSystem[]
  /** Does the work that is counted. Throws if the result is wrong. */
  readonly run: () => Promise<void>
}

/** A fixed piece of work. */
export interface Scenario {
  /** What is done, and the unit of the counts: `'replay, per thousand records'`. */
  readonly name: string
  /** How many units one run does. */
  readonly times: number
  readonly prepare: () => Promise<PreparedRun>
}

const COMMITS = 500
/** Groups that commit an offset for each of a hundred partitions. */
const GROUPS = 20
const MANY = 'many'
/** One open is so small that its allocations differ between runs. */
const OPENS = 10
/** More than may have a file open at the same time. */
const PARTITIONS = 300
/** As many as their buffers allow without a collection. */
const RANDOM_READS = 200
const ONE_BATCH_A_SEGMENT_BYTES = 16_384

/** The few records that are read again and again. */
const HOT_RECORDS = 1000

/** For scenarios that read: about 1.3 MB in one segment. */
const LOG: Filling = { records: 10_000, batchRecords: 100, segmentBytes: 2 ** 30, segments: 1 }
const TEN_SEGMENTS: Filling = {
  records: 1000,
  batchRecords: 100,
  segmentBytes: ONE_BATCH_A_SEGMENT_BYTES,
  segments: 10,
}
const HUNDRED_SEGMENTS: Filling = { ...TEN_SEGMENTS, records: 10_000, segments: 100 }
const FOUR_HUNDRED_SEGMENTS: Filling = { ...TEN_SEGMENTS, records: 40_000, segments: 400 }

/** The scenarios that open 10, 100 and 400 segments. */
export const OPENS_COMPARED: readonly [string, string, string] = [
  'open of 10 segments after an orderly close, per open',
  'open of 100 segments after an orderly close, per open',
  'open of 400 segments after an orderly close, per open',
]

/** The scenarios that are counted. Their names are those in the baseline. */
export const scenarios: readonly Scenario[] = [
  writing('Partition.append of 1000 records a call, relaxed', 'relaxed', 4000, bulkAppend),
  writing('a promise a record, all in flight, relaxed', 'relaxed', 4000, sendAll),
  writing('a promise a record, all in flight, each batch synced', 'each', 4000, sendAll),
  writing('one writer who awaits each record', 'each', 500, (store, count) =>
    sendConcurrently(store, count, 1),
  ),
  writing('256 writers who await each record', 'each', 4000, (store, count) =>
    sendConcurrently(store, count, 256),
  ),
  writing('append to a waiting fetch, relaxed', 'relaxed', 500, appendToFetch),
  reading('replay by records()', replayRecords),
  reading('replay by poll', replayPoll),
  reading('replay by for await of a consumer', replayIteration),
  writing('append to a waiting poll, relaxed', 'relaxed', 500, appendToPoll),
  {
    name: 'random reads of 11 records, per thousand reads',
    times: RANDOM_READS / 1000,
    prepare: () => onStore(filledStore(LOG), (store) => randomReads(store, LOG.records)),
  },
  {
    name: 'reads of 11 records that are read again and again, per thousand reads',
    times: RANDOM_READS / 1000,
    prepare: () => onStore(filledStore(LOG), (store) => randomReads(store, HOT_RECORDS)),
  },
  {
    name: 'commits of one offset, per thousand commits',
    times: COMMITS / 1000,
    prepare: () => onStore(filledStore(LOG), commits),
  },
  {
    name: 'commits of 100 offsets and their description, per thousand offsets',
    times: GROUPS * 0.1,
    prepare: () => onStore(storeOfMany(), commitMany),
  },
  // The only costs that may grow with the number of segments: the size of each is queried, since
  // only a file of the recorded size is known to be complete, and each has 38 bytes in the record.
  opening(OPENS_COMPARED[0], TEN_SEGMENTS),
  opening(OPENS_COMPARED[1], HUNDRED_SEGMENTS),
  opening(OPENS_COMPARED[2], FOUR_HUNDRED_SEGMENTS),
  {
    name: 'open and close without an append, per partition',
    times: PARTITIONS,
    prepare: async () => {
      const fileSystem = await closedPartitions(PARTITIONS)
      return { fileSystems: [fileSystem], run: async () => (await openBroker(fileSystem)).close() }
    },
  },
]

function writing(
  name: string,
  flush: Flush,
  count: number,
  work: (store: Store, count: number) => Promise<void>,
): Scenario {
  const run = async (store: Store): Promise<void> => {
    await work(store, count)
    ensureEqual('records in the log', store.partition.highWatermark, 1 + count)
  }
  const prepare = (): Promise<PreparedRun> => onStore(begunStore(flush), run)
  return { name: `${name}, per thousand records`, times: count / 1000, prepare }
}

function reading(name: string, read: (store: Store) => Promise<number>): Scenario {
  const run = async (store: Store): Promise<void> => {
    ensureEqual('records read', await read(store), LOG.records)
  }
  const prepare = (): Promise<PreparedRun> => onStore(filledStore(LOG), run)
  return { name: `${name}, per thousand records`, times: LOG.records / 1000, prepare }
}

function opening(name: string, filling: Filling): Scenario {
  const prepare = async (): Promise<PreparedRun> => {
    const fileSystems: SimulatedFileSystem[] = []
    while (fileSystems.length < OPENS) fileSystems.push(await closedDirectory(filling))
    const run = async (): Promise<void> => {
      for (const fileSystem of fileSystems) {
        const { recovery } = await openBroker(fileSystem)
        if (!recovery.cleanShutdown) throw new Error('the log was not closed in order')
      }
    }
    return { fileSystems, run }
  }
  return { name, times: OPENS, prepare }
}

async function onStore(
  opening: Promise<Store>,
  work: (store: Store) => Promise<void>,
): Promise<PreparedRun> {
  const store = await opening
  return { fileSystems: [store.fileSystem], run: () => work(store) }
}

async function bulkAppend({ partition }: Store, count: number): Promise<void> {
  for (let from = 0; from < count; from += thousandRecords.length) {
    await partition.append(thousandRecords)
  }
}

async function sendAll({ broker }: Store, count: number): Promise<void> {
  const producer = broker.producer()
  const sent: Promise<unknown>[] = []
  for (let index = 0; index < count; index += 1) {
    sent.push(producer.send(repeated(thousandSends, index)))
  }
  await Promise.all(sent)
}

async function sendConcurrently({ broker }: Store, count: number, writers: number): Promise<void> {
  const producer = broker.producer()
  let next = 0
  const writer = async (): Promise<void> => {
    while (next < count) {
      const index = next
      next += 1
      await producer.send(repeated(thousandSends, index))
    }
  }
  await Promise.all(Array.from({ length: writers }, writer))
}

async function appendToFetch({ partition }: Store, count: number): Promise<void> {
  for (let offset = 1; offset <= count; offset += 1) {
    const waiting = partition.fetch(offset)
    await partition.append(repeated(thousandRecords, offset))
    ensureEqual('records fetched', (await waiting).length, 1)
  }
}

async function replayRecords({ partition }: Store): Promise<number> {
  let count = 0
  for await (const { value } of partition.records({ until: 'end' })) {
    if (value !== null) count += 1
  }
  return count
}

async function replayPoll(store: Store): Promise<number> {
  const consumer = assignedConsumer(store)
  let count = 0
  while (count < store.partition.highWatermark) {
    for (const { value } of await consumer.poll()) {
      if (value !== null) count += 1
    }
  }
  return count
}

async function replayIteration(store: Store): Promise<number> {
  const last = store.partition.highWatermark - 1
  let count = 0
  for await (const { offset, value } of assignedConsumer(store)) {
    if (value !== null) count += 1
    if (offset === last) break
  }
  return count
}

async function appendToPoll(store: Store, count: number): Promise<void> {
  const consumer = assignedConsumer(store)
  await consumer.poll()
  for (let offset = 1; offset <= count; offset += 1) {
    const waiting = consumer.poll()
    await store.partition.append(repeated(thousandRecords, offset))
    ensureEqual('records polled', (await waiting).length, 1)
  }
}

/** Reads at random offsets of the first `records`. */
async function randomReads({ partition }: Store, records: number): Promise<void> {
  const maxRecords = 11
  let state = 12_345
  for (let read = 0; read < RANDOM_READS; read += 1) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    const offset = Math.floor((state / 2 ** 32) * (records - maxRecords))
    const { length } = await partition.read(offset, { maxRecords })
    ensureEqual('records read', length, maxRecords)
  }
}

async function commits(store: Store): Promise<void> {
  const consumer = assignedConsumer(store, 'workers')
  for (let offset = 1; offset <= COMMITS; offset += 1) {
    await consumer.commit([{ topic: TOPIC, partition: 0, offset }])
  }
}

/** A store with an additional topic of a hundred partitions. */
async function storeOfMany(): Promise<Store> {
  const store = await begunStore('each')
  await store.broker.createTopic(MANY, { partitions: 100 })
  return store
}

async function commitMany({ broker }: Store): Promise<void> {
  const places = Array.from({ length: 100 }, (_, partition) => ({ topic: MANY, partition }))
  for (let group = 0; group < GROUPS; group += 1) {
    const consumer = broker.consumer({ groupId: `g${group}`, enableAutoCommit: false })
    await consumer.commit(places.map((place) => ({ ...place, offset: 0 })))
  }
  const offsets = broker.describe().groups.flatMap((group) => group.offsets)
  ensureEqual('committed offsets', offsets.length, 100 * GROUPS)
}

function assignedConsumer({ broker }: Store, groupId?: string): Consumer {
  const group = groupId === undefined ? {} : { groupId, enableAutoCommit: false }
  const consumer = broker.consumer(group)
  consumer.assign([{ topic: TOPIC, partition: 0 }])
  return consumer
}

function ensureEqual(what: string, got: number, expected: number): void {
  if (got !== expected) throw new Error(`${what}: got ${got}, expected ${expected}`)
}
