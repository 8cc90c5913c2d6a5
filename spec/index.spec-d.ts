// The promises of the types, checked by the compiler: `npm run typecheck`.
import {
  Broker,
  json,
  string,
  type AppendOptions,
  type AppendRecord,
  type AppendResult,
  type BrokerOptions,
  type CloseOptions,
  type Consumer,
  type ConsumerRecord,
  type ConsumerOptions,
  type CreateTopicOptions,
  type FetchOptions,
  type LogOptions,
  type Partition,
  type PollOptions,
  type ProducerOptions,
  type ProducerRecord,
  type ReadLastOptions,
  type ReadOptions,
  type RecordsOptions,
  type StoredRecord,
  type VarveError,
} from '../lib/index.ts'
import {
  pushTo,
  type ImportOptions,
  type NdjsonSinkOptions,
  type ParquetSinkOptions,
  type PlanLoadOptions,
  type Push,
  type PushOptions,
  type RunLoadOptions,
} from '../lib/offline/index.ts'

type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false

function is<T extends true>(): T | undefined {
  return undefined
}

interface Order {
  id: number
}

/** The optional keys of `T` that do not accept `undefined` under `exactOptionalPropertyTypes`. */
type Refusing<T> = T extends unknown
  ? {
      [Key in keyof T]-?: object extends Pick<T, Key>
        ? Record<Key, undefined> extends Pick<T, Key>
          ? never
          : Key
        : never
    }[keyof T]
  : never

/** An option that an application has not decided about can be passed on as `undefined`. */
export function acceptUndefined(): void {
  is<Equal<Refusing<{ a?: 1; b?: 2 | undefined; c: 3 }>, 'a'>>()
  is<Equal<Refusing<BrokerOptions>, never>>()
  is<Equal<Refusing<CreateTopicOptions>, never>>()
  is<Equal<Refusing<LogOptions>, never>>()
  is<Equal<Refusing<AppendOptions & AppendRecord & CloseOptions>, never>>()
  is<Equal<Refusing<ProducerOptions & ProducerRecord>, never>>()
  is<Equal<Refusing<ConsumerOptions & PollOptions>, never>>()
  is<Equal<Refusing<ReadOptions & ReadLastOptions & FetchOptions>, never>>()
  is<Equal<Refusing<RecordsOptions>, never>>()
  is<Equal<Refusing<NdjsonSinkOptions & ParquetSinkOptions>, never>>()
  is<Equal<Refusing<ImportOptions & PushOptions>, never>>()
  is<Equal<Refusing<PlanLoadOptions & RunLoadOptions>, never>>()
}

declare const broker: Broker
declare const partition: Partition
declare const error: VarveError

export async function promises(): Promise<void> {
  // A backward read begins at the end, so its lowest offset cannot be there.
  for await (const record of partition.records({ reverse: true, from: 1, until: 'end' })) {
    is<Equal<typeof record, StoredRecord>>()
  }
  // @ts-expect-error the lowest offset cannot be where the log ends
  partition.records({ reverse: true, from: 'latest' })

  // The serializers determine what may be sent, the deserializers what is received.
  const producer = broker.producer({ keySerializer: string(), valueSerializer: json<Order>() })
  await producer.send({ topic: 'orders', key: 'a', value: { id: 1 } })
  // @ts-expect-error a value of another type
  await producer.send({ topic: 'orders', key: 'a', value: { id: 'one' } })
  // @ts-expect-error a key of another type
  await producer.send({ topic: 'orders', key: 5, value: { id: 1 } })

  const sent = await producer.send({ topic: 'orders', value: { id: 1 } })
  is<Equal<typeof sent.offset, number>>()

  const consumer = broker.consumer({ groupId: 'billing', valueDeserializer: json<Order>() })
  for await (const record of consumer) {
    is<Equal<typeof record.value, Order | null>>()
    is<Equal<typeof record.key, Buffer | null>>()
  }

  // An iterator that is used by hand is closed at the end of the block.
  await using iterator = consumer[Symbol.asyncIterator]()
  const next = await iterator.next()
  if (next.done !== true) is<Equal<typeof next.value.value, Order | null>>()

  // Without serdes: text or bytes in, bytes out.
  await broker.producer().send({ topic: 't', key: 'text', value: new Uint8Array(3) })
  const plain: Consumer<Buffer, Buffer> = broker.consumer()
  const [first] = await plain.poll()
  is<Equal<NonNullable<typeof first>['value'], Buffer | null>>()

  const records = await partition.fetch(0)
  is<Equal<typeof records, StoredRecord[]>>()
  const appended = await partition.append({ value: 'x' })
  is<Equal<typeof appended, AppendResult>>()

  // @ts-expect-error an option that does not exist
  await Broker.open('./data', { readonly: true })
  // @ts-expect-error a topic option that does not exist
  await broker.createTopic('t', { partition: 3 })

  is<Equal<typeof error.code, string>>()
}

/** Whether a write receives one record or several may depend on a value. */
export function pushAsTold(
  consumer: Consumer,
  write: (input: ConsumerRecord | readonly ConsumerRecord[]) => void,
  options: PushOptions,
): Push {
  void pushTo(consumer, (record) => record.offset)
  void pushTo(consumer, (records) => records.length, { batchRecords: 5 })
  // @ts-expect-error the write might receive several records
  void pushTo(consumer, (record: ConsumerRecord) => record.offset, options)
  return pushTo(consumer, write, options)
}
