import { Readable, Writable } from 'node:stream'
import { ReadableStream, WritableStream } from 'node:stream/web'
import { types } from 'node:util'
import {
  callback,
  checkOptions,
  describeValue,
  errorOf,
  isOpaque,
  refuseThenable,
  unknownKey,
  wholeNumber,
  type Checks,
} from '../checks.ts'
import type { Producer, ProducerRecord } from '../index.ts'
import { checkProducer, nonEmptyString } from './arguments.ts'

/** Destination of the records that are written to a stream. */
export interface WritableOptions<T, K, V> {
  /** Topic of records that name none. */
  readonly topic: string
  /**
   * Converts a chunk to a record. The record must not change afterwards, because it is sent
   * together with later ones.
   *
   * @defaultValue text and bytes become the value; anything else is a record, with or without a
   * topic
   */
  readonly toRecord?:
    ((chunk: T) => Omit<ProducerRecord<K, V>, 'topic'> & { readonly topic?: string }) | undefined
  /** Records in flight at which the stream applies backpressure, at least 1. @defaultValue 500 */
  readonly highWaterMark?: number | undefined
}

const OPTIONS: Checks<WritableOptions<never, never, never>> = {
  topic: nonEmptyString,
  toRecord: callback,
  highWaterMark: wholeNumber(1),
}

const FIELDS = [
  'topic',
  'partition',
  'key',
  'value',
  'headers',
  'timestamp',
] satisfies (keyof ProducerRecord)[]
const KNOWN: ReadonlySet<string> = new Set(FIELDS)
/** Ends the error of a chunk that is no record. */
const HINT = 'to write other chunks, set toRecord'

const DEFAULT_HIGH_WATER_MARK = 500

/**
 * A Node.js stream of the records of a consumer, of `records()` of a partition, or of any other
 * async iterable. It does not read ahead: it requests the next record only when its reader asks for
 * it. A consumer then counts the previous record as processed. A target that takes records before
 * it has processed earlier ones, such as a `Writable` with a `highWaterMark` above 1, may lose
 * records in a crash; `pushTo` does not.
 *
 * Destroying the stream ends the iteration. A consumer delivers the unprocessed records again.
 *
 * @throws TypeError if `source` cannot be iterated
 */
export function toReadable<T>(source: AsyncIterable<T>): AsyncIterable<T> & Readable {
  const iterator = iteratorOf(source)
  return new Readable({
    objectMode: true,
    highWaterMark: 0,
    read(): void {
      iterator.next().then(
        (result) => {
          if (this.destroyed) return
          // Pushing null would end the stream.
          if (result.done === true) this.push(null)
          else if (result.value !== null) this.push(result.value)
          else this.destroy(new TypeError('a stream cannot carry null'))
        },
        (error: unknown) => this.destroy(error as Error),
      )
    },
    destroy(error, done): void {
      endOf(iterator).then(
        () => {
          done(error)
        },
        (failure: unknown) => {
          done(error ?? (failure as Error))
        },
      )
    },
  })
}

/** {@link toReadable} as a web stream. Cancelling ends the iteration. @throws TypeError likewise */
export function toReadableStream<T>(source: AsyncIterable<T>): ReadableStream<T> {
  const iterator = iteratorOf(source)
  return new ReadableStream<T>(
    {
      async pull(controller): Promise<void> {
        const result = await iterator.next()
        if (result.done === true) controller.close()
        else controller.enqueue(result.value)
      },
      cancel: () => endOf(iterator),
    },
    { highWaterMark: 0 },
  )
}

/**
 * A Node.js stream that sends the chunks written to it. `finish` is emitted when everything is
 * acknowledged. The first record that fails destroys the stream with its error. Chunks written
 * after it may or may not be sent. The producer stays open.
 *
 * @throws TypeError or RangeError for invalid options
 */
export function toWritable<T = unknown, K = string | Uint8Array, V = string | Uint8Array>(
  producer: Producer<K, V>,
  options: WritableOptions<T, K, V>,
): Writable {
  checkProducer('producer', producer)
  const { highWaterMark, recordOf } = resolve(options)
  const send = async (
    chunks: readonly T[],
    done: (error?: Error | null) => void,
  ): Promise<void> => {
    const records: ProducerRecord<K, V>[] = []
    let failure: Error | null = null
    try {
      for (const each of chunks) records.push(recordOf(each))
    } catch (error) {
      // Chunks written before it are sent nevertheless.
      failure = errorOf(error)
    }
    try {
      if (records.length > 0) await producer.sendBatch(records)
    } catch (error) {
      failure = errorOf(error)
    }
    done(failure)
  }
  return new Writable({
    objectMode: true,
    highWaterMark,
    write: (chunk: T, _encoding, done) => void send([chunk], done),
    // All chunks that were written while the previous write was in progress.
    writev: (chunks, done) =>
      void send(
        chunks.map(({ chunk }) => chunk as T),
        done,
      ),
  })
}

