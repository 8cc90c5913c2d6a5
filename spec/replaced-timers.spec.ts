import { afterEach, describe, expect, it, vi } from 'vitest'
import { Broker } from '../lib/broker.ts'
import { RecordTooLargeError } from '../lib/errors.ts'
import { SimulatedFileSystem } from '../lib/testing/simulated-file-system.ts'
import { watch } from './client/consumer-harness.ts'

// The function that loaded modules captured before a test replaces it.
const realSetImmediate = setImmediate

async function turns(): Promise<void> {
  for (let turn = 0; turn < 50; turn += 1) {
    await new Promise((resolve) => realSetImmediate(resolve))
  }
}

async function open(): Promise<Broker> {
  const broker = await Broker.open('/data', { fileSystem: new SimulatedFileSystem() })
  await broker.createTopic('t')
  return broker
}

afterEach(() => {
  vi.useRealTimers()
})

describe('Varve with fake global timers', () => {
  it('resolves a poll with maxWaitMs 0', async () => {
    const consumer = (await open()).consumer()
    consumer.assign([{ topic: 't', partition: 0 }])
    vi.useFakeTimers()
    const poll = watch(consumer.poll({ maxWaitMs: 0 }))
    await turns()
    expect(poll).toMatchObject({ isSettled: true, value: [] })
  })

  it.each(['snappy', 'lz4'] as const)('compresses and sends a large record: %s', async (codec) => {
    const producer = (await open()).producer({ compressionType: codec })
    vi.useFakeTimers()
    const value = 'some text that is long, and not the same '.repeat(20_000)
    const sent = watch(producer.send({ topic: 't', value }))
    await turns()
    expect(sent.isSettled).toBe(true)
  })

  it('assigns the partitions of a group, even if microtasks are fake', async () => {
    const broker = await open()
    vi.useFakeTimers({ toFake: ['queueMicrotask', 'setImmediate', 'setTimeout'] })
    const consumers = [1, 2].map(() => broker.consumer({ groupId: 'g' }))
    for (const consumer of consumers) consumer.subscribe(['t'])
    const polls = consumers.map((consumer) => watch(consumer.poll({ maxWaitMs: 0 })))
    await turns()
    expect(polls.map(({ isSettled }) => isSettled)).toEqual([true, true])
    expect(consumers.flatMap((consumer) => consumer.assignment())).toHaveLength(1)
  })

  it('passes RecordTooLargeError to the callback of a send, even if microtasks are fake', async () => {
    const producer = (await open()).producer()
    vi.useFakeTimers({ toFake: ['queueMicrotask'] })
    const heard: unknown[] = []
    producer.send({ topic: 't', value: Buffer.alloc(2 ** 21) }, (error) => heard.push(error))
    await turns()
    expect(heard).toEqual([expect.any(RecordTooLargeError)])
  })
})
