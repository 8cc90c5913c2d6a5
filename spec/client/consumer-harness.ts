import { GroupCoordinator } from '../../lib/broker/group-coordinator.ts'
import { LockLoss } from '../../lib/broker/lock-loss.ts'
import { OffsetStore } from '../../lib/broker/offset-store.ts'
import type { Topic } from '../../lib/broker/topic.ts'
import type { LogReader } from '../../lib/storage/log-reader.ts'
import type { TopicPartition } from '../../lib/broker/topic-partition.ts'
import type { ConsumerOptions } from '../../lib/client/consumer-options.ts'
import type { ConsumerRecord } from '../../lib/client/consumer-record.ts'
import { Consumer } from '../../lib/client/consumer.ts'
import type { RebalanceListener } from '../../lib/client/rebalance-listener.ts'
import { json, string } from '../../lib/client/serde.ts'
import { ClosedError, OffsetOutOfRangeError } from '../../lib/errors.ts'
import { writeBatchHeader } from '../../lib/record/batch-layout.ts'
import { RecordBatchBuilder } from '../../lib/record/record-batch-builder.ts'
import { RECORD_BATCH_OVERHEAD, RecordBatch, stampBatch } from '../../lib/record/record-batch.ts'
import type { CompressionType } from '../../lib/record/compression.ts'
import { decodeRecords } from '../../lib/record/decode.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { FakeOffsetsPartition } from '../broker/fake-offsets-partition.ts'

/** What a test appends: values, or complete records. */
export interface TestRecord {
  readonly key?: string | null
  readonly value?: string | null
  readonly timestamp?: number
}

const ensureDurable = (): Promise<void> => Promise.resolve()

/** A partition in memory whose reads a test can observe, fail and hold. */
export class FakePartition {
  readonly topic: string
  readonly index: number
  logStartOffset = 0
  /** Where the records of the first epoch end, if a later one has begun. */
  cutOffset: number | null = null
  readonly log: {
    readonly reader: Pick<LogReader, 'epochOf' | 'endOffsetForEpoch' | 'activeBaseOffset'> & {
      generation: number
    }
    damage: Error | null
    readonly offsetForTimestamp: (
      timestamp: number,
    ) => Promise<{ offset: number; timestamp: number } | null>
  } = {
    damage: null,
    offsetForTimestamp: (timestamp) => this.#search(timestamp),
    reader: {
      epochOf: () => 0,
      activeBaseOffset: 0,
      generation: 0,
      endOffsetForEpoch: (epoch) => (epoch === 0 ? this.cutOffset : null) ?? this.logEndOffset,
    },
  }
  logEndOffset = 0
  /** Reads wait for this promise after they have read. */
  gate: Promise<void> = Promise.resolve()
  /** Reads at or after `offset` fail, those before it end there. */
  damage: { offset: number; error: Error } | null = null
  /** `maxBytes` and the size of the result, of each read. */
  readonly reads: { offset: number; maxBytes: number; sizeBytes: number }[] = []
  readonly #batches: RecordBatch[] = []
  readonly #listeners: Set<() => void> = new Set()
  #closedBy: Error | null = null

  constructor(topic: string, index: number) {
    this.topic = topic
    this.index = index
  }

  /** How often its end was queried. */
  looks = 0

  get highWatermark(): number {
    this.looks += 1
    return this.logEndOffset
  }

  get isClosed(): boolean {
    return this.#closedBy !== null
  }

  get listenerCount(): number {
    return this.#listeners.size
  }

  /** Appends one batch of one record per value. */
  append(...values: readonly (string | TestRecord)[]): void {
    const builder = new RecordBatchBuilder()
    fill(builder, values)
    this.#add(builder.buildUncompressed())
  }

  async appendCompressed(compressionType: CompressionType, ...values: string[]): Promise<void> {
    const builder = new RecordBatchBuilder({ compressionType })
    fill(builder, values)
    this.#add(await builder.build())
  }

  /** Appends a marker, which takes one offset and is not delivered to consumers. */
  appendControl(): void {
    const builder = new RecordBatchBuilder({ isControl: true, isTransactional: true })
    builder.append(-1, Buffer.from([0, 0, 0, 1]), Buffer.alloc(6))
    this.#add(builder.buildUncompressed())
  }

  /** Appends a batch of `count` offsets of which compaction has kept some records. */
  appendCompacted(count: number, kept: ReadonlyMap<number, string>): void {
    if (kept.size === 0) {
      this.#add(emptyBatch(count))
      return
    }
    const builder = new RecordBatchBuilder()
    for (const [delta, value] of kept) builder.appendWithOffset(delta, -1, null, Buffer.from(value))
    builder.overrideLastOffset(count - 1)
    this.#add(builder.buildUncompressed())
  }

  /** Skips `count` offsets at the end, as a power loss after a roll does. */
  skipOffsets(count: number): void {
    this.logEndOffset += count
    this.notify()
  }