/** {@link toWritable} as a web stream. `close` waits until everything is acknowledged. */
export function toWritableStream<T = unknown, K = string | Uint8Array, V = string | Uint8Array>(
  producer: Producer<K, V>,
  options: WritableOptions<T, K, V>,
): WritableStream<T> {
  checkProducer('producer', producer)
  const { highWaterMark, recordOf } = resolve(options)
  const sends = new Set<Promise<void>>()
  const failures: unknown[] = []
  return new WritableStream<T>({
    async write(chunk, controller): Promise<void> {
      const send: Promise<void> = producer.send(recordOf(chunk)).then(
        () => {
          sends.delete(send)
        },
        (error: unknown) => {
          sends.delete(send)
          failures.push(error)
          controller.error(error)
        },
      )
      sends.add(send)
      if (sends.size < highWaterMark) return
      await Promise.race(sends)
      // A caller that waited here must not take the refused record for stored.
      if (failures.length > 0) throw failures[0]
    },
    async close(): Promise<void> {
      await Promise.all(sends)
      // An error during closing would not prevent the stream from being closed.
      if (failures.length > 0) throw failures[0]
    },
  })
}

function resolve<T, K, V>(
  options: WritableOptions<T, K, V>,
): { highWaterMark: number; recordOf: (chunk: T) => ProducerRecord<K, V> } {
  const checks = OPTIONS as Checks<WritableOptions<T, K, V>>
  const checked = checkOptions('stream options', options, checks)
  OPTIONS.topic('topic', checked.topic)
  const { topic, toRecord, highWaterMark = DEFAULT_HIGH_WATER_MARK } = checked
  const recordOf = (chunk: T): ProducerRecord<K, V> => {
    if (toRecord !== undefined) {
      const record = toRecord(chunk)
      refuseThenable('toRecord must return a record', record)
      if (!isRecord(record)) {
        throw new TypeError(`toRecord must return a record, got ${describeValue(record)}`)
      }
      return withTopic(topic, record)
    }
    if (typeof chunk === 'string' || types.isUint8Array(chunk)) {
      return { topic, value: chunk as V }
    }
    if (!isRecord(chunk)) {
      throw new TypeError(
        `a written chunk must be a string, a Uint8Array or a record, got ${describeValue(chunk)}; ` +
          HINT,
      )
    }
    const unknown = Object.keys(chunk).find((key) => !KNOWN.has(key))
    if (unknown === undefined) return withTopic(topic, chunk as object as ProducerRecord<K, V>)
    const { message } = unknownKey('a written record', unknown, FIELDS)
    throw new TypeError(`${message}; ${HINT}`)
  }
  return { highWaterMark, recordOf }
}

/** Whether it may be a record. An object with its content in internal slots is not: a Map, say. */
function isRecord(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !isOpaque(value, FIELDS)
}

/** The record, with this topic if it names none. Its fields may be getters of its class. */
function withTopic<K, V>(
  topic: string,
  record: Omit<ProducerRecord<K, V>, 'topic'> & { readonly topic?: string },
): ProducerRecord<K, V> {
  const fields: Record<string, unknown> = { ...record }
  for (const field of FIELDS) {
    if (!Object.hasOwn(fields, field) && field in record) fields[field] = record[field]
  }
  if (fields.topic === undefined) fields.topic = topic
  return fields as unknown as ProducerRecord<K, V>
}

function iteratorOf<T>(source: AsyncIterable<T>): AsyncIterator<T> {
  const start: unknown = (source as Partial<AsyncIterable<T>> | null)?.[Symbol.asyncIterator]
  if (typeof start !== 'function') {
    throw new TypeError(`source must be an async iterable, got ${describeValue(source)}`)
  }
  return source[Symbol.asyncIterator]()
}

async function endOf(iterator: AsyncIterator<unknown>): Promise<void> {
  await iterator.return?.()
}
