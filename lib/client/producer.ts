// Not the global of that name: that is behind a getter, which would be called for every record.
import { Buffer } from 'node:buffer'
import { types } from 'node:util'
import { settledLater, settleOfLast } from '../broker/settled-later.ts'
import { asBuffer, checkOptions, describeValue, reasonOf, refuseThenable } from '../checks.ts'
import { SerializationError, VarveError } from '../errors.ts'
import type { Clock } from '../platform/clock.ts'
import { onMicrotask } from '../platform/event-loop.ts'
import type { Random } from '../platform/random.ts'
import { timestampOf, toHeaders } from '../storage/append-record.ts'
import type { PartitionQueue, ProducerTopic } from './partition-queue.ts'
import {
  CLOSE_OPTIONS,
  resolveProducerOptions,
  type CloseOptions,
  type ProducerOptions,
  type ResolvedProducerOptions,
} from './producer-options.ts'
import {
  checkPartition,
  checkTopicOf,
  type ProducerRecord,
  type SerializedRecord,
} from './producer-record.ts'
import { ProducerTopics, type TopicQueues } from './producer-topics.ts'
import { producerClosed, RecordAccumulator } from './record-accumulator.ts'
import {
  CallbackCompletion,
  tellFailure,
  type Completion,
  type RecordMetadata,
  type SendCallback,
} from './send-completion.ts'
import { SendBatchCompletion } from './send-batch-completion.ts'
import type { WaitingSend } from './waiting-send.ts'

export type { ProducerOptions } from './producer-options.ts'

/**
 * What a producer needs of its broker.
 *
 * @internal
 */
export interface ProducerContext {
  readonly clock: Clock
  readonly random: Random
  /** A promise where the topic is being created. @throws {@link UnknownTopicOrPartitionError} */
  topic(name: string): Promise<ProducerTopic> | ProducerTopic
  /** Called once, when nothing of the producer is left to be done. */
  onClosed(producer: Producer<never, never>): void
}

/**
 * Sends records to topics. Records for the same partition are gathered into batches and written
 * together, in the order of their sends.
 *
 * All calls may overlap. Sends to one partition settle in their order, but for those that are given
 * up while they wait for room. When a batch is refused, the ones behind it are still tried; when the disk
 * fails one, those that were sent by then fail with it. Nothing is sent twice: sending again is up to the
 * caller, who finds in `outcome` of most errors whether that may store a record twice.
 */
export class Producer<K = string | Uint8Array, V = string | Uint8Array> {
  readonly #context: ProducerContext
  readonly #options: ResolvedProducerOptions
  readonly #accumulator: RecordAccumulator
  readonly #topics: ProducerTopics
  #closing: Promise<void> | null = null
  /** What the partitioner has thrown last. */
  #thrown: unknown = null

