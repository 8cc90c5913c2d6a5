import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import { ClosedError, UnknownTopicOrPartitionError } from '../../lib/errors.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

const [FIRST, SECOND] = [
  { topic: 'orders', partition: 0 },
  { topic: 'orders', partition: 1 },
]

describe('offsets of partitions that are not assigned', () => {
  let broker: Broker

  beforeEach(async () => {
    broker = await Broker.open('/data', { fileSystem: new SimulatedFileSystem() })
    const topic = await broker.createTopic('orders', { partitions: 2 })
    const records = [10, 30, 20].map((timestamp) => ({ value: 'v', timestamp }))
    await topic.partition(0).append(records)
    await topic.partition(0).deleteRecords(1)
  })

  afterEach(() => broker.close())

  it('are those of the first records with at least the given timestamps, or null', async () => {
    const consumer = broker.consumer()
    const queries = [5, 15, 31].map((timestamp) => ({ ...FIRST, timestamp }))
    expect(await consumer.offsetsForTimes([...queries, { ...SECOND, timestamp: 0 }])).toEqual([
      { ...FIRST, offset: 1, timestamp: 30 },
      { ...FIRST, offset: 1, timestamp: 30 },
      { ...FIRST, offset: null, timestamp: null },
      { ...SECOND, offset: null, timestamp: null },
    ])
    expect(consumer.assignment()).toEqual([])
  })

  it('are the log start offset and the high watermark for beginningOffsets and endOffsets', async () => {
    const consumer = broker.consumer()
    expect(await consumer.beginningOffsets([FIRST, SECOND])).toEqual([
      { ...FIRST, offset: 1 },
      { ...SECOND, offset: 0 },
    ])
    expect(await consumer.endOffsets([SECOND, FIRST])).toEqual([
      { ...SECOND, offset: 0 },
      { ...FIRST, offset: 3 },
    ])
  })

  it('are refused for unknown partitions, for invalid queries and by a closed consumer', async () => {
    const consumer = broker.consumer()
    const unknown = { topic: 'orders', partition: 2 }
    await expect(consumer.endOffsets([unknown])).rejects.toThrow(UnknownTopicOrPartitionError)
    const query = consumer.offsetsForTimes([{ ...unknown, timestamp: 0 }])
    await expect(query).rejects.toThrow(UnknownTopicOrPartitionError)
    const early = consumer.offsetsForTimes([{ ...FIRST, timestamp: -1 }])
    await expect(early).rejects.toThrow(RangeError)
    await expect(consumer.offsetsForTimes([{ ...FIRST, time: 1 } as never])).rejects.toThrow(
      TypeError,
    )
    await expect(consumer.offsetsForTimes(5 as never)).rejects.toThrow(
      new TypeError('queries must be an array of { topic, partition, timestamp }, got 5'),
    )
    await consumer.close()
    await expect(consumer.beginningOffsets([FIRST])).rejects.toThrow(ClosedError)
  })
})
