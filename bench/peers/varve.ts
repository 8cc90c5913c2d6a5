import { Broker } from '../../lib/broker.ts'
import type { Partition } from '../../lib/broker/partition.ts'
import { BATCH_RECORDS, inWindow, TOPIC, type Workload, type WorkloadRecord } from '../workload.ts'
import { allBut, type Peer, type PeerLog, type Visit } from './peer.ts'

/** With a promise each, all records are in flight, so a producer needs room for all of them. */
const BUFFER_MEMORY = 256 * 1024 * 1024
/** Calls in flight while one caller writes in bulk. */
const WINDOW = 4
/** Sends with a callback between two flushes, which limit a caller that awaits no send. */
const FLUSH_RECORDS = 10_000

interface Store {
  readonly broker: Broker
  readonly partition: Partition
}

/** A record as every reader of Varve returns it. */
interface ReadRecord {
  readonly offset: number
  readonly key: Buffer | null
  readonly value: Buffer | null
}

/** How records are written and read, each in one of several natural ways. */
interface Ways {
  readonly bulk: (store: Store) => (workload: Workload, count: number) => Promise<void>
  readonly append: (store: Store) => (record: WorkloadRecord) => Promise<unknown>
  /** Whether a topic whose appends are synced is preallocated. */
  readonly preallocate: boolean
  /** Visits the records in [0, `end`), including those that are not yet appended. */
  readonly replay: (store: Store, end: number, visit: (record: ReadRecord) => void) => Promise<void>
}

const partitionBulk: Ways['bulk'] =
  ({ partition }) =>
  (workload, count) =>
    inWindow(count, WINDOW, (from, size) => partition.append(workload.appendedSlice(from, size)))

const producerBulk: Ways['bulk'] = ({ broker }) => {
  const producer = broker.producer()
  return (workload, count) =>
    inWindow(count, WINDOW, (from, size) => producer.sendBatch(workload.sentSlice(from, size)))
}

const callbackBulk: Ways['bulk'] = ({ broker }) => {
  const producer = broker.producer()
  return async (workload, count) => {
    let acknowledged = 0
    for (let index = 0; index < count; index++) {
      producer.send(workload.record(index).sent, (error) => {
        if (error !== null) throw error
        acknowledged += 1
      })
      if ((index + 1) % FLUSH_RECORDS === 0) await producer.flush()
    }
    await producer.flush()
    if (acknowledged !== count) throw new Error(`${acknowledged} of ${count} acknowledged`)
  }
}

const producerAppend: Ways['append'] = ({ broker }) => {
  const producer = broker.producer({ bufferMemory: BUFFER_MEMORY })
  return ({ sent }) => producer.send(sent)
}

const partitionAppend: Ways['append'] =
  ({ partition }) =>
  ({ appended }) =>
    partition.append(appended)

const replayBy =
  (how: 'fetch' | 'read'): Ways['replay'] =>
  async ({ partition }, end, visit) => {
    let offset = 0
    while (offset < end) {
      const records = await partition[how](offset)
      for (const record of records) visit(record)
      offset += records.length
    }
  }

const fetchReplay = replayBy('fetch')
const readReplay = replayBy('read')

const recordsReplay: Ways['replay'] = async ({ partition }, end, visit) => {
  for await (const record of partition.records({ until: end })) visit(record)
}

const pollReplay: Ways['replay'] = async ({ broker }, end, visit) => {
  const consumer = broker.consumer()
  consumer.assign([{ topic: TOPIC, partition: 0 }])
  let offset = 0
  while (offset < end) {
    const records = await consumer.poll()
    for (const record of records) visit(record)
    offset += records.length
  }
}

const iterateReplay: Ways['replay'] = async ({ broker }, end, visit) => {
  const consumer = broker.consumer()
  consumer.assign([{ topic: TOPIC, partition: 0 }])
  for await (const record of consumer) {
    visit(record)
    if (record.offset + 1 === end) break
  }
}

const WAYS: Ways = {
  bulk: partitionBulk,
  append: producerAppend,
  replay: readReplay,
  preallocate: true,
}
const OTHER_WAY = 'the same as varve there'

