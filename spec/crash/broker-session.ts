import { Broker } from '../../lib/broker.ts'
import type { Acks } from '../../lib/broker/pending-append.ts'
import type { CreateTopicOptions } from '../../lib/broker.ts'
import type { TopicConfig } from '../../lib/config.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import type { FileSystem } from '../../lib/platform/file-system.ts'
import { newPartitionLedger, newTopicLedger, type Ledger, type PartitionLedger } from './ledger.ts'

/** The data directory of every workload. */
export const DATA = '/data'

/** Limits so small that a few records roll segments and fill indexes. */
export const SMALL = { segmentBytes: 300, indexIntervalBytes: 32 }

export function openBroker(fileSystem: FileSystem, clock: ManualClock): Promise<Broker> {
  return Broker.open(DATA, { fileSystem, clock, random: new SeededRandom(7) })
}

/** Drives a broker, and notes in a ledger what it is asked to do and what its answers promise. */
export class BrokerSession {
  readonly fileSystem: FileSystem
  readonly ledger: Ledger
  readonly clock: ManualClock = new ManualClock()
  readonly #tag: string
  #broker: Broker | null = null
  #sent = 0

  /** @param tag the prefix of all values, so that no two sessions send the same */
  constructor(fileSystem: FileSystem, ledger: Ledger, tag: string) {
    this.#tag = tag
    this.fileSystem = fileSystem
    this.ledger = ledger
  }

