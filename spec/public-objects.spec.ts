import { describe, expect, it } from 'vitest'
import { SimulatedFileSystem } from '../lib/testing/simulated-file-system.ts'
import { tempBroker } from '../lib/testing/temp-broker.ts'

describe('objects that the library returns', () => {
  it('can be serialized as JSON, as logs and error reports do', async () => {
    const broker = await tempBroker({ fileSystem: new SimulatedFileSystem() })
    const topic = await broker.createTopic('orders', { maxBytes: 1_000_000, partitions: 2 })
    const partition = topic.partition(1)
    await partition.append({ value: 'v' })
    const producer = broker.producer()
    const consumer = broker.consumer({ groupId: 'billing' })
    consumer.subscribe(['orders'])
    await consumer.poll()
    const handedOut = { broker, topic, partition, log: partition.log, producer, consumer }
    const written = JSON.parse(JSON.stringify(handedOut)) as typeof handedOut
    expect(written.partition).toMatchObject({ topic: 'orders', index: 1 })
    expect(JSON.parse(JSON.stringify(topic.partitions))).toMatchObject([{ index: 0 }, { index: 1 }])
    await broker.close()
  })
})