/** Varve in its fastest natural way, and in its other ways. */
export const varvePeers: readonly Peer[] = [
  {
    name: 'varve',
    usage:
      `bulk: Partition.append of ${BATCH_RECORDS} records, ${WINDOW} in flight; a promise each, and ` +
      `durable: Producer.send with bufferMemory ${BUFFER_MEMORY / 1024 / 1024} MiB instead of 32; ` +
      'durable: `preallocate`; ' +
      'reads: Partition.read; ' +
      'to follow: Partition.fetch',
    cannot: {},
    load: () => Promise.resolve((dir, { flush }) => openVarve(dir, flush, WAYS)),
  },
  variant('varve-producer', ['W1', 'W5'], {
    usage: `bulk: Producer.sendBatch of ${BATCH_RECORDS}, which makes batches of 64 KiB`,
    bulk: producerBulk,
  }),
  variant('varve-callback', ['W1'], {
    usage: `bulk: Producer.send with a callback, a flush after every ${FLUSH_RECORDS}`,
    bulk: callbackBulk,
  }),
  variant('varve-partition', ['W2', 'W3a', 'W3b', 'W6'], {
    usage: 'a promise each, and durable: Partition.append of one record; durable: `preallocate`',
    append: partitionAppend,
  }),
  variant('varve-default', ['W3a', 'W3b'], {
    usage: 'as varve, without `preallocate`',
    preallocate: false,
  }),
  variant('varve-records', ['W4'], {
    usage: '`for await` over Partition.records',
    replay: recordsReplay,
  }),
  variant('varve-poll', ['W4', 'W6'], { usage: 'Consumer.poll', replay: pollReplay }),
  variant('varve-iterate', ['W4', 'W6'], {
    usage: '`for await` over a Consumer',
    replay: iterateReplay,
  }),
]

function variant(
  name: string,
  workloads: readonly ('W1' | 'W2' | 'W3a' | 'W3b' | 'W4' | 'W5' | 'W6')[],
  { usage, ...ways }: Partial<Ways> & { readonly usage: string },
): Peer {
  const writesItsOwn = 'bulk' in ways
  return {
    name,
    usage,
    cannot: allBut(workloads, OTHER_WAY),
    ...(writesItsOwn ? {} : { storeOf: 'varve' }),
    load: () =>
      Promise.resolve((dir, { flush }) =>
        openVarve(dir, flush, { ...WAYS, ...ways }, ways.replay ?? fetchReplay),
      ),
  }
}

async function openVarve(
  dir: string,
  flush: '1' | 'relaxed',
  ways: Ways,
  follow: Ways['replay'] = fetchReplay,
): Promise<PeerLog> {
  const broker = await Broker.open(dir)
  const settings =
    flush === '1'
      ? { flushMessages: 1, preallocate: ways.preallocate }
      : { flushMessages: Number.MAX_SAFE_INTEGER }
  const isFilled = broker.topics().some(({ name }) => name === TOPIC)
  if (isFilled && !broker.recovery.cleanShutdown) throw new Error('it was not closed cleanly')
  const topic = isFilled ? broker.topic(TOPIC) : await broker.createTopic(TOPIC, settings)
  const partition = topic.partition(0)
  return new VarveLog({ broker, partition }, ways, follow)
}

class VarveLog implements PeerLog {
  readonly append: (record: WorkloadRecord) => Promise<unknown>
  readonly #store: Store
  readonly #ways: Ways
  readonly #follow: Ways['replay']

  constructor(store: Store, ways: Ways, follow: Ways['replay']) {
    this.#store = store
    this.#ways = ways
    this.#follow = follow
    this.append = ways.append(store)
  }

  get nextOffset(): number {
    return this.#store.partition.highWatermark
  }

  bulk(workload: Workload, count: number): () => Promise<void> {
    const write = this.#ways.bulk(this.#store)
    return () => write(workload, count)
  }

  replay(visit: Visit): Promise<void> {
    return this.#ways.replay(this.#store, this.nextOffset, (record) => {
      visitRecord(record, visit)
    })
  }

  async readFrom(offset: number, limit: number, visit: Visit): Promise<number> {
    const { partition } = this.#store
    const end = Math.min(offset + limit, partition.highWatermark)
    let next = offset
    // A batch may end before there are enough records.
    while (next < end) {
      for (const record of await partition.read(next, { maxRecords: end - next })) {
        visitRecord(record, visit)
        next += 1
      }
    }
    return next - offset
  }

  follow(count: number, visit: Visit): Promise<void> {
    return this.#follow(this.#store, count, (record) => {
      visitRecord(record, visit)
    })
  }

  close(): Promise<void> {
    return this.#store.broker.close()
  }
}

function visitRecord({ offset, key, value }: ReadRecord, visit: Visit): void {
  if (value === null) throw new Error(`offset ${offset} lost its value`)
  visit(key, value)
}
