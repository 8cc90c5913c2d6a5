import type { Acks, Settlement } from '../../lib/broker/pending-append.ts'
import { resolveTopicConfig, type ResolvedTopicConfig, type TopicConfig } from '../../lib/config.ts'
import type { ProducerPartition, ProducerTopic } from '../../lib/client/partition-queue.ts'
import { Producer, type ProducerContext } from '../../lib/client/producer.ts'
import type { ProducerOptions } from '../../lib/client/producer-options.ts'
import type { RecordMetadata } from '../../lib/client/send-completion.ts'
import { UnknownTopicOrPartitionError } from '../../lib/errors.ts'
import { decodeRecords, type StoredRecord } from '../../lib/record/decode.ts'
import { RecordBatch } from '../../lib/record/record-batch.ts'
import type { AppendResult } from '../../lib/storage/append-record.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'

/** One call of `appendBatches`, which stays in flight until the test settles it. */
export class FakeAppend {
  readonly acks: Acks
  readonly batches: readonly RecordBatch[]
  readonly result: Promise<AppendResult>
  isSettled = false
  appendTime: number | null = null
  readonly #partition: FakePartition
  #resolve: (result: AppendResult) => void = () => undefined
  #reject: (error: unknown) => void = () => undefined

  constructor(partition: FakePartition, buffers: readonly Buffer[], acks: Acks) {
    this.#partition = partition
    this.acks = acks
    this.batches = buffers.map((buffer) => new RecordBatch(buffer))
    this.result = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  /** The values, one array for each batch. */
  async values(): Promise<string[][]> {
    const { topic, index: partition } = this.#partition
    const decoded = this.batches.map(async (batch) => decodeRecords(batch, { topic, partition }))
    const records = await Promise.all(decoded)
    return records.map((each) => each.map(({ value }) => String(value)))
  }

  /**
   * Stores the records, and acknowledges them.
   *
   * @param appendTime of a topic that stamps records with it
   */
  succeed(appendTime: number | null = null): void {
    this.isSettled = true
    this.appendTime = appendTime
    const timestamp = appendTime ?? -1
    const { log } = this.#partition
    const baseOffset = log.reduce((sum, batch) => sum + batch.recordCount, 0)
    log.push(...this.batches)
    const recordCount = this.batches.reduce((sum, batch) => sum + batch.recordCount, 0)
    this.#resolve({ baseOffset, lastOffset: baseOffset + recordCount - 1, timestamp })
  }

  fail(error: unknown): void {
    this.isSettled = true
    this.#reject(error)
  }
}

/** A partition that keeps every append in flight, unless it is `automatic`. */
export class FakePartition implements ProducerPartition {
  readonly topic: string
  readonly index: number
  readonly appends: FakeAppend[] = []
  /** The stored batches, in order. */
  readonly log: RecordBatch[] = []
  isClosed = false
  isAutomatic = false

  constructor(topic: string, index: number) {
    this.topic = topic
    this.index = index
  }

  /** @returns `null`: its appends never wait, so they cannot be given up */
  appendBatches(buffers: readonly Buffer[], acks: 1 | 'all', settle: Settlement): null {
    const append = new FakeAppend(this, buffers, acks)
    this.appends.push(append)
    if (this.isAutomatic) append.succeed()
    append.result.then((result) => {
      settle.resolve(result, append.appendTime)
    }, settle.reject)
    return null
  }

  /** The append with this number, from 0. */
  append(number: number): FakeAppend {
    const append = this.appends[number]
    if (append === undefined) throw new Error(`there were ${this.appends.length} appends only`)
    return append
  }

  /** The values of each append, one array for each batch. */
  async written(): Promise<string[][][]> {
    return Promise.all(this.appends.map((append) => append.values()))
  }

  /** The records that are stored, with offsets that count from 0. */
  async records(): Promise<StoredRecord[]> {
    const place = { topic: this.topic, partition: this.index }
    const decoded = await Promise.all(this.log.map(async (batch) => decodeRecords(batch, place)))
    return decoded.flat().map((record, offset) => ({ ...record, offset }))
  }
}

export class FakeTopic implements ProducerTopic {
  readonly name: string
  config: Readonly<ResolvedTopicConfig>
  readonly partitions: FakePartition[] = []

  constructor(name: string, partitionCount = 1, config: TopicConfig = {}) {
    this.name = name
    this.config = resolveTopicConfig(config)
    for (let index = 0; index < partitionCount; index += 1) this.addPartition()
  }

  addPartition(): void {
    this.partitions.push(new FakePartition(this.name, this.partitions.length))
  }

  partition(index: number): FakePartition {
    const partition = this.partitions[index]
    if (partition === undefined) throw new Error(`${this.name} has no partition ${index}`)
    return partition
  }
}

/** The result of {@link setUp}. */
export interface Bench<K, V> {
  readonly clock: ManualClock
  readonly producer: Producer<K, V>
  /** The topic 't', known to the producer. */
  readonly topic: FakeTopic
  /** Its partition 0. */
  readonly partition: FakePartition
  readonly topics: Map<string, FakeTopic | Promise<FakeTopic>>
  /** Which topics were looked up, in order. */
  readonly lookUps: string[]
  readonly closed: unknown[]
}

type Text = string | Uint8Array

/** A producer with a topic 't' whose appends the test settles. */
export function setUp<K = Text, V = Text>(
  options: ProducerOptions<K, V> = {},
  place: { partitions?: number; config?: TopicConfig } = {},
): Bench<K, V> {
  const clock = new ManualClock(1_000_000)
  const topic = new FakeTopic('t', place.partitions ?? 1, place.config)
  const topics = new Map<string, FakeTopic | Promise<FakeTopic>>([['t', topic]])
  const lookUps: string[] = []
  const closed: unknown[] = []
  const context: ProducerContext = {
    clock,
    random: new SeededRandom(1),
    topic(name) {
      lookUps.push(name)
      const found = topics.get(name)
      if (found !== undefined) return found
      throw new UnknownTopicOrPartitionError(name, null, `there is no topic '${name}'`)
    },
    onClosed(producer) {
      closed.push(producer)
    },
  }
  const producer = new Producer<K, V>(context, options)
  return { clock, producer, topic, partition: topic.partition(0), topics, lookUps, closed }
}

/** The outcome of a send. */
export interface Outcome {
  /** `null` while it is not settled. */
  readonly metadata: RecordMetadata | null
  readonly error: unknown
  readonly isSettled: boolean
}

/** Lets a test observe a promise without awaiting it. */
export function observe(promise: Promise<RecordMetadata>): Outcome {
  const outcome = {
    metadata: null as RecordMetadata | null,
    error: null as unknown,
    isSettled: false,
  }
  promise.then(
    (metadata) => {
      outcome.metadata = metadata
      outcome.isSettled = true
    },
    (error: unknown) => {
      outcome.error = error
      outcome.isSettled = true
    },
  )
  return outcome
}