  /** Appends a batch whose records cannot be decoded although its checksum is right. */
  appendUndecodable(): void {
    const builder = new RecordBatchBuilder()
    builder.append(-1, null, Buffer.from('x'))
    const bytes = builder.buildUncompressed()
    bytes.fill(0xff, bytes.length - 4)
    this.#add(bytes)
  }

  /** Holds reads until the returned function is called. */
  closeGate(): () => void {
    let open: () => void = () => undefined
    this.gate = new Promise((resolve) => {
      open = resolve
    })
    return open
  }

  deleteRecords(beforeOffset: number): void {
    this.logStartOffset = beforeOffset
    this.notify()
  }

  /** Removes the batches from `offset` on. */
  truncate(offset: number): void {
    const kept = this.#batches.filter(({ nextOffset }) => nextOffset <= offset)
    this.#batches.splice(0, Infinity, ...kept)
    this.logEndOffset = offset
    this.cutOffset = offset
    this.log.reader.generation += 2
    this.notify()
  }

  close(reason: Error = new ClosedError('the broker is closed')): void {
    this.#closedBy = reason
    this.notify()
  }

  notify(): void {
    for (const listener of [...this.#listeners]) listener()
  }

  onChange(listener: () => void): () => void {
    const each = (): void => {
      listener()
    }
    this.#listeners.add(each)
    return () => this.#listeners.delete(each)
  }

  /** Nothing can be read without waiting. */
  /** Nobody else appends. */
  lookBehind(): null {
    return null
  }

  readBatchesNow(): null {
    return null
  }

  async readBatches(offset: number, maxBytes: number): Promise<readonly RecordBatch[]> {
    if (this.#closedBy !== null) throw this.#closedBy
    if (offset < this.logStartOffset || offset > this.logEndOffset) {
      const { topic, index: partition, logStartOffset, logEndOffset } = this
      throw new OffsetOutOfRangeError({ topic, partition, offset, logStartOffset, logEndOffset })
    }
    const { damage } = this
    if (damage !== null && offset >= damage.offset) throw damage.error
    const found: RecordBatch[] = []
    let sizeBytes = 0
    for (const batch of this.#batches) {
      if (batch.lastOffset < offset) continue
      if (found.length > 0 && sizeBytes + batch.sizeBytes > maxBytes) break
      if (damage !== null && batch.lastOffset >= damage.offset) break
      found.push(batch)
      sizeBytes += batch.sizeBytes
    }
    this.reads.push({ offset, maxBytes, sizeBytes })
    await this.gate
    return found
  }

  ensureOpen(): void {
    if (this.#closedBy !== null) throw this.#closedBy
  }

  async #search(timestamp: number): Promise<{ offset: number; timestamp: number } | null> {
    const visible = [...this.#batches]
    await this.gate
    for (const batch of visible) {
      for (const record of await decodeRecords(batch, { topic: this.topic, partition: 0 })) {
        if (record.timestamp >= timestamp) return record
      }
    }
    return null
  }

  #add(bytes: Buffer): void {
    stampBatch(bytes, { baseOffset: this.logEndOffset, partitionLeaderEpoch: 0 })
    const batch = new RecordBatch(bytes)
    this.#batches.push(batch)
    this.logEndOffset = batch.nextOffset
    this.notify()
  }
}

function fill(builder: RecordBatchBuilder, values: readonly (string | TestRecord)[]): void {
  for (const each of values) {
    const record: TestRecord = typeof each === 'string' ? { value: each } : each
    const { key = null, value = null, timestamp = -1 } = record
    builder.append(
      timestamp,
      key === null ? null : Buffer.from(key),
      value === null ? null : Buffer.from(value),
    )
  }
}

function emptyBatch(count: number): Buffer {
  const bytes = Buffer.alloc(RECORD_BATCH_OVERHEAD)
  writeBatchHeader(bytes, {
    baseOffset: 0,
    partitionLeaderEpoch: 0,
    attributes: 0,
    lastOffsetDelta: count - 1,
    baseTimestamp: -1,
    maxTimestamp: -1,
    producerId: -1,
    producerEpoch: -1,
    baseSequence: -1,
    recordCount: 0,
  })
  return bytes
}

let topicCount = 0

export class FakeTopic {
  readonly name: string
  readonly id: string
  readonly partitions: FakePartition[]

  constructor(name: string, partitionCount: number) {
    this.name = name
    this.id = String((topicCount += 1))
    this.partitions = Array.from({ length: partitionCount }, (_, at) => new FakePartition(name, at))
  }
}

/** Topics in memory and a coordinator whose committed offsets are in memory, too. */
export class ConsumerHarness {
  readonly clock: ManualClock = new ManualClock()
  readonly topics: Map<string, FakeTopic> = new Map()
  readonly offsetsPartition: FakeOffsetsPartition = new FakeOffsetsPartition()
  readonly offsets: OffsetStore
  readonly coordinator: GroupCoordinator
  readonly closed: object[] = []
  topicNames: readonly string[]

  constructor(topics: Readonly<Record<string, number>> = { t: 1 }) {
    for (const [name, count] of Object.entries(topics)) {
      this.topics.set(name, new FakeTopic(name, count))
    }
    this.topicNames = [...this.topics.keys()]
    this.offsets = new OffsetStore({
      clock: this.clock,
      readOnly: false,
      openTopic: () => Promise.resolve({ partitions: [this.offsetsPartition] }),
      dataPartition: ({ topic, partition }) => {
        const data = this.topics.get(topic)?.partitions[partition]
        return data === undefined ? null : Object.assign(data, { ensureDurable, space: null })
      },
    })
    this.coordinator = new GroupCoordinator({
      clock: this.clock,
      random: new SeededRandom(1),
      offsets: this.offsets,
      followOffsets: () => Promise.resolve(),
      partitionCounts: () =>
        new Map([...this.topics].map(([name, { partitions }]) => [name, partitions.length])),
    })
  }

  /** A consumer of text. */
  consumer(options: ConsumerOptions<string, string> = {}): Consumer<string, string> {
    return this.typedConsumer({
      keyDeserializer: string(),
      valueDeserializer: string(),
      ...options,
    })
  }

  jsonConsumer(options: ConsumerOptions<string> = {}): Consumer<string, unknown> {
    return this.typedConsumer<string, unknown>({
      ...(options as ConsumerOptions<string, unknown>),
      valueDeserializer: json(),
    })
  }

  typedConsumer<K, V>(options: ConsumerOptions<K, V>): Consumer<K, V> {
    return new Consumer<K, V>(
      {
        clock: this.clock,
        readOnly: false,
        coordinator: this.coordinator,
        lockLoss: new LockLoss(),
        // Has only what a consumer uses of a topic.
        topic: (name) => this.topics.get(name) as unknown as Topic | undefined,
        topicNames: () => this.topicNames,
        onClosed: (consumer) => this.closed.push(consumer),
      },
      options,
    )
  }

  partition(topic = 't', index = 0): FakePartition {
    const partition = this.topics.get(topic)?.partitions[index]
    if (partition === undefined) throw new Error(`there is no partition ${topic}-${index}`)
    return partition
  }

  createTopic(name: string, partitionCount: number): FakeTopic {
    const topic = new FakeTopic(name, partitionCount)
    this.topics.set(name, topic)
    this.topicNames = [...this.topics.keys()]
    this.coordinator.topicsChanged()
    return topic
  }

  deleteTopic(name: string): void {
    const topic = this.topics.get(name)
    this.topics.delete(name)
    this.topicNames = [...this.topics.keys()]
    for (const partition of topic?.partitions ?? []) partition.close(new ClosedError('deleted'))
    this.coordinator.topicsChanged()
  }

  committed(groupId = 'g', topic = 't', partition = 0): number | null {
    return this.coordinator.committed(groupId, { topic, partition })?.offset ?? null
  }

  async commit(offset: number, groupId = 'g', topic = 't', partition = 0): Promise<void> {
    await this.offsets.commit(groupId, [{ topic, partition, offset }])
  }
}

export const T0: TopicPartition = { topic: 't', partition: 0 }
export const T1: TopicPartition = { topic: 't', partition: 1 }
export const NO_WAIT = { maxWaitMs: 0 } as const

export function values<K, V>(records: readonly ConsumerRecord<K, V>[]): (V | null)[] {
  return records.map(({ value }) => value)
}

export function offsets(records: readonly ConsumerRecord<unknown, unknown>[]): number[] {
  return records.map(({ offset }) => offset)
}

/** The texts '0' to `count - 1`. */
export function numbers(count: number, from = 0): string[] {
  return Array.from({ length: count }, (_, at) => String(from + at))
}

/** A listener that logs its calls. */
export function recorder(log: string[], name = ''): RebalanceListener {
  const note =
    (what: string) =>
    (partitions: readonly TopicPartition[]): void => {
      const list = partitions.map(({ topic, partition }) => `${topic}-${partition}`)
      log.push(`${name}${what} ${list.join(' ')}`.trim())
    }
  return {
    onPartitionsRevoked: note('revoked'),
    onPartitionsAssigned: note('assigned'),
    onPartitionsLost: note('lost'),
  }
}

/** Lets a test observe a promise without awaiting it. */
export function watch<T>(promise: Promise<T>): { isSettled: boolean; value?: T; error?: unknown } {
  const watched: { isSettled: boolean; value?: T; error?: unknown } = { isSettled: false }
  promise.then(
    (value) => {
      watched.isSettled = true
      watched.value = value
    },
    (error: unknown) => {
      watched.isSettled = true
      watched.error = error
    },
  )
  return watched
}
