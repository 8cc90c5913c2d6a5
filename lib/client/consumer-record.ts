import { reasonOf, refuseThenable } from '../checks.ts'
import { SerializationError } from '../errors.ts'
import type { StoredRecord } from '../record/decode.ts'
import type { RecordHeader } from '../record/record-encoding.ts'
import type { ResolvedConsumerOptions } from './consumer-options.ts'
import type { Deserializer } from './serde.ts'

/**
 * A record as a consumer returns it. Parts without a deserializer are as in {@link StoredRecord}.
 */
export interface ConsumerRecord<K = Buffer, V = Buffer> {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  /** Milliseconds since the epoch, -1 for none. */
  readonly timestamp: number
  /** `null` if the record was stored without a key. The deserializer is not called for it. */
  readonly key: K | null
  /** `null` if the record was stored without a value. The deserializer is not called for it. */
  readonly value: V | null
  readonly headers: readonly RecordHeader[]
}

/**
 * Converts a stored record into the record that the application receives.
 *
 * @throws {@link SerializationError} when a deserializer throws; its error is the `cause`
 */
export type RecordReader<K, V> = (record: StoredRecord) => ConsumerRecord<K, V>

/**
 * Creates the reader for a consumer's deserializers; `null` if stored records are returned
 * unchanged.
 */
export function recordReader<K, V>(
  options: Pick<ResolvedConsumerOptions<K, V>, 'keyDeserializer' | 'valueDeserializer'>,
): RecordReader<K, V> | null {
  const { keyDeserializer, valueDeserializer } = options
  if (keyDeserializer === null && valueDeserializer === null) return null
  return (record) => {
    const { topic, partition, offset, timestamp, headers } = record
    return {
      topic,
      partition,
      offset,
      timestamp,
      key: deserialize(keyDeserializer, record, 'key'),
      value: deserialize(valueDeserializer, record, 'value'),
      headers,
    }
  }
}

function deserialize<T>(
  deserializer: Deserializer<T> | null,
  record: StoredRecord,
  part: 'key' | 'value',
): T | null {
  const stored = record[part]
  if (stored === null) return null
  // Without a deserializer T is Buffer.
  if (deserializer === null) return stored as unknown as T
  try {
    const value = deserializer.deserialize(record.topic, stored)
    refuseThenable('a deserializer must not be asynchronous', value)
    return value
  } catch (cause) {
    const { topic, partition, offset } = record
    throw new SerializationError(
      { topic, partition, offset, part },
      `the ${part} of ${topic}-${partition} at offset ${offset} cannot be deserialized ` +
        `(${reasonOf(cause)}): seek to ${offset + 1} to skip it`,
      { cause },
    )
  }
}
