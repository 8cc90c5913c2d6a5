import { describe, expect, it } from 'vitest'
import { Broker, type Partition, type StoredRecord } from '../lib/index.ts'
import { SimulatedFileSystem } from '../lib/testing/index.ts'

/** Some share the buffer pool of Node.js, others have their own memory. */
const SIZES = [100, 3000, 5000, 40_000]
const COUNT = 12

type Ways = Record<string, (partition: Partition, broker: Broker) => AsyncIterable<StoredRecord>>

const WAYS: Ways = {
  read: async function* (partition) {
    yield* await partition.read(0)
  },
  'read of a few': async function* (partition) {
    yield* await partition.read(3, { maxRecords: 5 })
  },
  fetch: async function* (partition) {
    yield* await partition.fetch(0)
  },
  readLast: async function* (partition) {
    yield* await partition.readLast(7)
  },
  records: (partition) => partition.records({ until: 'end' }),
  'records in reverse': (partition) => partition.records({ until: 'end', reverse: true }),
  poll: async function* (_partition, broker) {
    const consumer = broker.consumer({ maxPollRecords: 1 })
    consumer.assign([{ topic: 't', partition: 0 }])
    consumer.seekToBeginning()
    for (let count = 0; count < COUNT; count += 1) yield* await consumer.poll()
    await consumer.close()
  },
  iterate: async function* (partition, broker) {
    const consumer = broker.consumer()
    consumer.assign([{ topic: 't', partition: 0 }])
    consumer.seekToBeginning()
    for await (const record of consumer) {
      yield record
      if (record.offset === partition.logEndOffset - 1) break
    }
    await consumer.close()
  },
}

/** As `worker.postMessage(value, [value.buffer])` does. */
function transfer(value: Buffer): void {
  try {
    structuredClone(value, { transfer: [value.buffer as ArrayBuffer] })
  } catch (error) {
    // Node.js 21 and later refuse it; earlier versions copy.
    expect(error).toMatchObject({ name: 'DataCloneError' })
  }
}

describe.each(['uncompressed', 'gzip', 'lz4', 'snappy'] as const)(
  'transferred record values of a topic, %s,',
  (type) => {
    it.each(Object.entries(WAYS))(
      'leave the other records that %s returned intact',
      async (_way, give) => {
        for (const size of SIZES) {
          const values = Array.from({ length: COUNT }, (_, at) => String(at % 10).repeat(size))
          const handOutAll = async (broker: Broker): Promise<void> => {
            let count = 0
            for await (const { offset, value } of give(broker.topic('t').partition(0), broker)) {
              expect(value?.toString() === values[offset]).toBe(true)
              if (value !== null) transfer(value)
              expect(value).toHaveLength(size)
              count += 1
            }
            expect(count).toBeGreaterThan(1)
          }
          const fileSystem = new SimulatedFileSystem()
          const before = await Broker.open('/data', { fileSystem })
          const topic = await before.createTopic('t', { compressionType: type })
          await topic.partition(0).append(values.map((value) => ({ value })))
          // What was appended last is in memory.
          await handOutAll(before)
          await before.close()
          const broker = await Broker.open('/data', { fileSystem })
          // The second read of the same records takes another path.
          await handOutAll(broker)
          await handOutAll(broker)
          await broker.close()
        }
      },
    )
  },
)
