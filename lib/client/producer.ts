// Imported because the global `Buffer` is a getter, which would be called for every record.
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
import { RecordAccumulator } from './record-accumulator.ts'
import { producerClosed } from './send-errors.ts'
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
 * What a producer needs from its broker.
 *
 * @internal
 */
export interface ProducerContext {
  readonly clock: Clock
  readonly random: Random
  /**
   * Returns a promise while the topic is being created.
   * @throws {@link UnknownTopicOrPartitionError}
   */
  topic(name: string): Promise<ProducerTopic> | ProducerTopic
  /** Called once, when the producer has closed and nothing is pending. */
  onClosed(producer: Producer<never, never>): void
}

/**
 * Sends records to topics. Records for the same partition are collected into batches and written
 * together, in the order of their sends.
 *
 * All calls may overlap. Sends to one partition settle in order, except those that are given up
 * while waiting for memory. When a batch is refused, the batches after it are still tried. When the
 * disk fails a batch, the records already sent after it fail with it. No record is sent twice.
 * Retries are up to the caller: the `outcome` of most errors says whether a retry may store a
 * record twice.
 */
export class Producer<K = string | Uint8Array, V = string | Uint8Array> {
  readonly #context: ProducerContext
  readonly #options: ResolvedProducerOptions
  readonly #accumulator: RecordAccumulator
  readonly #topics: ProducerTopics
  #closing: Promise<void> | null = null
  /** The error that the partitioner threw last. */
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
   * Sends that are not awaited one by one can share batches. Do not have more than `bufferMemory`
   * in flight: sends that wait for room take memory outside of that limit. When the disk fails a
   * write, records sent to the same partition after it that are not yet written fail too, as
   * `not-written`: no record of a producer is in the log while an earlier one is missing.
   *
   * @returns a promise that settles as `acks` says. It rejects with a TypeError or RangeError when
   * the record does not have the described form; with {@link UnknownTopicOrPartitionError},
   * {@link InvalidTopicError}, {@link SerializationError}, {@link RecordTooLargeError},
   * {@link InvalidRecordError}, {@link InvalidTimestampError} or
   * {@link UnsupportedCompressionTypeError} when it cannot be stored; {@link LogFullError} when its
   * topic has no room; {@link BufferExhaustedError} or {@link TimeoutError} when a time limit has
   * expired; {@link StorageError}, {@link CorruptRecordError} or {@link LockLostError} when writing
   * fails; {@link ClosedError}; and with the error of a partitioner.
   */
  send(record: ProducerRecord<K, V>): Promise<RecordMetadata>
  /**
   * Sends one record and calls a callback once with the result. Use it for many sends whose
   * promises would not be awaited individually.
   *
   * The callbacks of a batch run in the asynchronous context of one of its sends. A callback that
   * reads an `AsyncLocalStorage` must be wrapped with `AsyncResource.bind`; or await the promise,
   * which keeps its own context.
   *
   * @param callback never called before `send` has returned. Errors it throws or rejects with are
   * dropped, except that the first one in the process is emitted as a process warning
   * @throws TypeError or RangeError when the record does not have the described form, and the error
   * of a partitioner; the callback is not called then. While the topic is being created, no
   * partition can be chosen yet: errors in that later step are passed to the callback
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
   * Sends several records. They are not atomic: each may fail on its own. Records without a
   * timestamp all get the same one.
   *
   * @returns the metadata of the records in the order of `records`; empty for none. The promise
   * settles when all have settled, and rejects with the error of the first record that failed.
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
   * Sends everything without waiting for `lingerMs`, and resolves when all records sent before the
   * call have settled. Later sends do not count. It never rejects: each failure is reported to the
   * send it belongs to.
   */
  flush(): Promise<void> {
    return this.#accumulator.flush()
  }

  /**
   * Closes the producer: it accepts no more records, and the promise resolves when all earlier ones
   * have settled. It may be called again, for instance to set a time limit.
   *
   * @param options.timeoutMs milliseconds, at least 0, after which the remaining records are
   * rejected with a {@link ClosedError}, whose `outcome` says for each whether it may have been
   * written.
   * @defaultValue no time limit
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

  /** Calls {@link Producer.close} without a time limit, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /**
   * Bytes of encoded records that have not settled.
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

  /** Accepts the record; passes any error to `completion`. */
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
   * Accepts the record, or throws and changes nothing.
   *
   * @param slot its number in the call
   * @param nowMs timestamp of a record without one
   */
  #enqueue(
    record: ProducerRecord<K, V>,
    slot: number,
    completion: Completion,
    nowMs: number,
  ): void {
    this.#ensureOpen()
    const serialized = this.#serializeRecord(record, slot, nowMs)
    // A serializer may have closed the producer, and so may a partitioner below.
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

  /**
   * An error here is a mistake in the program, even if a partitioner throws an error class of this
   * library.
   */
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

  /** Called when the topic of a record has become available. */
  #enter(send: WaitingSend, queues: TopicQueues): void {
    try {
      const queue = queues.queueFor(send.record, this.#options.partitioner)
      // A partitioner may have made waiting sends fail, including this one.
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
      timestamp: timestampOf(record.timestamp, nowMs),
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
      // User code may return something other than its type says.
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