  /** @internal */
  constructor(context: ProducerContext, options: ProducerOptions<K, V> = {}) {
    this.#context = context
    this.#options = resolveProducerOptions(options, context.random)
    this.#accumulator = new RecordAccumulator(this.#options, context.clock)
    this.#topics = new ProducerTopics(
      {
        lookUp: (name) => context.topic(name),
        enter: (send, queues) => {
          this.#enter(send, queues)
        },
        fail: (send, error) => {
          this.#accumulator.failWaiting(send, error as Error)
        },
      },
      this.#accumulator,
    )
  }

  /**
   * Sends one record.
   *
   * Not awaiting each send before the next lets records share batches. More than `bufferMemory`
   * should not be on its way at once: what waits for room there is kept outside of it. When the
   * disk fails a write, what was sent to the same partition after it and is not yet written fails
   * too, as `not-written`: no record of a producer is in the log while one before it is missing.
   *
   * @returns settles as `acks` says. It rejects with a TypeError or RangeError when the record is
   * not of the described form, {@link UnknownTopicOrPartitionError}, {@link InvalidTopicError},
   * {@link SerializationError}, {@link RecordTooLargeError}, {@link InvalidRecordError},
   * {@link InvalidTimestampError} or {@link UnsupportedCompressionTypeError} when it cannot be stored,
   * {@link LogFullError} when its topic has no room, {@link BufferExhaustedError} or
   * {@link TimeoutError} when a limit of time is over, {@link StorageError},
   * {@link CorruptRecordError} or {@link LockLostError} when writing fails, {@link ClosedError}, and
   * what a partitioner throws.
   */
  send(record: ProducerRecord<K, V>): Promise<RecordMetadata>
  /**
   * Sends one record and lets a callback know, once, what has become of it. For the many sends
   * whose promises nobody would look at one by one.
   *
   * The callbacks of a batch run in the asynchronous context of one of its sends: what looks into an
   * `AsyncLocalStorage` is to be wrapped by `AsyncResource.bind`, or to await the promise, which keeps its own.
   *
   * @param callback never called before `send` has returned; what it throws, also when it is async, is
   * dropped, but for the first in the process, which is a warning of it
   * @throws TypeError or RangeError when the record is not of the described form, and what a
   * partitioner throws; the callback is not called then. While the topic is being created, no partition
   * can be chosen yet: it is called with what goes wrong there later
   */
  send(record: ProducerRecord<K, V>, callback: SendCallback): void
  send(record: ProducerRecord<K, V>, callback?: SendCallback): Promise<RecordMetadata> | undefined {
    if (callback === undefined) {
      const promise = settledLater<RecordMetadata>()
      this.#tryEnqueue(record, 0, settleOfLast(), this.#context.clock.now())
      return promise
    }
    if (typeof (callback as unknown) !== 'function') {
      throw new TypeError(`callback must be a function, got ${describeValue(callback)}`)
    }
    const completion = new CallbackCompletion(callback)
    try {
      this.#enqueue(record, 0, completion, this.#context.clock.now())
    } catch (error) {
      if (!(error instanceof VarveError) || error === this.#thrown) throw error
      onMicrotask(() => {
        completion.fail(error)
      })
    }
    return undefined
  }

  /**
   * Sends several records, which is not all or nothing: each may fail alone. Those that bring no
   * timestamp have the same one.
   *
   * @returns their places in the order of `records`; empty for none. It settles when all of them
   * have, and rejects with the error of the first record that failed.
   * @throws as {@link Producer.send} with a promise does
   */
  async sendBatch(records: readonly ProducerRecord<K, V>[]): Promise<RecordMetadata[]> {
    const given: unknown = records
    if (!Array.isArray(given)) {
      throw new TypeError(`records must be an array, got ${describeValue(records)}`)
    }
    const recordCount = records.length
    const batch = new SendBatchCompletion(recordCount)
    const nowMs = this.#context.clock.now()
    for (let slot = 0; slot < recordCount; slot += 1) {
      this.#tryEnqueue(records[slot] as ProducerRecord<K, V>, slot, batch, nowMs)
    }
    return batch.promise
  }

  /**
   * Resolves when everything that was sent before the call is settled, without waiting for
   * `lingerMs`. What is sent later does not count. It never rejects: failures are the business of
   * those who sent.
   */
  flush(): Promise<void> {
    return this.#accumulator.flush()
  }

  /**
   * Takes no more records, and resolves when those it has taken are settled. May be called again,
   * also to set a time limit.
   *
   * @param options.timeoutMs milliseconds, at least 0, after which the rest is given up with a
   * {@link ClosedError}, whose `outcome` says for each whether it may have been written.
   * @defaultValue waits as long as it takes
   * @throws TypeError or RangeError when `timeoutMs` is not a whole number of at least 0
   */
  async close(options: CloseOptions = {}): Promise<void> {
    const { timeoutMs } = checkOptions('close options', options, CLOSE_OPTIONS)
    this.#closing ??= this.#finish()
    if (timeoutMs === 0) this.#accumulator.abort()
    if (timeoutMs === undefined || timeoutMs === 0) return this.#closing
    const timer = this.#context.clock.startTimer(() => {
      this.#accumulator.abort()
    }, timeoutMs)
    try {
      await this.#closing
    } finally {
      timer.cancel()
    }
  }

  /** As {@link Producer.close} without a time limit. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /**
   * Bytes of encoded records that are not settled.
   *
   * @internal
   */
  get usedBytes(): number {
    return this.#accumulator.usedBytes
  }

  async #finish(): Promise<void> {
    await this.#accumulator.close()
    this.#context.onClosed(this)
  }

  /** Takes the record; whatever is wrong with it goes to `completion`. */
  #tryEnqueue(
    record: ProducerRecord<K, V>,
    slot: number,
    completion: Completion,
    nowMs: number,
  ): void {
    try {
      this.#enqueue(record, slot, completion, nowMs)
    } catch (error) {
      tellFailure(completion, error as Error, slot)
    }
  }

  /**
   * Takes the record, or throws and leaves everything as it was.
   *
   * @param slot its number in the call
   * @param nowMs timestamp of a record that brings none
   */
  #enqueue(
    record: ProducerRecord<K, V>,
    slot: number,
    completion: Completion,
    nowMs: number,
  ): void {
    this.#ensureOpen()
    const serialized = this.#serializeRecord(record, slot, nowMs)
    // A serializer may have closed it, and so may a partitioner below.
    this.#ensureOpen()
    const queues = this.#topics.find(serialized.topic)
    if (queues === null) {
      this.#topics.wait(serialized.topic, this.#accumulator.waitForTopic(serialized, completion))
      return
    }
    const queue = this.#queueFor(serialized, queues)
    this.#ensureOpen()
    this.#accumulator.append(queue, serialized, completion)
  }

  /** What goes wrong here is a mistake in the program, also where a partitioner throws one of our errors. */
  #queueFor(serialized: SerializedRecord, queues: TopicQueues): PartitionQueue {
    try {
      return queues.queueFor(serialized, this.#options.partitioner)
    } catch (error) {
      this.#thrown = error
      throw error
    }
  }

  #ensureOpen(): void {
    if (this.#closing !== null) throw producerClosed()
  }

  /** The topic of a record is there now. */
  #enter(send: WaitingSend, queues: TopicQueues): void {
    try {
      const queue = queues.queueFor(send.record, this.#options.partitioner)
      // A partitioner may have given up what waits, itself included.
      if (!send.isWaiting) return
      this.#accumulator.append(queue, send.record, send.completion, send)
    } catch (error) {
      this.#accumulator.failWaiting(send, error as Error)
    }
  }

  #serializeRecord(record: ProducerRecord<K, V>, slot: number, nowMs: number): SerializedRecord {
    const topic = checkTopicOf(record)
    return {
      topic,
      partition: checkPartition(record.partition),
      key: this.#serialize('key', record.key ?? null, record),
      value: this.#serialize('value', record.value, record),
      headers: toHeaders(record.headers),
      // What is stored of -0 is 0.
      timestamp: timestampOf(record.timestamp, nowMs) + 0,
      bringsTimestamp: record.timestamp !== undefined && record.timestamp !== -1,
      slot,
    }
  }

  #serialize(
    part: 'key' | 'value',
    data: K | V | null,
    { topic, partition }: ProducerRecord<K, V>,
  ): Buffer | null {
    if (data === null) return null
    const { keySerializer, valueSerializer } = this.#options
    const serializer = part === 'key' ? keySerializer : valueSerializer
    try {
      // The type says what comes out, but anybody may have written it.
      const bytes: unknown = serializer.serialize(topic, data)
      if (bytes === null || Buffer.isBuffer(bytes)) return bytes
      if (types.isUint8Array(bytes)) return asBuffer(bytes)
      refuseThenable('a serializer must not be asynchronous', bytes)
      throw new TypeError(`a serializer must return a Buffer or null, got ${describeValue(bytes)}`)
    } catch (cause) {
      throw new SerializationError(
        { topic, partition: partition ?? null, offset: null, part },
        `the ${part} of a record for topic '${topic}' could not be serialized: ${reasonOf(cause)}`,
        { cause },
      )
    }
  }
}
