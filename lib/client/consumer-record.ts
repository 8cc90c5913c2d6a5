import { reasonOf, refuseThenable } from '../checks.ts'
import { SerializationError } from '../errors.ts'
import type { StoredRecord } from '../record/decode.ts'
import type { RecordHeader } from '../record/record-encoding.ts'
import type { ResolvedConsumerOptions } from './consumer-options.ts'
import type { Deserializer } from './serde.ts'

/** A record as a consumer hands it out; what no deserializer has made is as in a {@link StoredRecord}. */
export interface ConsumerRecord<K = Buffer, V = Buffer> {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  /** Milliseconds since the epoch, -1 for none. */
  readonly timestamp: number
  /** `null` when the record was stored without a key: the deserializer has not seen it. */
  readonly key: K | null
  /** `null` when the record was stored without a value, likewise. */
  readonly value: V | null
  readonly headers: readonly RecordHeader[]
}

/**
 * Turns what the log holds into what the application asked for.
 *
 * @throws {@link SerializationError} when a deserializer throws, which is the `cause` then
 */
export type RecordReader<K, V> = (record: StoredRecord) => ConsumerRecord<K, V>

/** The reader that goes with a consumer's deserializers; `null` where it takes stored records as they are. */
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
    refuseThenable('it must not be asynchronous', value)
    return value
  } catch (cause) {
    const { topic, partition, offset } = record
    throw new SerializationError(
      { topic, partition, offset, part },
      `the ${part} of ${topic}-${partition} at offset ${offset} cannot be deserialized ` +
        `(${reasonOf(cause)}): seek to ${offset + 1} to pass over it`,
      { cause },
    )
  }
}