  get broker(): Broker {
    if (this.#broker === null) throw new Error('the broker is not open')
    return this.#broker
  }

  async open(): Promise<void> {
    this.#broker = await openBroker(this.fileSystem, this.clock)
  }

  /** After a clean close, everything survives a power loss, however relaxed its topic is. */
  async close(): Promise<void> {
    await this.broker.close()
    for (const candidates of Object.values(this.ledger.topics)) {
      for (const partition of candidates.at(-1)?.partitions ?? []) {
        promise(partition, partition.history.length, true)
      }
    }
  }

  /** Returns a value that no other record of the workload has. */
  value(sizeBytes = 1): string {
    this.#sent += 1
    return `${this.#tag}${this.#sent}`.padStart(sizeBytes, '.')
  }

  /** Appends `count` records in one call, as one batch. */
  async append(
    count = 1,
    to: {
      topic?: string
      partition?: number
      acks?: Acks
      sizeBytes?: number
      timestamp?: number
    } = {},
  ): Promise<void> {
    const { topic = 'orders', partition = 0, acks = 'all', sizeBytes = 1, timestamp } = to
    const noted = this.partition(topic, partition)
    const values = Array.from({ length: count }, () => this.value(sizeBytes))
    noted.history.push(...values)
    const place = this.broker.topic(topic).partition(partition)
    const { baseOffset } = await place.append(
      values.map((value) => ({ value, ...(timestamp === undefined ? {} : { timestamp }) })),
      { acks },
    )
    const end = baseOffset + count
    if (acks === 0) return
    promise(noted, end, acks === 'all' && this.#flushMessages(topic) === 1)
    // A relaxed topic syncs so often that fewer than `flushMessages` records are ever unsynced.
    if (acks === 'all') promise(noted, end - this.#flushMessages(topic) + 1, true)
    // An append acknowledged before the sync may be lost, and so may the unsynced records before
    // it.
    else promise(noted, baseOffset - this.#flushMessages(topic) + 1, true)
  }

  async flush(topic = 'orders', partition = 0): Promise<void> {
    const noted = this.partition(topic, partition)
    const end = noted.history.length
    await this.broker.topic(topic).partition(partition).flush()
    promise(noted, end, true)
  }

  /** Advances time, in which a relaxed topic is synced. */
  async pass(ms: number, topic = 'orders', partition = 0): Promise<void> {
    const noted = this.partition(topic, partition)
    const end = noted.written
    await this.clock.advance(ms)
    // The timed sync runs in the background: wait until it has passed through the log's queue.
    await this.broker.topic(topic).partition(partition).log.flush()
    promise(noted, end, true)
  }

  /** Sends through a producer, and closes it. */
  async send(places: readonly { topic?: string; partition: number }[]): Promise<void> {
    const producer = this.broker.producer({ batchSize: 200, lingerMs: 0 })
    await Promise.all(
      places.map(async ({ topic = 'orders', partition }) => {
        const noted = this.partition(topic, partition)
        const value = this.value()
        noted.history.push(value)
        const { offset } = await producer.send({ topic, partition, value })
        promise(noted, offset + 1, this.#flushMessages(topic) === 1)
      }),
    )
    await producer.close()
  }

  async deleteRecords(offset: number, topic = 'orders', partition = 0): Promise<void> {
    const noted = this.partition(topic, partition)
    noted.greatestStart = offset
    await this.broker.topic(topic).partition(partition).deleteRecords(offset)
    noted.leastStart = offset
    // Deleted records need not survive, but their offsets must not be reused.
    noted.durable = Math.max(noted.durable, offset)
  }

  /** Enforces the limits, and expects them to delete everything below `offset`. */
  async enforceRetention(offset: number, topic = 'orders', partition = 0): Promise<void> {
    const noted = this.partition(topic, partition)
    noted.greatestStart = Math.max(noted.greatestStart, offset)
    await this.broker.topic(topic).enforceRetention()
    const { logStartOffset } = this.broker.topic(topic).partition(partition)
    if (logStartOffset !== offset) throw new Error(`the log starts at ${logStartOffset}`)
    noted.leastStart = offset
    noted.durable = Math.max(noted.durable, offset)
  }

  async commit(
    offset: number,
    groupId = 'billing',
    topic = 'orders',
    partition = 0,
  ): Promise<void> {
    const consumer = this.broker.consumer({ groupId, enableAutoCommit: false })
    consumer.assign([{ topic, partition }])
    const key = `${groupId} ${topic}-${partition}`
    this.mayCommit(key, offset)
    await consumer.commit([{ topic, partition, offset }])
    this.ledger.commits[key] = [offset]
    // A commit is durable only with the records it covers.
    promise(this.partition(topic, partition), offset, true)
  }

  /** From now on the group's committed offset may also be `offset`. */
  mayCommit(key: string, offset: number): void {
    this.ledger.commits[key] = [...(this.ledger.commits[key] ?? [-1]), offset]
  }

  /** Reads all partitions to the end in a separate group, which commits when it closes. */
  async consume(groupId: string, topic = 'orders'): Promise<void> {
    const partitions = this.broker.topic(topic).partitions
    const consumer = this.broker.consumer({
      groupId,
      enableAutoCommit: true,
      autoOffsetReset: 'earliest',
      fetchMaxWaitMs: 0,
    })
    consumer.assign(partitions.map(({ index }) => ({ topic, partition: index })))
    let left = 0
    for (const { index, highWatermark, logStartOffset } of partitions) {
      const committed = await consumer.committed({ topic, partition: index })
      left += highWatermark - (committed?.offset ?? logStartOffset)
    }
    while (left > 0) {
      left -= (await consumer.poll()).length
      // Fetched records arrive between two turns of the event loop.
      await new Promise((resolve) => setImmediate(resolve))
    }
    for (const { index, highWatermark } of partitions) {
      this.mayCommit(`${groupId} ${topic}-${index}`, highWatermark)
    }
    await consumer.close()
    for (const { index, highWatermark } of partitions) {
      if (highWatermark > 0) this.ledger.commits[`${groupId} ${topic}-${index}`] = [highWatermark]
    }
  }

  async createTopic(name: string, options: CreateTopicOptions = {}): Promise<void> {
    const { partitions = 1, segmentBytes = SMALL.segmentBytes } = options
    const created = newTopicLedger(partitions, segmentBytes)
    await this.#change(name, created, () =>
      this.broker.createTopic(name, { ...SMALL, ...options, partitions }),
    )
  }

  async deleteTopic(name: string): Promise<void> {
    const keys = Object.keys(this.ledger.commits).filter((key) => key.includes(` ${name}-`))
    for (const key of keys) this.mayCommit(key, -1)
    await this.#change(name, null, () => this.broker.deleteTopic(name))
    for (const key of keys) this.ledger.commits[key] = [-1]
  }

  async addPartitions(name: string, total: number): Promise<void> {
    const topic = this.topic(name)
    const added = Array.from({ length: total - topic.partitions.length }, newPartitionLedger)
    const grown = { ...topic, partitions: [...topic.partitions, ...added] }
    await this.#change(name, grown, () => this.broker.topic(name).addPartitions(total))
  }

  async alter(name: string, config: TopicConfig & { segmentBytes: number }): Promise<void> {
    const altered = { ...this.topic(name), segmentBytes: config.segmentBytes }
    await this.#change(name, altered, () => this.broker.topic(name).alter(config))
  }

  topic(name: string): NonNullable<Ledger['topics'][string][number]> {
    const topic = this.ledger.topics[name]?.at(-1)
    if (topic == null) throw new Error(`the ledger has no topic ${name}`)
    return topic
  }

  partition(topic: string, partition: number): PartitionLedger {
    const noted = this.topic(topic).partitions[partition]
    if (noted === undefined) throw new Error(`the ledger has no partition ${topic}-${partition}`)
    return noted
  }

  async #change(
    name: string,
    after: Ledger['topics'][string][number],
    change: () => Promise<unknown>,
  ): Promise<void> {
    this.ledger.topics[name] = [...(this.ledger.topics[name] ?? [null]), after]
    await change()
    this.ledger.topics[name] = [after]
  }

  #flushMessages(topic: string): number {
    return this.broker.topic(topic).config.flushMessages
  }
}

function promise(partition: PartitionLedger, end: number, isDurable: boolean): void {
  partition.written = Math.max(partition.written, end)
  if (isDurable) partition.durable = Math.max(partition.durable, end)
}
